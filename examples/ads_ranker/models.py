"""Click models over field embeddings: one table for all id fields, one module per interaction.

A member of the model maps E [batch, fields, dim] to log odds [batch]. Embeddings of id fields are looked up outside
this file (train.py), so that their gradient can be gathered by row.

A table row holds, for each member: embedding_sets vectors of table_width numbers, and with a wide part one first-order
weight behind them.
"""

import torch
from features import Shape
from layers import LHUC, Linear, SENet, dropout
from networks import AFN, EDCN, GDCN, AutoInt, DCNv2, DCNv3, FinalMLP, FinalNet, MaskNet, Wukong
from numeric import NumericEmbedding
from pairs import DLRM, FFM, FM, LR, Deep, DeepFM, FiBiNET, FmFM, FwFM
from torch import Tensor, nn

FAMILIES_WITH_WIDE_PART = ("lr", "fm", "deepfm", "widedeep")
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
    "fwfm": FwFM,
    "fmfm": FmFM,
    "ffm": FFM,
    "fibinet": FiBiNET,
    "gdcn": GDCN,
    "edcn": EDCN,
    "dcnv3": DCNv3,
    "afn": AFN,
    "wukong": Wukong,
}


def has_wide_part(settings: dict) -> bool:
    """First-order weights are part of some families by definition; for the others the switch decides."""
    return settings["wide_part"] or settings["interaction"] in FAMILIES_WITH_WIDE_PART


def field_count(shape: Shape) -> int:
    """Fields that interact: ids and numbers."""
    return shape.id_fields + sum(block.fields for block in shape.numbers)


def vector_width(settings: dict, shape: Shape) -> int:
    """Numbers that an interaction sees of one field: its embedding, and of ffm one more vector per partner field."""
    partners = field_count(shape) * settings["pair_dim"] if settings["interaction"] == "ffm" else 0
    return settings["embedding_dim"] + partners


def row_width(settings: dict, shape: Shape) -> int:
    """Floats per table row of one member."""
    vectors = settings["embedding_sets"] * settings["embedding_factor"] * vector_width(settings, shape)
    return vectors + has_wide_part(settings)


def init_table(table: Tensor, settings: dict) -> None:
    """Embeddings from N(0, embedding_init_std), first-order weights from zero. table: [rows, members * row_width]."""
    with torch.no_grad():
        table.normal_(0, settings["embedding_init_std"])
        if has_wide_part(settings):
            table.view(len(table), settings["members"], -1)[:, :, -1] = 0


