"""What is expected of a technique on one set of data, from its fit over other data and from what was tried on these.

The fit (`fit.py`) says how far effects lie apart between codebases. Of that, half is taken to be the model's own affair
and half that of its data (`OWN_SHARE`), so that on one set of data the effects of a technique, over models, steps and
contexts, are one normal vector: around the mean of the fit, with

    cov θ θ' = h C h' + r (1 - φφ)^½ (1 - φ'φ')^½ + b (1 + [same model]) / 2
               + e [same model and step] + e [same setting, without a parameter]

for rows h of the design, the parameters' covariance C, and the fit's variances between codebases b, of a setting in one
place e and of what contexts leave open r. What was tried is conditioned on (Rasmussen & Williams, Gaussian Processes
for Machine Learning, 2006, sections 2.2 and 3.9).

What another model makes of an effect is another effect by a third of its size (`CARRIED`), a share common to all that
this model showed. Nothing that is contradicted by the very step in question stays as sure as it was
(`hypothesis.Belief.widened`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rea.domain.codebase import Scalar
from rea.domain.hypothesis import CONFLICT, Belief
from rea.domain.insight import Cell
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
class Asked:
    """What an effect is asked of: a setting by its key (None: the technique in general, settings do not count), from
    where the model stands (None: from anywhere), in a context of features `phi`."""

    key: str | None
    now: Mapping[str, Scalar] | None
    phi: tuple[float, ...]

    def step(self, cell: Cell) -> tuple[str | None, str]:
        """What tells steps apart: the same ratio from elsewhere is another step."""
        here = self.now is None or cell.starts_from(self.now)
        return None if self.key is None else cell.setting, "" if here else repr(sorted(cell.start.items()))


def believed(
    fitted: posterior.Belief, settings: Sequence[str], asked: Asked, own: Sequence[Cell], kin: Sequence[Cell]
) -> Belief:
    """Belief about one effect, in the unit of technique cards.

    `fitted` and its `settings` are of codebases on other data, `own` the cells of this one, `kin` those of others on
    these data. Other steps count first, then what others showed of this very step, then what it showed here.
    """
    cells = [*kin, *own]
    steps = [(asked.key, ""), *map(asked.step, cells)]
    mean, cov, carried = _expected(fitted, settings, asked, steps, cells, len(kin))
    others = [place for place, step in enumerate(steps) if step != steps[0]]
    gains = [place for place in others if cells[place - 1].n]
    if gains:
        mean, cov = _given(mean, cov, gains, [cells[place - 1] for place in gains])
    # What is left is of few cells.
    same = [place for place, step in enumerate(steps) if place and step == steps[0]]
    bounds = [place for place in others if cells[place - 1].pruned]
    left = [0, *same, *bounds]
    effects = _Effects(mean[left].tolist(), cov[left][:, left].tolist())
    told = [_Told(at, cells[place - 1], carried[place]) for at, place in enumerate(left[1:], start=1)]
    effects.bounded(told[len(same) :])
    for of_kin in (True, False):
        now = [one for one, place in zip(told, same, strict=False) if (place <= len(kin)) is of_kin]
        effects.tested([one for one in now if one.cell.n])
        effects.bounded([one for one in now if one.cell.pruned], of_this=True)
    return effects.belief(0)


def _expected(
    fitted: posterior.Belief,
    settings: Sequence[str],
    asked: Asked,
    steps: Sequence[tuple[str | None, str]],
    cells: Sequence[Cell],
    kin: int,
) -> tuple[Array, Array, list[float]]:
    """Mean and covariance of the effect asked about and of what each cell saw, before any of them is told; and of the
    first `kin` cells, those of other codebases, what the model there may have made of it (a standard deviation)."""
    import numpy as np

    count = 1 + len(cells)
    contexts = {id(cell.context): cell.context for cell in cells}  # cells of one context mostly share the value
    phis = {at: features(context) for at, context in contexts.items()}
    phi = np.array([asked.phi, *(phis[id(cell.context)] for cell in cells)])
    rows = np.zeros((count, len(fitted.mean)))
    rows[:, 0], rows[:, -WIDTH:] = 1.0, phi
    unnamed = np.ones(count)
    for place, (key, _) in enumerate(steps):
        if key in settings:
            rows[place, 1 + settings.index(key)], unnamed[place] = 1.0, 0.0
    models = ["", *(cell.codebase for cell in cells[:kin]), *[""] * (count - 1 - kin)]
    model, step, key_ = _equal(models, steps, [key for key, _ in steps])
    silent = np.sqrt(np.maximum(0.0, 1 - (phi * phi).sum(axis=1)))
    carried = [0.0, *(CARRIED * (c.gain if c.n else c.bound) for c in cells[:kin]), *[0.0] * (count - 1 - kin)]
    shared = np.array(carried)
    cov = rows @ fitted.cov @ rows.T + fitted.between * (1 - OWN_SHARE + OWN_SHARE * model)
    cov += fitted.setting * (model * step + unnamed * key_) + fitted.open * silent[:, None] * silent
    cov += model * shared[:, None] * shared
    return rows @ fitted.mean, cov, carried


def _given(mean: Array, cov: Array, places: Sequence[int], cells: Sequence[Cell]) -> tuple[Array, Array]:
    """Mean and covariance after the measured gains of these cells, which saw the effects in these places."""
    import numpy as np

    told = cov[places]
    among = told[:, places] + np.diag([cell.variance for cell in cells])
    pull = np.linalg.solve(among, told)
    return mean + ([cell.gain for cell in cells] - mean[places]) @ pull, cov - told.T @ pull


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
        """Learn the gains of cells of the very step that is asked about; they widen what they contradict."""
        self._widen([(one, one.cell.gain, one.cell.variance) for one in told])
        for one in told:
            self._learn(one.place, self.belief(one.place).updated(one.cell.gain, math.sqrt(one.cell.variance)))

    def bounded(self, told: Sequence[_Told], of_this: bool = False) -> None:
        """Learn the bounds of cells, lowest first; one from another model `of_this` step widens what it contradicts."""
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
        self.cov = [
            [value - one * other * shrunk for value, other in zip(line, row, strict=True)]
            for line, one in zip(self.cov, row, strict=True)
        ]


def _equal(*lists: Sequence[Hashable]) -> Array:
    """Of each list, which of its pairs are equal, as ones and zeros."""
    import numpy as np

    of = []
    for names in lists:
        numbers: dict[Hashable, int] = {}
        of.append([numbers.setdefault(name, len(numbers)) for name in names])
    numbered = np.array(of)
    return np.asarray(numbered[:, :, None] == numbered[:, None, :], dtype=float)
