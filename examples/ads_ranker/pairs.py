"""Interactions over pairs of fields, and the plain deep network: [batch, fields, dim] -> log odds [batch]."""

import torch
import torch.nn.functional as F
from layers import Head, Interaction, Linear, SENet, Summed
from torch import Tensor, nn


def second_order(e: Tensor) -> Tensor:
    """Sum of the inner products of all field pairs, in linear time (factorisation machine; Rendle 2010)."""
    return 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(1)


class LR(Interaction):
    """Logistic regression: the wide part alone."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()

    def forward(self, e: Tensor) -> Tensor:
        return e.new_zeros(len(e))


class FM(Interaction):
    """Factorisation machine (Rendle 2010)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()

    def forward(self, e: Tensor) -> Tensor:
        return second_order(e)


class Deep(Interaction):
    """The deep half of Wide & Deep (Cheng et al. 2016)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        self.head = Head(fields * settings["embedding_dim"], settings)

    def forward(self, e: Tensor) -> Tensor:
        return self.head(e.flatten(1))


class BesideDeep(Summed):
    """A term over field pairs and a deep network over the same embeddings; without hidden layers the term alone."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        self.head = Head(fields * settings["embedding_dim"], settings) if settings["mlp_units"] else None

    def pairs(self, e: Tensor) -> Tensor:
        raise NotImplementedError

    def terms(self, e: Tensor) -> list[Tensor]:
        found = [self.pairs(e)]
        return [*found, self.head(e.flatten(1))] if self.head is not None else found


class DeepFM(Summed):
    """Factorisation machine and deep network over the same embeddings (Guo et al. 2017)."""

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        self.head = Head(fields * settings["embedding_dim"], settings)

    def terms(self, e: Tensor) -> list[Tensor]:
        return [second_order(e), self.head(e.flatten(1))]


class FwFM(BesideDeep):
    """Inner products of all field pairs, each pair with a learned weight (Pan et al. 2018), beside a deep network.

    With the network it is the dense form of DeepFwFM (Deng et al. 2021, "DeepLight"). First-order terms are a weight
    per embedding element of a field, the form that the paper found best.
    """

    def __init__(self, fields: int, settings: dict):
        super().__init__(fields, settings)
        self.first = Linear(fields * settings["embedding_dim"], 1)
        self.strength = nn.Parameter(torch.ones(fields, fields))

    def pairs(self, e: Tensor) -> Tensor:
        partners = F.linear(e.transpose(1, 2), self.strength.triu(1))
        return self.first(e.flatten(1)).squeeze(1) + (partners * e.transpose(1, 2)).sum((1, 2))


class FmFM(BesideDeep):
    """e_i M_ij e_j summed over all field pairs, a matrix for each (field-matrixed FM; Sun et al. 2021), beside a deep
    network.

    All matrices are the blocks above the diagonal of one square, so that the sum is one matrix product.
    """

    def __init__(self, fields: int, settings: dict):
        super().__init__(fields, settings)
        dim = settings["embedding_dim"]
        self.first = Linear(fields * dim, 1)
        self.register_buffer(
            "above", torch.ones(fields, fields).triu(1).repeat_interleave(dim, 0).repeat_interleave(dim, 1)
        )
        # Every block starts as the identity, which makes the sum that of a factorisation machine.
        self.blocks = nn.Parameter(torch.eye(dim).repeat(fields, fields))

    def pairs(self, e: Tensor) -> Tensor:
        x = e.flatten(1)
        return self.first(x).squeeze(1) + (F.linear(x, self.blocks * self.above) * x).sum(1)


