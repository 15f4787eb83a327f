"""Cross, attention, gated and stacked networks over all fields: embeddings [batch, fields, dim] -> log odds [batch]."""

import torch
import torch.nn.functional as F
from layers import ACTIVATIONS, Dropout, Head, Interaction, Joined, Linear, StreamGate, Summed, mlp, shares
from torch import Tensor, nn


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


class DCNv2(Joined):
    """Cross network and MLP in parallel (DCN V2; Wang et al. 2021)."""

    network: type[nn.Module] = CrossNetwork

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        inputs = fields * settings["embedding_dim"]
        self.cross = self.network(inputs, settings)
        self.hidden, width = mlp(inputs, settings)
        deep = width if settings["mlp_units"] else 0
        self.deep = deep > 0
        self.out = Linear(inputs + deep, 1)

    def parts(self, e: Tensor) -> list[Tensor]:
        x = e.flatten(1)
        return [self.cross(x), self.hidden(x)] if self.deep else [self.cross(x)]


class GatedCrossNetwork(nn.Module):
    """x <- x0 * (W x + b) * sigmoid(V x) + x: a gate on every crossed element (GDCN; Wang et al. 2023).

    With a cross_rank, W and V share the narrow layer.
    """

    def __init__(self, inputs: int, settings: dict):
        super().__init__()
        rank = settings["cross_rank"]

        def weights() -> nn.Module:
            if rank == 0:
                return Linear(inputs, 2 * inputs)
            return nn.Sequential(Linear(inputs, rank, bias=False), Linear(rank, 2 * inputs))

        self.layers = nn.ModuleList([weights() for _ in range(settings["cross_layers"])])

    def forward(self, x0: Tensor) -> Tensor:
        x = x0
        for layer in self.layers:
            crossed, gate = layer(x).chunk(2, dim=1)
            x = torch.addcmul(x, x0 * crossed, torch.sigmoid(gate))
        return x


class GDCN(DCNv2):
    """Gated cross network and MLP in parallel (GDCN-P; Wang et al. 2023, "Towards Deeper, Lighter and Interpretable
    Cross Network for CTR Prediction").
    """

    network = GatedCrossNetwork


class EDCN(Joined):
    """Cross and deep layers of equal width that meet after every layer: their product is bridged over, weighted field
    by field and handed back to both (EDCN; Chen et al. 2021). cross_layers layers; mlp_units has no part in it.

    Field weights start equal, at 1: the paper's softmax times the number of fields.
    """

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        self.fields, self.dim = fields, settings["embedding_dim"]
        inputs, layers = fields * self.dim, settings["cross_layers"]
        deep = {**settings, "mlp_units": str(inputs)}
        self.regulation = nn.Parameter(torch.zeros(layers, 2, fields))
        self.crosses = nn.ModuleList(
            [CrossNetwork(inputs, {**settings, "cross_layers": 1}).layers[0] for _ in range(layers)]
        )
        self.hidden = nn.ModuleList([mlp(inputs, deep)[0] for _ in range(layers)])
        self.out = Linear(3 * inputs, 1)

    def parts(self, e: Tensor) -> list[Tensor]:
        bridge = e.flatten(1)
        x0 = crossed = deep = bridge
        weights = (self.fields * self.regulation.softmax(2)).repeat_interleave(self.dim, 2)
        for i, (cross, hidden, (left, right)) in enumerate(zip(self.crosses, self.hidden, weights, strict=True)):
            crossed, deep = bridge * left, bridge * right
            if i == 0:
                x0 = crossed
            crossed = torch.addcmul(crossed, x0, cross(crossed))
            deep = hidden(deep)
            bridge = crossed * deep
        return [crossed, deep, bridge]


class SelfMaskedCross(nn.Module):
    """One layer x <- base * [c, c * relu(norm(c))] + x with c = W x of half the width: half of the crossed elements
    are masked by their own size (FCN; Li et al. 2024).
    """

    def __init__(self, inputs: int, settings: dict):
        super().__init__()
        self.half = inputs // 2
        self.weight = Linear(inputs, inputs - self.half)
        self.norm = nn.LayerNorm(inputs - self.half)
        self.dropout = Dropout(settings["dropout"])

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        c = self.weight(x)
        masked = c * F.relu(self.norm(c))
        return torch.addcmul(x, base, self.dropout(torch.cat([c, masked[:, : self.half]], 1)))


class DCNv3(Interaction):
    """Two cross networks without an MLP: in the linear one every layer multiplies by the input and adds one to the
    order of interaction, in the exponential one it multiplies by itself and doubles it (FCN, first called DCN V3; Li et
    al. 2024). The log odds are the mean of both; the paper takes that of the probabilities.

    cross_layers layers each; mlp_units has no part in it. The paper trains each network by a loss of its own as well:
    loss.auxiliary_weight.
    """

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        inputs, layers = fields * settings["embedding_dim"], settings["cross_layers"]
        self.linear = nn.ModuleList([SelfMaskedCross(inputs, settings) for _ in range(layers)])
        self.exponential = nn.ModuleList([SelfMaskedCross(inputs, settings) for _ in range(layers)])
        self.outs = nn.ModuleList([Linear(inputs, 1) for _ in range(2)])

    def forward(self, e: Tensor) -> Tensor:
        return self.streams(e)[0]

    def streams(self, e: Tensor) -> tuple[Tensor, list[Tensor]]:
        x0 = e.flatten(1)
        x, y = x0, x0
        for linear, exponential in zip(self.linear, self.exponential, strict=True):
            x, y = linear(x, x0), exponential(y, y)
        both = [out(z).squeeze(1) for out, z in zip(self.outs, (x, y), strict=True)]
        return 0.5 * (both[0] + both[1]), both


