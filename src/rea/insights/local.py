"""What is expected of a technique on one set of data, from its fit over other data and from what was tried on these.

The fit (`fit.py`) says how far effects lie apart between codebases. Of that, half is taken to be the model's own affair
and half that of its data (`OWN_SHARE`), so that on one set of data the effects of a technique, over models, moves and
contexts, are one normal vector: around the mean of the fit, with

    cov θ θ' = h C h' + r (1 - φφ)^½ (1 - φ'φ')^½ + b (1 + [same model]) / 2
               + e [same model and move] + e [same setting, without a parameter]

for rows h of the design, the parameters' covariance C, and the fit's variances between codebases b, of a setting in one
place e and of what contexts leave open r. What was tried is conditioned on (Rasmussen & Williams, Gaussian Processes
for Machine Learning, 2006, sections 2.2 and 3.9).

What another model makes of an effect is another effect by a third of its size (`CARRIED`), a share common to all that
this model showed. Nothing that is contradicted by the very move in question stays as sure as it was
(`hypothesis.Belief.widened`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rea.domain.codebase import Scalar
from rea.domain.hypothesis import CONFLICT, Belief
from rea.domain.insight import Cell, Context
from rea.domain.technique import Technique
from rea.insights import posterior
from rea.insights.censoring import censored
from rea.insights.features import WIDTH, features
from rea.insights.fit import BETWEEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

SETTING_SHARE, CONTEXT_SHARE = 0.2, 0.4  # of the variance between contexts, before other codebases tell
OWN_SHARE = 0.5  # of what differs between codebases: what is the model's own affair, and not that of its data
CARRIED = 1 / 3  # of an effect on the same data: the standard deviation of what another model makes of it
LEAST = 1e-12  # of a variance, in squared relative gains


def unfitted(technique: Technique) -> posterior.Belief:
    """What stands for a fit where no other codebase has tried a technique: its card, and its level's variances."""
    import numpy as np

    between = BETWEEN[technique.level] ** 2
    cov = np.diag([technique.effect.sd**2, *[CONTEXT_SHARE * between] * WIDTH])
    mean = np.array([technique.effect.mean, *[0.0] * WIDTH])
    left = 1 - SETTING_SHARE - CONTEXT_SHARE
    return posterior.Belief(mean, cov, left * between, SETTING_SHARE / 2 * between, CONTEXT_SHARE * between)


@dataclass(frozen=True, slots=True)
class Question:
    """One effect that is asked about, and what is known: `fitted` and its `settings` are of codebases on other data,
    `own` the cells of this one, `kin` those of others on these data.

    It is that of a setting by its `key` (None: the technique in general, settings do not count), from where the model
    stands `now` (None: from anywhere), in a context.
    """

    fitted: posterior.Belief
    settings: Sequence[str]
    key: str | None
    now: Mapping[str, Scalar] | None
    context: Context
    own: Sequence[Cell]
    kin: Sequence[Cell]

    def moves(self, cells: Sequence[Cell]) -> list[tuple[str | None, str]]:
        """What tells the moves of cells apart: the same ratio from elsewhere is another move."""
        origins: dict[int, str] = {}  # by identity: most cells start from a few places and share the value
        found = []
        for cell in cells:
            origin = origins.get(id(cell.start))
            if origin is None:
                here = self.now is None or cell.starts_from(self.now)
                origin = origins[id(cell.start)] = "" if here else repr(sorted(cell.start.items()))
            found.append((None if self.key is None else cell.setting, origin))
        return found


def believed(questions: Sequence[Question]) -> list[Belief]:
    """Beliefs about these effects, in the unit of technique cards.

    What is of other moves counts first, then what others showed of this very move, then what it showed here.
    """
    found: dict[int, Belief] = {}
    groups: dict[int, list[int]] = {}
    for number, question in enumerate(questions):
        groups.setdefault(len(question.settings), []).append(number)
    # Those of one shape go through the algebra together: each alone is too small to be worth a call.
    for numbers in groups.values():
        found.update(zip(numbers, _believed([_Layout.of(questions[number]) for number in numbers]), strict=True))
    return [found[number] for number in range(len(questions))]