class AboveDiagonal(torch.autograd.Function):
    """The elements above the diagonal of square matrices: [batch, n * n] -> [batch, n * (n - 1) / 2].

    As in PairwiseDots the gradient is gathered, which is several times faster than adding it to places one by one.
    """

    @staticmethod
    def forward(ctx, matrices: Tensor, upper: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return matrices.index_select(1, upper)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (places,) = ctx.saved_tensors
        return F.pad(gradient, (0, 1)).index_select(1, places), None, None


class Above(nn.Module):
    """AboveDiagonal for matrices of one size, with its indices."""

    def __init__(self, size: int):
        super().__init__()
        upper = torch.triu_indices(size, size, 1)
        self.count = upper.shape[1]
        places = torch.full((size, size), self.count)  # the last column of the padded gradient is zero
        places[upper[0], upper[1]] = torch.arange(self.count)
        self.register_buffer("upper", (upper[0] * size + upper[1]).int())
        self.register_buffer("places", places.flatten().int())

    def forward(self, matrices: Tensor) -> Tensor:
        return AboveDiagonal.apply(matrices.flatten(1), self.upper, self.places)


class PartnerDots(torch.autograd.Function):
    """Inner products of what two fields keep for each other: [batch, fields, width, fields] -> [batch, pairs].

    element [b, i, k, j] is number k of the vector that field i keeps for field j. One copy with fields exchanged makes
    both passes run along contiguous memory, and the backward pass is one product.
    """

    @staticmethod
    def forward(ctx, partners: Tensor, upper: Tensor, symmetric: Tensor) -> Tensor:
        exchanged = partners.permute(0, 3, 2, 1).contiguous()
        ctx.save_for_backward(exchanged, symmetric)
        return (partners * exchanged).sum(2).flatten(1).index_select(1, upper)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        exchanged, symmetric = ctx.saved_tensors
        batch, fields = exchanged.shape[:2]
        padded = F.pad(gradient, (0, 1))  # the last column is the zero that the diagonal reads
        return padded.index_select(1, symmetric).view(batch, fields, 1, fields) * exchanged, None, None


class FFM(Interaction):
    """An embedding of its own for every partner field (field-aware FM; Juan et al. 2016), the inner products of all
    pairs feeding an MLP with the fields' own embeddings (ONN; Yang et al. 2020).

    A field's vector holds embedding_dim numbers for itself, then [pair_dim, fields] for its partners.
    """

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        self.dim, self.pair_dim = settings["embedding_dim"], settings["pair_dim"]
        upper, symmetric = pair_indices(fields)
        self.register_buffer("upper", upper)
        self.register_buffer("symmetric", symmetric)
        width = fields * self.dim + len(upper)
        self.filler = -width % 16  # see DLRM
        self.head = Head(width + self.filler, settings)

    def forward(self, e: Tensor) -> Tensor:
        partners = e[:, :, self.dim :].unflatten(2, (self.pair_dim, -1))
        own = e[:, :, : self.dim].flatten(1)
        products = PartnerDots.apply(partners, self.upper, self.symmetric)
        return self.head(torch.cat([own, products, e.new_zeros(len(e), self.filler)], 1))


class FiBiNET(Interaction):
    """Bilinear products of all field pairs, of the embeddings and of their SENet-weighted copies, under an MLP that
    also sees the weighted embeddings (FiBiNET; Huang et al. 2019).

    A pair's product is e_i W_i e_j, one number, as in FiBiNET++ (Zhang et al. 2022), where the first paper kept a
    vector of dim numbers: with dozens of fields those make the MLP behind them ten times as dear.
    """

    def __init__(self, fields: int, settings: dict):
        super().__init__()
        dim = settings["embedding_dim"]
        self.weigh = SENet(fields, dim)
        self.bilinear = nn.Parameter(torch.eye(dim).repeat(2, fields, 1, 1))
        self.above = Above(fields)
        width = fields * dim + 2 * self.above.count
        self.filler = -width % 16  # see DLRM
        self.head = Head(width + self.filler, settings)

    def forward(self, e: Tensor) -> Tensor:
        weighted = self.weigh(e)
        parts = [weighted.flatten(1), e.new_zeros(len(e), self.filler)]
        for x, matrices in zip((e, weighted), self.bilinear, strict=True):
            left = torch.bmm(x.transpose(0, 1), matrices).transpose(0, 1)
            parts.append(self.above(torch.bmm(left, x.transpose(1, 2))))
        return self.head(torch.cat(parts, 1))


def pair_indices(fields: int) -> tuple[Tensor, Tensor]:
    """For square matrices [fields, fields], flattened: where the pairs above the diagonal lie, int32 [pairs]; and the
    number of its pair for every element on both sides, `pairs` on the diagonal, int32 [fields * fields].
    """
    upper = torch.triu_indices(fields, fields, 1)
    count = upper.shape[1]
    symmetric = torch.full((fields, fields), count)
    symmetric[upper[0], upper[1]] = symmetric[upper[1], upper[0]] = torch.arange(count)
    return (upper[0] * fields + upper[1]).int(), symmetric.flatten().int()


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


class DLRM(Interaction):
    """Inner products of all pairs under an MLP, numbers entering as one vector of a bottom MLP (Naumov et al. 2019)."""

    def __init__(self, fields: int, settings: dict, numeric_fields: int):
        super().__init__()
        dim = settings["embedding_dim"]
        self.numeric_fields = numeric_fields
        if numeric_fields:
            self.bottom = nn.Sequential(Linear(numeric_fields * dim, 64), nn.ReLU(), Linear(64, dim))
            fields = fields - numeric_fields + 1
        pairs, symmetric = pair_indices(fields)
        self.register_buffer("pairs", pairs)
        self.register_buffer("symmetric", symmetric)
        width = len(pairs) + (dim if numeric_fields else 0)
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