class AutoInt(Summed):
    """Self-attention between fields beside an MLP (AutoInt+; Song et al. 2019); cross_layers layers of two heads."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        dim = settings["embedding_dim"]
        self.heads = 2 if dim % 2 == 0 else 1
        self.layers = nn.ModuleList([Linear(dim, 4 * dim) for _ in range(settings["cross_layers"])])
        self.out = Linear(fields * dim, 1)
        self.head = Head(fields * dim, settings)

    def terms(self, e: Tensor) -> list[Tensor]:
        x = e
        for layer in self.layers:
            batch, fields, dim = x.shape
            query, key, value, residual = layer(x).chunk(4, dim=2)
            query, key, value = (
                part.view(batch, fields, self.heads, -1).transpose(1, 2) for part in (query, key, value)
            )
            attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
            x = F.relu(attended.reshape(batch, fields, dim) + residual)
        return [self.out(x.flatten(1)).squeeze(1), self.head(e.flatten(1))]


class MaskNet(Interaction):
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


class FinalMLP(Interaction):
    """Two gated MLP streams fused by a multi-head bilinear form (Mao et al. 2023)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        inputs = fields * settings["embedding_dim"]
        self.gates = nn.ModuleList([StreamGate(inputs), StreamGate(inputs)])
        streams = [mlp(inputs, settings) for _ in range(2)]
        self.hidden = nn.ModuleList([stream for stream, _ in streams])
        width = streams[0][1]
        self.heads = next(heads for heads in (8, 4, 2, 1) if width % heads == 0)
        self.first = Linear(2 * width, 1)
        part = width // self.heads
        self.bilinear = nn.Parameter(nn.init.xavier_normal_(torch.empty(self.heads, part, part)))

    def forward(self, e: Tensor) -> Tensor:
        return self._read(*self._hidden(e))

    def streams(self, e: Tensor) -> tuple[Tensor, list[Tensor]]:
        both = self._hidden(e)
        return self._read(*both), shares(self.first, list(both))

    def _hidden(self, e: Tensor) -> tuple[Tensor, Tensor]:
        x = e.flatten(1)
        a, b = (hidden(gate(x)) for gate, hidden in zip(self.gates, self.hidden, strict=True))
        return a, b

    def _read(self, a: Tensor, b: Tensor) -> Tensor:
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


class FinalNet(Interaction):
    """Two factorised-interaction blocks, the first behind a field gate; their log odds averaged (Zhu et al. 2023)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        inputs = fields * settings["embedding_dim"]
        self.gate = StreamGate(inputs)
        self.blocks = nn.ModuleList([FactorisedBlock(inputs, settings) for _ in range(2)])

    def forward(self, e: Tensor) -> Tensor:
        return self.streams(e)[0]

    def streams(self, e: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = e.flatten(1)
        both = [self.blocks[0](self.gate(x)), self.blocks[1](x)]
        return 0.5 * (both[0] + both[1]), both


class AFN(Summed):
    """Logarithmic neurons, exp(sum of weights * log |e|), learn products of fields of any order, under an MLP; beside
    them a plain one (AFN+; Cheng, Shen & Huang 2020). Both read the same embeddings; the paper's have their own.
    """

    NEURONS = 64
    # What a logarithm is taken of at least. With much less, an id that training never moved has logarithms far below
    # all others, and products beyond anything that the MLP has seen.
    SMALLEST = 0.01

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        dim = settings["embedding_dim"]
        self.scale = nn.BatchNorm1d(fields)
        self.orders = Linear(fields, self.NEURONS)
        self.rescale = nn.BatchNorm1d(self.NEURONS * dim)
        self.products = Head(self.NEURONS * dim, settings)
        self.head = Head(fields * dim, settings)

    def terms(self, e: Tensor) -> list[Tensor]:
        logs = self.scale(e.abs().clamp_min(self.SMALLEST).log())
        products = self.orders(logs.transpose(1, 2)).exp().flatten(1)
        return [self.products(self.rescale(products)), self.head(e.flatten(1))]


class WukongLayer(nn.Module):
    """Tokens [batch, fields, dim] to tokens of the same shape: half of them from an MLP over all their inner products
    with a few learned mixtures, half as linear mixtures of the tokens; a residual and a normalisation around both.
    """

    MIXTURES, HIDDEN = 8, 128

    def __init__(self, fields: int, dim: int):
        super().__init__()
        self.mixtures = min(self.MIXTURES, fields)
        self.linear = fields // 2
        self.mix = Linear(fields, self.mixtures + self.linear, bias=False)
        products = fields * self.mixtures
        self.rise = nn.Sequential(
            nn.LayerNorm(products),
            Linear(products, self.HIDDEN),
            nn.ReLU(),
            Linear(self.HIDDEN, (fields - self.linear) * dim),
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mix(x.transpose(1, 2))
        products = torch.bmm(x, mixed[:, :, : self.mixtures])
        risen = self.rise(products.flatten(1)).view(len(x), -1, x.shape[2])
        return self.norm(torch.cat([risen, mixed[:, :, self.mixtures :].transpose(1, 2)], 1) + x)


class Wukong(Interaction):
    """cross_layers layers of factorisation machines beside linear mixtures, each doubling the order of interaction,
    under an MLP (Wukong; Zhang et al. 2024).
    """

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        dim = settings["embedding_dim"]
        self.layers = nn.Sequential(*[WukongLayer(fields, dim) for _ in range(settings["cross_layers"])])
        self.head = Head(fields * dim, settings)

    def forward(self, e: Tensor) -> Tensor:
        return self.head(self.layers(e).flatten(1))