def _believed(some: Sequence[_Layout]) -> list[Belief]:
    mean, cov = _expected(some)
    mean, cov = _given_others(mean, cov, some)
    beliefs = []
    for layout, means, covs in zip(some, mean.tolist(), cov.tolist(), strict=True):
        # What is left is of few cells.
        left = [0, *layout.same, *layout.others_bounded]
        effects = _Effects([means[i] for i in left], [[covs[i][j] for j in left] for i in left])
        told = [_Told(at, layout.cells[i - 1], layout.carried[i]) for at, i in enumerate(left[1:], start=1)]
        effects.bounded(told[len(layout.same) :])
        kin = sum(place <= len(layout.question.kin) for place in layout.same)
        for now in (told[:kin], told[kin : len(layout.same)]):
            effects.tested([one for one in now if one.cell.n])
            effects.bounded([one for one in now if one.cell.pruned], of_this=True)
        beliefs.append(effects.belief(0))
    return beliefs


@dataclass(frozen=True, slots=True)
class _Layout:
    """The effect asked about in place 0, and in the places behind it those that the cells saw, first those of kin.

    `same` are the places of cells of the very move, `others` and `others_bounded` those of measured and of bounded ones
    of other moves; `carried` is what the model of each may have made of its effect (a standard deviation).
    """

    question: Question
    cells: Sequence[Cell]
    moves: Sequence[tuple[str | None, str]]
    same: Sequence[int]
    others: Sequence[int]
    others_bounded: Sequence[int]
    carried: Sequence[float]

    @classmethod
    def of(cls, question: Question) -> _Layout:
        cells = [*question.kin, *question.own]
        moves = [(question.key, ""), *question.moves(cells)]
        places = range(1, len(moves))
        others = [place for place in places if moves[place] != moves[0]]
        carried = [CARRIED * (cell.gain if cell.n else cell.bound) for cell in question.kin]
        return cls(
            question,
            cells,
            moves,
            [place for place in places if moves[place] == moves[0]],
            [place for place in others if cells[place - 1].n],
            [place for place in others if cells[place - 1].pruned],
            [0.0, *carried, *[0.0] * len(question.own)],
        )


def _expected(some: Sequence[_Layout]) -> tuple[Array, Array]:
    """Means (F × n) and covariances (F × n × n) of the effects of F layouts before any cell is told. Places that one
    has not are left over behind its own."""
    import numpy as np

    count, most = len(some), max(len(layout.moves) for layout in some)
    phis: dict[int, int] = {}  # by identity: cells of one context mostly share the value
    table = [(0.0,) * WIDTH]
    context = np.zeros((count, most), dtype=int)
    # Models, moves and keys by number; places that are left over are like no other.
    numbers = np.broadcast_to(-np.arange(1, most + 1), (3, count, most)).copy()
    named = np.full((count, most), -1)
    carried = np.zeros((count, most))
    for i, layout in enumerate(some):
        question = layout.question
        models = ["", *(cell.codebase for cell in question.kin), *[""] * len(question.own)]
        keys = [key for key, _ in layout.moves]
        contexts = [question.context, *(cell.context for cell in layout.cells)]
        for there in contexts:
            if id(there) not in phis:
                phis[id(there)] = len(table)
                table.append(features(there))
        n = len(models)
        numbers[:, i, :n] = [_numbered(models), _numbered(layout.moves), _numbered(keys)]
        named[i, :n] = [question.settings.index(key) if key in question.settings else -1 for key in keys]
        context[i, :n] = [phis[id(there)] for there in contexts]
        carried[i, :n] = layout.carried
    phi = np.array(table)[context]
    mean = np.array([layout.question.fitted.mean for layout in some])
    fitted = np.array([layout.question.fitted.cov for layout in some])
    rows = np.zeros((count, most, mean.shape[1]))
    rows[..., 0], rows[..., -WIDTH:] = 1.0, phi
    where = np.nonzero(named >= 0)
    rows[(*where, 1 + named[where])] = 1.0
    model, move, key = numbers[..., :, None] == numbers[..., None, :]
    silent = np.sqrt(np.maximum(0.0, 1 - (phi * phi).sum(axis=2)))
    between, setting, open_ = (
        np.array([getattr(layout.question.fitted, name) for layout in some])[:, None, None]
        for name in ("between", "setting", "open")
    )
    cov = rows @ fitted @ rows.transpose(0, 2, 1) + between * (1 - OWN_SHARE + OWN_SHARE * model)
    cov += setting * ((model & move) * 1.0 + (key & (named < 0)[..., None]))
    for shared, factor in ((silent, open_), (carried, model)):
        cov += factor * shared[..., :, None] * shared[..., None, :]
    return (rows @ mean[..., None])[..., 0], cov