class Factor(nn.Module):
    """Over-wide table vectors [batch, fields, sets * factor * width] to embeddings [batch, fields, sets * width].

    A matrix per field and set, trained with the table (MLET; Deng et al. 2023): every lookup of an id moves the matrix
    and with it all ids of the field, so rare ones learn from frequent ones. To serve, the product of both is a table of
    plain width. Embeddings start with the variance of the table's.
    """

    def __init__(self, fields: int, sets: int, factor: int, width: int):
        super().__init__()
        self.sets = sets
        self.weight = nn.Parameter(torch.randn(fields * sets, factor * width, width) / (factor * width) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        batch, fields, _ = x.shape
        wide = x.reshape(batch, fields * self.sets, -1).transpose(0, 1)
        return torch.bmm(wide, self.weight).transpose(0, 1).reshape(batch, fields, -1)


class Tower(nn.Module):
    """One set of embeddings under a gate, a normalisation and an interaction of its own."""

    def __init__(self, settings: dict, shape: Shape):
        super().__init__()
        fields, width = field_count(shape), vector_width(settings, shape)
        numeric_fields = fields - shape.id_fields
        self.embedding_dropout = settings["embedding_dropout"]
        gates = {"none": nn.Identity, "senet": SENet, "lhuc": LHUC}
        self.gate = gates[settings["feature_gate"]](fields, width)
        norms = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
        self.norm_kind = settings["embedding_norm"]
        self.norm = norms[self.norm_kind](fields * width if self.norm_kind == "batch" else width)
        if settings["interaction"] == "dlrm":
            self.interaction: nn.Module = DLRM(fields, settings, numeric_fields)
        else:
            self.interaction = FAMILIES[settings["interaction"]](fields, settings)

    def embed(self, x: Tensor) -> Tensor:
        e = self.norm(x.reshape(len(x), -1)).view(x.shape) if self.norm_kind == "batch" else self.norm(x)
        return dropout(self.gate(e), self.embedding_dropout, self.training)

    def forward(self, x: Tensor) -> Tensor:
        return self.interaction(self.embed(x))

    def streams(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.interaction.streams(self.embed(x))


class Member(nn.Module):
    """One complete model above the table: rows [batch, id fields, row_width] and numbers -> log odds [batch].

    With several embedding sets, each has a tower of its own and their log odds are summed (Guo et al. 2024, "On the
    Embedding Collapse when Scaling up Recommendation Models").
    """

    def __init__(self, settings: dict, shape: Shape, bias: float):
        super().__init__()
        sets, width = settings["embedding_sets"], vector_width(settings, shape)
        self.wide, self.width = has_wide_part(settings), width
        self.numeric_sizes = [block.fields for block in shape.numbers]
        self.numeric = nn.ModuleList(
            [
                NumericEmbedding(block, sets * width + self.wide, settings["embedding_init_std"])
                for block in shape.numbers
            ]
        )
        factor = settings["embedding_factor"]
        self.factor = Factor(shape.id_fields, sets, factor, width) if factor > 1 else None
        self.towers = nn.ModuleList([Tower(settings, shape) for _ in range(sets)])
        self.bias = nn.Parameter(torch.tensor([bias]))

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        sets, first_order = self._inputs(rows, numbers)
        logit = self.towers[0](sets[0])
        for tower, x in zip(self.towers[1:], sets[1:], strict=True):
            logit = logit + tower(x)
        return logit + first_order

    def streams(self, rows: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The log odds [batch], and those of every stream read alone [batch, streams], as Interaction.streams."""
        sets, first_order = self._inputs(rows, numbers)
        found = [tower.streams(x) for tower, x in zip(self.towers, sets, strict=True)]
        alone = [len(sets) * stream + first_order for _, streams in found for stream in streams]
        return sum(logit for logit, _ in found) + first_order, torch.stack(alone, 1)

    def _inputs(self, rows: Tensor, numbers: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The vectors of every set, each [batch, fields, width], and the log odds of bias and first-order weights."""
        if self.factor is not None:
            vectors = rows[:, :, :-1] if self.wide else rows
            rows = torch.cat([self.factor(vectors), rows[:, :, vectors.shape[2] :]], 2)
        if self.numeric:
            blocks = [encode(x) for encode, x in zip(self.numeric, numbers.split(self.numeric_sizes, 1), strict=True)]
            rows = torch.cat([rows, *blocks], 1)
        logit = self.bias
        if self.wide:
            logit = logit + rows[:, :, -1].sum(1)
            rows = rows[:, :, :-1]
        return (rows,) if len(self.towers) == 1 else rows.split(self.width, 2), logit


class Ranker(nn.Module):
    """`members` models trained side by side on the same batches, each with its own part of every table row.

    rows [batch, id fields, members * row_width], numbers [batch, numeric fields] -> log odds [batch, members].
    """

    def __init__(self, settings: dict, shape: Shape, bias: float):
        super().__init__()
        self.width = row_width(settings, shape)
        self.members = nn.ModuleList([Member(settings, shape, bias) for _ in range(settings["members"])])
        for module in self.modules():
            if isinstance(module, Linear):
                module.bf16 = settings["precision"] == "bf16"

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        parts = rows.split(self.width, 2)
        return torch.stack([member(part, numbers) for member, part in zip(self.members, parts, strict=True)], 1)

    def streams(self, rows: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The same log odds, and those of every stream of a member read alone: [batch, members, streams]."""
        parts = rows.split(self.width, 2)
        found = [member.streams(part, numbers) for member, part in zip(self.members, parts, strict=True)]
        return torch.stack([logit for logit, _ in found], 1), torch.stack([alone for _, alone in found], 1)
