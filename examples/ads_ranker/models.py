"""Click models over field embeddings: one table for all id fields, one module per interaction.

A member of the model maps E [batch, fields, dim] to log odds [batch]. Embeddings of id fields are looked up outside
this file (train.py), so that their gradient can be gathered by row.
"""

import torch
import torch.nn.functional as F
from features import Numbers, Shape
from torch import Tensor, nn

FAMILIES_WITH_WIDE_PART = ("lr", "fm", "deepfm", "widedeep")


def has_wide_part(settings: dict) -> bool:
    """First-order weights are part of some families by definition; for the others the switch decides."""
    return settings["wide_part"] or settings["interaction"] in FAMILIES_WITH_WIDE_PART


def row_width(settings: dict) -> int:
    """Floats per table row of one member: the embedding and, with a wide part, one first-order weight behind it."""
    return settings["embedding_dim"] + has_wide_part(settings)


def init_table(table: Tensor, settings: dict) -> None:
    """Embeddings from N(0, embedding_init_std), first-order weights from zero. table: [rows, members * row_width]."""
    width = row_width(settings)
    with torch.no_grad():
        table.normal_(0, settings["embedding_init_std"])
        if has_wide_part(settings):
            table.view(len(table), -1, width)[:, :, -1] = 0


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014) from 16 random bits per unit.

    torch's own draws one uniform float per unit, which on a CPU costs as much as the layer's matrix product.
    """
    if not training or p == 0:
        return x
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    keep = bits[: x.numel()].view(x.shape) >= round(p * 65536) - 32768
    return x * keep.to(x.dtype).mul_(1 / (1 - p))


class Dropout(nn.Module):
    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)


class Linear(nn.Linear):
    """A linear layer started at Xavier normal; with bf16, its matrix products alone are computed in bfloat16.

    Weights, sums of gradients and everything between layers stay in float32. Processors with bfloat16 instructions
    are two to three times faster that way; others are slower.
    """

    bf16 = False

    def reset_parameters(self) -> None:
        nn.init.xavier_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.bf16:
            return super().forward(x)
        y = F.linear(x.bfloat16(), self.weight.bfloat16()).float()
        return y if self.bias is None else y + self.bias


class SwiGLU(nn.Module):
    """Halves its input: one half gates the other (Shazeer 2020, "GLU Variants Improve Transformer")."""

    def forward(self, x: Tensor) -> Tensor:
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value


ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "prelu": nn.PReLU, "swiglu": SwiGLU}


def mlp(inputs: int, settings: dict) -> tuple[nn.Sequential, int]:
    """Hidden layers (linear, normalisation, activation, dropout) and the width of their output."""
    layers: list[nn.Module] = []
    for width in (int(part) for part in settings["mlp_units"].split(",") if part):
        outputs = width * 2 if settings["activation"] == "swiglu" else width
        layers.append(Linear(inputs, outputs))
        if settings["normalization"] != "none":
            layers.append(nn.BatchNorm1d(outputs) if settings["normalization"] == "batch" else nn.LayerNorm(outputs))
        layers.append(ACTIVATIONS[settings["activation"]]())
        layers.append(Dropout(settings["dropout"]))
        inputs = width
    return nn.Sequential(*layers), inputs


class Head(nn.Module):
    """Hidden layers, then one log odds per row: [batch, inputs] -> [batch]."""

    def __init__(self, inputs: int, settings: dict):
        super().__init__()
        self.hidden, width = mlp(inputs, settings)
        self.out = Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x)).squeeze(1)


# ---- numeric fields -------------------------------------------------------------------------------------------------


class NumericEmbedding(nn.Module):
    """Numbers [batch, fields], NaN = missing, to embeddings [batch, fields, width].

    raw, log, standardize: the number times a vector of its field. ple: piecewise-linear encoding, periodic: sines and
    cosines of learned frequencies (Gorishniy et al. 2022, "On Embeddings for Numerical Features"). autodis: a soft
    choice among learned meta-embeddings (Guo et al. 2021). A missing number has a learned embedding of its own.
    """

    def __init__(self, numbers: Numbers, width: int, init_std: float):
        super().__init__()
        self.encoding = numbers.encoding
        fields, buckets = numbers.fields, numbers.buckets
        size = 1
        if self.encoding == "ple":
            assert numbers.edges is not None
            edges = torch.from_numpy(numbers.edges)
            self.register_buffer("low", edges[:, :-1].contiguous())
            self.register_buffer("span", edges[:, 1:] - edges[:, :-1])
            size = buckets
        elif self.encoding == "periodic":
            self.frequency = nn.Parameter(torch.randn(fields, buckets))
            size = 2 * buckets
        elif self.encoding == "autodis":
            self.score = nn.Parameter(torch.randn(fields, buckets))
            self.mix = nn.Parameter(torch.randn(fields, buckets, buckets) / buckets**0.5)
            size = buckets
        self.weight = nn.Parameter(torch.randn(fields, size, width) * init_std)
        self.missing = nn.Parameter(torch.randn(fields, width) * init_std)

    def forward(self, x: Tensor) -> Tensor:
        absent = torch.isnan(x).to(x.dtype).unsqueeze(2)
        x = x.masked_fill(torch.isnan(x), 0).unsqueeze(2)
        if self.encoding == "ple":
            basis = ((x - self.low) / self.span).clamp_(0, 1)
        elif self.encoding == "periodic":
            angle = 2 * torch.pi * self.frequency * x
            basis = torch.cat([angle.sin(), angle.cos()], 2)
        elif self.encoding == "autodis":
            hidden = F.leaky_relu(self.score * x, 0.1)
            basis = torch.softmax(torch.einsum("bfh,fhk->bfk", hidden, self.mix) + 0.1 * hidden, 2)
        else:
            return x * self.weight[:, 0] + absent * self.missing
        return torch.einsum("bfk,fkd->bfd", basis * (1 - absent), self.weight) + absent * self.missing


# ---- gates ----------------------------------------------------------------------------------------------------------


class SENet(nn.Module):
    """A weight per field from all fields' means: squeeze and excitation (FiBiNET; Huang et al. 2019)."""

    def __init__(self, fields: int, dim: int):
        super().__init__()
        self.squeeze, self.excite = Linear(fields, max(1, fields // 2)), Linear(max(1, fields // 2), fields)

    def forward(self, e: Tensor) -> Tensor:
        return e * (1 + self.excite(F.relu(self.squeeze(e.mean(2))))).unsqueeze(2)


class LHUC(nn.Module):
    """A weight in (0, 2) per embedding element from the whole instance, no gradient through its input.

    Learning hidden unit contributions (Swietojanski & Renals 2014), as gated embeddings in PEPNet (Chang et al. 2023).
    """

    def __init__(self, fields: int, dim: int):
        super().__init__()
        self.down, self.up = Linear(fields * dim, 32), Linear(32, fields * dim)

    def forward(self, e: Tensor) -> Tensor:
        context = e.detach().flatten(1)
        return e * (2 * torch.sigmoid(self.up(F.relu(self.down(context))))).view_as(e)


# ---- interactions: [batch, fields, dim] -> log odds [batch] ---------------------------------------------------------


def second_order(e: Tensor) -> Tensor:
    """Sum of the inner products of all field pairs, in linear time (factorisation machine; Rendle 2010)."""
    return 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(1)


class LR(nn.Module):
    """Logistic regression: the wide part alone."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()

    def forward(self, e: Tensor) -> Tensor:
        return e.new_zeros(len(e))


class FM(nn.Module):
    """Factorisation machine (Rendle 2010)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()

    def forward(self, e: Tensor) -> Tensor:
        return second_order(e)


class Deep(nn.Module):
    """The deep half of Wide & Deep (Cheng et al. 2016)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        self.head = Head(fields * settings["embedding_dim"], settings)

    def forward(self, e: Tensor) -> Tensor:
        return self.head(e.flatten(1))


class DeepFM(Deep):
    """Factorisation machine and deep network over the same embeddings (Guo et al. 2017)."""

    def forward(self, e: Tensor) -> Tensor:
        return second_order(e) + super().forward(e)


class PairwiseDots(torch.autograd.Function):
    """Inner products of all field pairs, [batch, fields, dim] -> [batch, fields * (fields - 1) / 2].

    The gradient is gathered through a symmetric index, so it takes one matrix product and no scatter.
    """

    @staticmethod
    def forward(ctx, e: Tensor, pairs: Tensor, symmetric: Tensor) -> Tensor:
        ctx.save_for_backward(e, symmetric)
        return torch.bmm(e, e.transpose(1, 2)).flatten(1).index_select(1, pairs)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        e, symmetric = ctx.saved_tensors
        padded = F.pad(gradient, (0, 1))  # the last column is the zero that the diagonal reads
        return torch.bmm(padded.index_select(1, symmetric).view(len(e), e.shape[1], e.shape[1]), e), None, None


class DLRM(nn.Module):
    """Inner products of all pairs under an MLP, numbers entering as one vector of a bottom MLP (Naumov et al. 2019)."""

    def __init__(self, fields: int, settings: dict, numeric_fields: int):
        super().__init__()
        dim = settings["embedding_dim"]
        self.numeric_fields = numeric_fields
        if numeric_fields:
            self.bottom = nn.Sequential(Linear(numeric_fields * dim, 64), nn.ReLU(), Linear(64, dim))
            fields = fields - numeric_fields + 1
        upper = torch.triu_indices(fields, fields, 1)
        count = upper.shape[1]
        symmetric = torch.full((fields, fields), count)
        symmetric[upper[0], upper[1]] = symmetric[upper[1], upper[0]] = torch.arange(count)
        self.register_buffer("pairs", (upper[0] * fields + upper[1]).int())
        self.register_buffer("symmetric", symmetric.flatten().int())
        width = count + (dim if numeric_fields else 0)
        # Zeros fill the last 64 bytes of a row: the products behind are up to twice as fast when rows are aligned.
        self.filler = -width % 16
        self.head = Head(width + self.filler, settings)

    def forward(self, e: Tensor) -> Tensor:
        parts = [e.new_zeros(len(e), self.filler)]
        if self.numeric_fields:
            numbers = self.bottom(e[:, -self.numeric_fields :].flatten(1))
            e = torch.cat([e[:, : -self.numeric_fields], numbers.unsqueeze(1)], 1)
            parts.append(numbers)
        return self.head(torch.cat([PairwiseDots.apply(e, self.pairs, self.symmetric), *parts], 1))


class CrossNetwork(nn.Module):
    """x <- x0 * (W x + b) + x, with W = U V of rank cross_rank, or full when that is 0 (DCN V2; Wang et al. 2021)."""

    def __init__(self, inputs: int, settings: dict):
        super().__init__()
        rank = settings["cross_rank"]

        def weight() -> nn.Module:
            if rank == 0:
                return Linear(inputs, inputs)
            return nn.Sequential(Linear(inputs, rank, bias=False), Linear(rank, inputs))

        self.layers = nn.ModuleList([weight() for _ in range(settings["cross_layers"])])

    def forward(self, x0: Tensor) -> Tensor:
        x = x0
        for layer in self.layers:
            x = torch.addcmul(x, x0, layer(x))
        return x


class DCNv2(nn.Module):
    """Cross network and MLP in parallel (DCN V2; Wang et al. 2021)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        inputs = fields * settings["embedding_dim"]
        self.cross = CrossNetwork(inputs, settings)
        self.hidden, width = mlp(inputs, settings)
        deep = width if settings["mlp_units"] else 0
        self.deep = deep > 0
        self.out = Linear(inputs + deep, 1)

    def forward(self, e: Tensor) -> Tensor:
        x = e.flatten(1)
        crossed = self.cross(x)
        return self.out(torch.cat([crossed, self.hidden(x)], 1) if self.deep else crossed).squeeze(1)


class AutoInt(nn.Module):
    """Self-attention between fields beside an MLP (AutoInt+; Song et al. 2019); cross_layers layers of two heads."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        dim = settings["embedding_dim"]
        self.heads = 2 if dim % 2 == 0 else 1
        self.layers = nn.ModuleList([Linear(dim, 4 * dim) for _ in range(settings["cross_layers"])])
        self.out = Linear(fields * dim, 1)
        self.head = Head(fields * dim, settings)

    def forward(self, e: Tensor) -> Tensor:
        x = e
        for layer in self.layers:
            batch, fields, dim = x.shape
            query, key, value, residual = layer(x).chunk(4, dim=2)
            query, key, value = (
                part.view(batch, fields, self.heads, -1).transpose(1, 2) for part in (query, key, value)
            )
            attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
            x = F.relu(attended.reshape(batch, fields, dim) + residual)
        return self.out(x.flatten(1)).squeeze(1) + self.head(e.flatten(1))


class MaskNet(nn.Module):
    """cross_layers parallel blocks, each masking the normalised embeddings by the instance (Wang et al. 2021)."""

    WIDTH = 64

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        inputs, blocks = fields * settings["embedding_dim"], settings["cross_layers"]
        self.norm = nn.LayerNorm(settings["embedding_dim"])
        self.masks = nn.ModuleList(
            [nn.Sequential(Linear(inputs, inputs), nn.ReLU(), Linear(inputs, inputs)) for _ in range(blocks)]
        )
        self.hidden = nn.ModuleList(
            [nn.Sequential(Linear(inputs, self.WIDTH), nn.LayerNorm(self.WIDTH), nn.ReLU()) for _ in range(blocks)]
        )
        self.head = Head(self.WIDTH * blocks, settings)

    def forward(self, e: Tensor) -> Tensor:
        x, normed = e.flatten(1), self.norm(e).flatten(1)
        blocks = [hidden(mask(x) * normed) for mask, hidden in zip(self.masks, self.hidden, strict=True)]
        return self.head(torch.cat(blocks, 1))


class StreamGate(nn.Module):
    """A weight in (0, 2) per embedding element, from a learned context shared by all rows."""

    def __init__(self, inputs: int):
        super().__init__()
        self.context = nn.Parameter(torch.randn(1, 16))
        self.gate = nn.Sequential(Linear(16, 64), nn.ReLU(), Linear(64, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return x * (2 * torch.sigmoid(self.gate(self.context)))


class FinalMLP(nn.Module):
    """Two gated MLP streams fused by a multi-head bilinear form (Mao et al. 2023)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        inputs = fields * settings["embedding_dim"]
        self.gates = nn.ModuleList([StreamGate(inputs), StreamGate(inputs)])
        streams = [mlp(inputs, settings) for _ in range(2)]
        self.streams = nn.ModuleList([stream for stream, _ in streams])
        width = streams[0][1]
        self.heads = next(heads for heads in (8, 4, 2, 1) if width % heads == 0)
        self.first = Linear(2 * width, 1)
        part = width // self.heads
        self.bilinear = nn.Parameter(nn.init.xavier_normal_(torch.empty(self.heads, part, part)))

    def forward(self, e: Tensor) -> Tensor:
        x = e.flatten(1)
        a, b = (stream(gate(x)) for gate, stream in zip(self.gates, self.streams, strict=True))
        left, right = (s.view(len(s), self.heads, -1).transpose(0, 1) for s in (a, b))
        fused = (torch.bmm(left, self.bilinear) * right).sum((0, 2))
        return self.first(torch.cat([a, b], 1)).squeeze(1) + fused


class FactorisedBlock(nn.Module):
    """Layers h <- a + a * b with [a, b] = W h: each layer doubles the order of interaction (FINAL; Zhu et al. 2023)."""

    def __init__(self, inputs: int, settings: dict):
        super().__init__()
        layers: list[nn.Module] = []
        for width in (int(part) for part in settings["mlp_units"].split(",") if part):
            layers.append(Linear(inputs, 2 * width))
            inputs = width
        self.layers = nn.ModuleList(layers)
        self.tails = nn.ModuleList()
        for layer in layers:
            width = layer.out_features // 2
            norm = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[settings["normalization"]](
                width
            )
            # The layer is a gated unit already, so of swiglu only its SiLU is left.
            activation = nn.SiLU() if settings["activation"] == "swiglu" else ACTIVATIONS[settings["activation"]]()
            self.tails.append(nn.Sequential(norm, activation, Dropout(settings["dropout"])))
        self.out = Linear(inputs, 1)

    def forward(self, h: Tensor) -> Tensor:
        for layer, tail in zip(self.layers, self.tails, strict=True):
            a, b = layer(h).chunk(2, dim=1)
            h = tail(torch.addcmul(a, a, b))
        return self.out(h).squeeze(1)


class FinalNet(nn.Module):
    """Two factorised-interaction blocks, the first behind a field gate; their log odds averaged (Zhu et al. 2023)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        inputs = fields * settings["embedding_dim"]
        self.gate = StreamGate(inputs)
        self.blocks = nn.ModuleList([FactorisedBlock(inputs, settings) for _ in range(2)])

    def forward(self, e: Tensor) -> Tensor:
        x = e.flatten(1)
        return 0.5 * (self.blocks[0](self.gate(x)) + self.blocks[1](x))


FAMILIES = {
    "lr": LR,
    "fm": FM,
    "deepfm": DeepFM,
    "widedeep": Deep,
    "dcnv2": DCNv2,
    "autoint": AutoInt,
    "masknet": MaskNet,
    "finalmlp": FinalMLP,
    "finalnet": FinalNet,
}


class Member(nn.Module):
    """One complete model above the table: rows [batch, id fields, row_width] and numbers -> log odds [batch]."""

    def __init__(self, settings: dict, shape: Shape, bias: float):
        super().__init__()
        dim, width = settings["embedding_dim"], row_width(settings)
        numeric_fields = sum(block.fields for block in shape.numbers)
        fields = shape.id_fields + numeric_fields
        self.dim, self.wide = dim, has_wide_part(settings)
        self.embedding_dropout = settings["embedding_dropout"]
        self.numeric_sizes = [block.fields for block in shape.numbers]
        self.numeric = nn.ModuleList(
            [NumericEmbedding(block, width, settings["embedding_init_std"]) for block in shape.numbers]
        )
        gates = {"none": nn.Identity, "senet": SENet, "lhuc": LHUC}
        self.gate = gates[settings["feature_gate"]](fields, dim)
        norms = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
        self.norm_kind = settings["embedding_norm"]
        self.norm = norms[self.norm_kind](fields * dim if self.norm_kind == "batch" else dim)
        if settings["interaction"] == "dlrm":
            self.interaction: nn.Module = DLRM(fields, settings, numeric_fields)
        else:
            self.interaction = FAMILIES[settings["interaction"]](fields, settings)
        self.bias = nn.Parameter(torch.tensor([bias]))

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        if self.numeric:
            blocks = [encode(x) for encode, x in zip(self.numeric, numbers.split(self.numeric_sizes, 1), strict=True)]
            rows = torch.cat([rows, *blocks], 1)
        logit = self.bias
        if self.wide:
            logit = logit + rows[:, :, self.dim].sum(1)
            rows = rows[:, :, : self.dim]
        e = self.norm(rows.reshape(len(rows), -1)).view(rows.shape) if self.norm_kind == "batch" else self.norm(rows)
        e = dropout(self.gate(e), self.embedding_dropout, self.training)
        return self.interaction(e) + logit


class Ranker(nn.Module):
    """`members` models trained side by side on the same batches, each with its own part of every table row.

    rows [batch, id fields, members * row_width], numbers [batch, numeric fields] -> log odds [batch, members].
    """

    def __init__(self, settings: dict, shape: Shape, bias: float):
        super().__init__()
        self.width = row_width(settings)
        self.members = nn.ModuleList([Member(settings, shape, bias) for _ in range(settings["members"])])
        for module in self.modules():
            if isinstance(module, Linear):
                module.bf16 = settings["precision"] == "bf16"

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        parts = rows.split(self.width, 2)
        return torch.stack([member(part, numbers) for member, part in zip(self.members, parts, strict=True)], 1)