def _given_others(mean: Array, cov: Array, some: Sequence[_Layout]) -> tuple[Array, Array]:
    """Means and covariances after the measured gains of other moves."""
    import numpy as np

    told = np.zeros(mean.shape)
    gain, noise = np.zeros(mean.shape), np.ones(mean.shape)
    for i, layout in enumerate(some):
        for place in layout.others:
            cell = layout.cells[place - 1]
            told[i, place], gain[i, place], noise[i, place] = 1.0, cell.gain, cell.variance
    if not told.any():
        return mean, cov
    seen = cov * told[..., None]
    among = seen * told[:, None, :]
    among[:, range(mean.shape[1]), range(mean.shape[1])] += noise
    pull = np.linalg.solve(among, seen)
    off = (gain - mean) * told
    return mean + (off[:, None, :] @ pull)[:, 0], cov - seen.transpose(0, 2, 1) @ pull


class _Told(NamedTuple):
    """A cell, the place of the effect that it saw, and what its model may have made of that effect."""

    place: int
    cell: Cell
    carried: float


@dataclass(slots=True)
class _Effects:
    """A few effects, normal together, that are told one thing after the other."""

    mean: list[float]
    cov: list[list[float]]

    def belief(self, place: int) -> Belief:
        return Belief(self.mean[place], math.sqrt(max(self.cov[place][place], LEAST)))

    def tested(self, told: Sequence[_Told]) -> None:
        """Learn the gains of cells of the very move that is asked about; they widen what they contradict."""
        seen = [(one, one.cell.gain, one.cell.variance) for one in told]
        self._widen(seen)
        for one, gain, variance in seen:
            self._learn(one.place, self.belief(one.place).updated(gain, math.sqrt(variance)))

    def bounded(self, told: Sequence[_Told], of_this: bool = False) -> None:
        """Learn the bounds of cells, lowest first; one from another model `of_this` move widens what it contradicts."""
        for one in sorted(told, key=lambda one: (one.cell.bound, one.cell.bound_variance)):
            bound, variance = one.cell.bound, one.cell.bound_variance
            if of_this and one.carried and bound < self.mean[one.place]:
                self._widen([(one, bound, variance)])
            self._learn(one.place, censored(self.belief(one.place), bound, math.sqrt(variance)))

    def _widen(self, seen: Sequence[tuple[_Told, float, float]]) -> None:
        """Doubt about these data as a whole, as much as what was seen (value and variance) calls for.

        What lies further from what was expected than two standard deviations is as far as that afterwards. What a
        model may have made of its effect excuses nothing.
        """
        extra = 0.0
        for one, value, variance in seen:
            plain = max(self.cov[one.place][one.place] - one.carried**2, 0.0) + variance
            extra = max(extra, ((value - self.mean[one.place]) / CONFLICT) ** 2 - plain)
        if extra > 0:
            self.cov = [[value + extra for value in row] for row in self.cov]

    def _learn(self, place: int, after: Belief) -> None:
        """Everything else, where this is what is believed of one effect now."""
        row, variance = self.cov[place], max(self.cov[place][place], LEAST)
        moved = (after.mean - self.mean[place]) / variance
        shrunk = (variance - after.sd**2) / variance**2
        self.mean = [mean + one * moved for mean, one in zip(self.mean, row, strict=True)]
        for i, share in enumerate([one * shrunk for one in row]):
            self.cov[i] = [value - share * other for value, other in zip(self.cov[i], row, strict=True)]


def _numbered(names: Sequence[Hashable]) -> list[int]:
    """Equal names as equal numbers."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]
