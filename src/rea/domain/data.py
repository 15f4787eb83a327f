"""The data profile: what a codebase tells about the data its model is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataField:
    """One input of the model. Shares lie between 0 and 1; None is what the codebase does not tell.

    `rare_rows` and `rare_ids`: the share of train rows, and of ids, whose id train has less than ten times.
    `unseen_rows`: the share of visible rows whose id train does not have. `drift`: how far the field's distribution
    moves from train to the visible split, as a Jensen-Shannon distance (0 the same, 1 disjoint) beyond chance.
    `information`: the share of the label's entropy that the field alone explains in train.
    """

    name: str
    kind: str  # "categorical" | "numeric"
    cardinality: int | None = None
    coverage: float | None = None  # share of train rows in which it is not missing
    rare_rows: float | None = None
    rare_ids: float | None = None
    unseen_rows: float | None = None
    drift: float | None = None
    information: float | None = None


@dataclass(frozen=True, slots=True)
class FieldPair:
    """Two fields and the share of the label's entropy that they explain together beyond all single fields."""

    fields: tuple[str, str]
    information: float


@dataclass(frozen=True, slots=True)
class DataProfile:
    """`rows` by split; `positive_rate` is that of train; `seen_rows` is the share of visible rows whose every input is
    that of a train row.

    `pairs` are those that tell more than their two fields do: () says that there is none, None that nobody looked.
    """

    rows: Mapping[str, int]
    positive_rate: float | None
    fields: tuple[DataField, ...]
    pairs: tuple[FieldPair, ...] | None = None
    seen_rows: float | None = None

    @property
    def categorical(self) -> tuple[DataField, ...]:
        return tuple(one for one in self.fields if one.kind == "categorical")

    @property
    def numeric(self) -> tuple[DataField, ...]:
        return tuple(one for one in self.fields if one.kind == "numeric")
