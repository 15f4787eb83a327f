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
from typing import TYPE_CHECKING, Any

from rea.domain.codebase import Scalar
from rea.domain.hypothesis import CONFLICT, Belief
from rea.domain.insight import Cell
from rea.domain.technique import Technique
from rea.insights import posterior
from rea.insights.censoring import censored
from rea.insights.features import WIDTH, features
from rea.insights.fit import BETWEEN
from rea.insights.posterior import vector

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
    joint = _Joint(fitted, settings, asked, cells, len(kin))
    same = [place for place, cell in enumerate(cells, start=1) if asked.step(cell) == (asked.key, "")]
    of_others = [place for place in same if place <= len(kin)]
    joint.learn([place for place in range(1, 1 + len(cells)) if place not in same])
    for places in (of_others, [place for place in same if place > len(kin)]):
        joint.learn(places, about_this=True)
    return Belief(float(joint.mean[0]), math.sqrt(max(float(joint.cov[0, 0]), LEAST)))


class _Joint:
    """Mean and covariance of the effect asked about, in place 0, and of what the cells saw of others behind it."""

    mean: Array
    cov: Array

    def __init__(
        self, fitted: posterior.Belief, settings: Sequence[str], asked: Asked, cells: Sequence[Cell], kin: int
    ) -> None:
        """The first `kin` cells are of other codebases, the others of this one."""
        import numpy as np

        self._cells = cells
        steps = [(asked.key, ""), *map(asked.step, cells)]
        models = ["", *(cell.codebase for cell in cells[:kin]), *[""] * (len(cells) - kin)]
        contexts = [asked.phi, *(features(cell.context) for cell in cells)]
        rows = np.array([vector(settings, key, phi) for (key, _), phi in zip(steps, contexts, strict=True)])
        silent = np.sqrt(np.maximum(0.0, 1 - (rows[:, -WIDTH:] ** 2).sum(axis=1)))
        unnamed = np.array([float(key not in settings) for key, _ in steps])
        model = _equal(models)
        self.mean = rows @ fitted.mean
        self.cov = rows @ fitted.cov @ rows.T + fitted.open * np.outer(silent, silent)
        self.cov += fitted.between * (1 - OWN_SHARE + OWN_SHARE * model)
        self.cov += fitted.setting * model * _equal(steps)
        self.cov += fitted.setting * unnamed * _equal([key for key, _ in steps])
        showed = [0.0, *(cell.gain if cell.n else cell.bound for cell in cells[:kin]), *[0.0] * (len(cells) - kin)]
        self._carried = CARRIED * np.array(showed)
        self.cov += model * np.outer(self._carried, self._carried)

    def learn(self, places: Sequence[int], about_this: bool = False) -> None:
        """Condition on the cells in these places: their gains together, then their bounds one by one, highest last.

        Where they are `about_this` very step, a gain that lies further from what was expected than two standard
        deviations widens it; so does a bound from elsewhere. What the model there may have made of the effect
        (`CARRIED`) excuses nothing.
        """
        import numpy as np

        gains = [place for place in places if self._cells[place - 1].n]
        if gains:
            seen = np.array([self._cells[place - 1].gain for place in gains])
            noise = np.array([self._cells[place - 1].variance for place in gains])
            off = seen - self.mean[gains]
            if about_this:
                self._widen(off, gains, noise)
            among = self.cov[np.ix_(gains, gains)] + np.diag(noise)
            pull = np.linalg.solve(among, self.cov[gains])
            self.mean = self.mean + off @ pull
            self.cov = self.cov - self.cov[:, gains] @ pull
        bounds = [(c.bound, c.bound_variance, i) for i in places if (c := self._cells[i - 1]).pruned]
        for bound, variance, place in sorted(bounds):
            if about_this and self._carried[place] and bound < self.mean[place]:
                self._widen(bound - self.mean[[place]], [place], np.array([variance]))
            before = Belief(float(self.mean[place]), math.sqrt(max(float(self.cov[place, place]), LEAST)))
            after = censored(before, bound, math.sqrt(variance))
            moved = self.cov[place] / before.sd**2
            self.mean = self.mean + moved * (after.mean - before.mean)
            self.cov = self.cov - np.outer(moved, moved) * (before.sd**2 - after.sd**2)

    def _widen(self, off: Array, places: Sequence[int], noise: Array) -> None:
        """Doubt about these data as a whole, as much as what is so far `off` calls for."""
        import numpy as np

        plain = np.maximum(np.diagonal(self.cov)[places] - self._carried[places] ** 2, 0.0) + noise
        self.cov = self.cov + max(0.0, float(((off / CONFLICT) ** 2 - plain).max()))


def _equal(names: Sequence[Hashable]) -> Array:
    """Which pairs are equal, as ones and zeros."""
    import numpy as np

    numbers: dict[Hashable, int] = {}
    of = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    return np.asarray(of[:, None] == of, dtype=float)
