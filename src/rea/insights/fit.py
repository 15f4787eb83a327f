"""The hierarchical model behind every belief about a technique, fitted over cells.

For technique T with setting s in codebase k, in a context with features φ (`features.py`), the true relative gain is

    θ = μ + u_s + φ·β + v_k + e_sk          y | θ ~ N(θ, cell variance)

    μ ~ N(card's mean, card's sd²)          the technique
    u_s ~ N(0, ψτ²/2)                       the setting, in every codebase
    β ~ N(0, ρτ² I)                         what the context explains
    v_k ~ N(0, (1 − ρ − ψ)τ²)               the codebase, for reasons nobody wrote down
    e_sk ~ N(0, ψτ²/2)                      the setting in one codebase

a random-effects meta-regression with partial pooling (Higgins, Thompson & Spiegelhalter, J. R. Statist. Soc. A 2009;
Gelman & Hill, Data Analysis Using Regression and Multilevel/Hierarchical Models, 2007). The standard deviation between
contexts τ and its shares are not assumed: τ has a log-normal prior around what its level is known for, and
(τ, ρ, ψ) are integrated over a grid by their marginal likelihood (Röver, J. Statist. Softw. 2020), so that few contexts
leave τ, and with it every interval, wide. Given a grid point all is normal: precisions add up over codebases, each by a
Woodbury identity, and by another a codebase is taken out of a fit, at the cost of its own few cells.

Robustness. A cell that lies more than two standard deviations from what is believable (`_believable`) is believed less,
until it is two (`docs/decisions/0019`): a toy that moves by a sixth says little. Measurements of one cell that disagree
widen it (`Cell.variance`). A pruned run is a bound, its likelihood Φ((bound − θ) / noise) replaced by the normal of
equal first two moments (Rasmussen & Williams 2006, section 3.9), beside the belief that the measured cells give.

Selection. A winner's measured gain is too high on average; the posterior mean of this model is not, given the model,
however it was selected (Efron, J. Amer. Statist. Assoc. 2011): shrinkage pays the winner's curse.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from rea.domain import hypothesis
from rea.domain.hypothesis import CONFLICT
from rea.domain.insight import Cell
from rea.domain.technique import Level, Prior, Technique
from rea.insights.censoring import censored
from rea.insights.features import WIDTH, features
from rea.insights.posterior import Belief, Fit
from rea.insights.trainability import by_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# How much a technique's effect varies from data set to data set (relative NE, standard deviation), before experiments
# tell. Estimates: over BARS' sets the spread within one model's own grid runs from 0.0006 AUC (Criteo) to 0.009
# (MovieLens), about 0.1 % to 1.6 % of NE, and what a feature or a structure is worth depends most on the data.
BETWEEN: Mapping[Level, float] = {Level.FEATURE: 0.005, Level.STRUCTURE: 0.004, Level.RECIPE: 0.003, Level.LOSS: 0.002}
LOG_SD = 0.7  # of τ, in natural logarithms: what is known of it before any experiment
TAUS = tuple(2.0 ** (step / 2) for step in range(-6, 6))  # grid of τ over the level's, 1/8 to 5.7
# Grid of (ρ, ψ), and which of it is looked at first.
SHARES = ((0.1, 0.1), (0.1, 0.2), (0.1, 0.4), (0.4, 0.1), (0.4, 0.2), (0.4, 0.4), (0.7, 0.1), (0.7, 0.2))
FIRST = frozenset({0, 2, 3, 5, 6})
UNLIKELY = 4.0  # natural logarithms below the likeliest point, from which on nothing lies beside a grid point
IDLE = 7.0  # the same, from which on a grid point does not matter
ROUNDS = 3  # of looking at what lies beside points that matter
TOGETHER = 5  # grid points that are worked on at once
ENOUGH, MOST_KEPT = 0.98, 32  # grid points that a fit keeps to take codebases out of: so much of the weight, so many
SETTINGS = 8  # settings with a parameter of their own, those tried in most cells
MANY = 8  # codebases from which on they, and not the card, say what is believable


_ORDER = attrgetter("codebase", "setting", "n", "weight", "moment", "failed", "pruned", "bound")


def fit(technique: Technique, cells: Sequence[Cell]) -> Fit:
    """Fit the model to the cells of a technique, in whatever order; without cells it is the prior."""
    import numpy as np

    cells = sorted(cells, key=_ORDER)
    tried = Counter(cell.setting for cell in cells)
    settings = tuple(sorted(sorted(tried, key=lambda name: (-tried[name], name))[:SETTINGS]))
    base = BETWEEN[technique.level]
    grid = [(base * tau, rho, psi) for tau in TAUS for rho, psi in SHARES]
    tau, rho, psi = (np.array(column) for column in zip(*grid, strict=True))
    number = {name: i for i, name in enumerate(settings)}
    seen, bounds = [cell for cell in cells if cell.n], [cell for cell in cells if cell.pruned]
    measured, layout = _measured(seen, [number.get(cell.setting, -1) for cell in seen], len(settings))
    codebases = len(layout.first)
    believable, prior = _believable(measured, codebases, technique), _prior(measured, codebases, technique)
    # The prior of τ is centred so that its mean square is that of its level.
    log_prior = -0.5 * ((np.log(tau / base) + LOG_SD**2) / LOG_SD) ** 2
    found: dict[int, tuple[Array, Array, float]] = {}

    def look(places: Iterable[int]) -> None:
        fresh = [g for g in dict.fromkeys(places) if g not in found]
        for start in range(0, len(fresh), TOGETHER):
            some = fresh[start : start + TOGETHER]
            a, c, logml = _posterior(measured, layout, prior, believable, tau[some], rho[some], psi[some])
            found.update({g: (a[i], c[i], float(log_prior[g] + logml[i])) for i, g in enumerate(some)})

    # Some points first, then what lies beside those that matter: likelihoods over many cells are narrow.
    look(g for g in range(len(grid)) if g // len(SHARES) % 2 == 0 and g % len(SHARES) in FIRST)
    for _ in range(ROUNDS):
        best = max(weight for _, _, weight in found.values())
        look([other for g, (_, _, weight) in found.items() if weight > best - UNLIKELY for other in _beside(g)])
    best = max(weight for _, _, weight in found.values())
    used = sorted((g for g, (_, _, weight) in found.items() if weight > best - IDLE), key=lambda g: (-found[g][2], g))
    weight = np.exp(np.array([found[g][2] - best for g in used]))
    weight = weight / weight.sum()
    a, c = np.array([found[g][0] for g in used]), np.array([found[g][1] for g in used])
    tau, rho, psi = tau[used], rho[used], psi[used]
    mean, cov = _solved(a, c, prior.mean)
    belief_mean, belief_cov = _mixture(weight, mean, cov)
    cavity = np.vstack([belief_mean, belief_cov])
    if bounds:
        rows = design(bounds, [number.get(cell.setting, -1) for cell in bounds], len(settings))
        sites, centres = sites_of(bounds, rows, cavity, extra_of(rows, tau, rho, psi))
        a += (sites[:, None, :] * rows.T) @ rows
        c += (sites * (centres - prior.mean)) @ rows
        mean, cov = _solved(a, c, prior.mean)
        belief_mean, belief_cov = _mixture(weight, mean, cov)
    square = weight * tau**2
    # A power of two where there are more: fits of one shape are worked on together.
    enough = int(np.searchsorted(np.cumsum(weight), ENOUGH)) + 1
    kept = min(1 << (enough - 1).bit_length(), MOST_KEPT, len(used))
    return Fit(
        technique=technique.name,
        prior=prior,
        level=technique.level,
        settings=settings,
        belief=Belief(
            belief_mean,
            belief_cov,
            float((square * (1 - rho - psi)).sum()),
            float((square * psi).sum()) / 2,
            float((square * rho).sum()),
        ),
        grid=np.array([weight[:kept] / weight[:kept].sum(), tau[:kept], rho[:kept], psi[:kept]]),
        normals=np.concatenate([mean[:kept, None], cov[:kept]], axis=1),
        cavity=cavity,
        believable=believable,
        contexts=dict(sorted(by_place(cells).items())),
        n=experiments(cells),
        codebases=len({cell.codebase for cell in cells}),
    )


def _beside(g: int) -> Iterator[int]:
    """Grid points one step of τ from this one, and those one step of ψ from it at the same ρ."""
    at, share = divmod(g, len(SHARES))
    for other in (at - 1, at + 1):
        if 0 <= other < len(TAUS):
            yield other * len(SHARES) + share
    for other in (share - 1, share + 1):
        if 0 <= other < len(SHARES) and SHARES[other][0] == SHARES[share][0]:
            yield at * len(SHARES) + other


def experiments(cells: Sequence[Cell]) -> int:
    """How many experiments are in the cells."""
    return sum(cell.n + cell.failed + cell.pruned for cell in cells)


def spread_of(weight: Array, off: Array) -> Array:
    """Covariance of means over the grid (… × G × p, as their distances from the mean of them all)."""
    return (off * weight[..., None]).swapaxes(-1, -2) @ off


def design(cells: Sequence[Cell], places: Sequence[int], settings: int) -> Array:
    """Rows of the design. `places` says which of the settings with a parameter each cell has, −1: none of them."""
    import numpy as np

    rows = np.zeros((len(cells), 1 + settings + WIDTH))
    rows[:, 0] = 1.0
    phi, numbers = _features(cells)
    rows[:, 1 + settings :] = phi[numbers]
    at = np.array(places, dtype=int)
    named = np.flatnonzero(at >= 0)
    rows[named, 1 + at[named]] = 1.0
    return rows


def _features(cells: Sequence[Cell]) -> tuple[Array, list[int]]:
    """The different φ that cells have, as rows, and which of them each cell has."""
    import numpy as np

    known: dict[int, int] = {}  # by identity: hashing φ would cost as much as making it
    found: dict[tuple[float, ...], int] = {}
    numbers = []
    for cell in cells:
        number = known.get(id(cell.context))
        if number is None:
            number = known[id(cell.context)] = found.setdefault(features(cell.context), len(found))
        numbers.append(number)
    return np.array(list(found)).reshape(-1, WIDTH), numbers


@dataclass(frozen=True, slots=True)
class Measured:
    """Observed cells: gains, variances, share of ψτ² that the setting's parameter does not carry, share of ρτ² that the
    context leaves open."""

    gain: Array
    variance: Array
    unnamed: Array
    silent: Array

    @classmethod
    def of(cls, cells: Sequence[Cell], named: Array, phi: Array) -> Measured:
        import numpy as np

        gain, variance = np.array([cell.gain for cell in cells]), np.array([cell.variance for cell in cells])
        return cls(gain, variance, np.where(named, 0.5, 1.0), np.maximum(0.0, 1 - (phi**2).sum(axis=1)))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the cells of a technique are: in C contexts, each of one codebase, in the order of codebases.

    `phi` (C × WIDTH); `first` marks where each codebase begins, `codebase` (C) is its number; `slot` (cells) is context
    × (1 + settings) + place, 0 for a setting without a parameter of its own.
    """

    phi: Array
    first: Array
    codebase: Array
    slot: Array
    settings: int

    def sums(self, values: Array) -> Array:
        """Sums (grid × C × 1 + settings) over the cells of a context: of all, then of each setting."""
        import numpy as np

        shape = (len(self.phi), 1 + self.settings)
        added = np.array([np.bincount(self.slot, row, math.prod(shape)).reshape(shape) for row in values])
        added[:, :, 0] = added.sum(axis=2)
        return added


def _measured(cells: Sequence[Cell], places: Sequence[int], settings: int) -> tuple[Measured, _Layout]:
    """Observed cells in the order of their codebases; `places` as of `design`."""
    import numpy as np

    phi, numbers = _features(cells)
    contexts: dict[tuple[str, int], int] = {}
    of = [contexts.setdefault((c.codebase, i), len(contexts)) for c, i in zip(cells, numbers, strict=True)]
    codebases: dict[str, int] = {}
    whose = np.array([codebases.setdefault(name, len(codebases)) for name, _ in contexts], dtype=int)
    first = np.flatnonzero(np.diff(whose, prepend=-1))
    at = np.array(places, dtype=int)
    slot = np.array(of, dtype=int) * (1 + settings) + 1 + at
    layout = _Layout(phi[[i for _, i in contexts]], first, whose, slot, settings)
    return Measured.of(cells, at >= 0, phi[numbers]), layout


def noise_of(m: Measured, mean: float | Array, believable: float | Array, tau: Array, rho: Array, psi: Array) -> Array:
    """Variance (grid × cells) of each cell beside μ, u, β and v_k: its own, the setting's, what its context leaves
    open; or what makes it believable, where that is more. τ, ρ and ψ are columns, or given for each cell."""
    import numpy as np

    noise = m.variance + tau**2 * (psi * m.unnamed + rho * m.silent)
    return np.asarray(np.maximum(noise, ((m.gain - mean) / CONFLICT) ** 2 - believable))


def _believable(m: Measured, codebases: int, technique: Technique) -> float:
    """The variance around the card's mean that true effects are believed to have: the card's and its level's; from
    MANY codebases on that of the bulk of what was measured, by median and median absolute deviation, if that is more.

    So a few toys do not make themselves believable, and what many codebases agree on does, whatever a card says.
    """
    prior = technique.effect
    usual = prior.sd**2 + BETWEEN[technique.level] ** 2
    if codebases < MANY:
        return usual
    middle, spread = _bulk(m)
    return max(usual, (middle - prior.mean) ** 2 + spread**2)


def _bulk(m: Measured) -> tuple[float, float]:
    """Median of the gains and 1.4826 times their median absolute deviation, the standard deviation were they normal."""
    import numpy as np

    middle = float(np.median(m.gain))
    return middle, 1.4826 * float(np.median(np.abs(m.gain - middle)))


def _prior(m: Measured, codebases: int, technique: Technique) -> Prior:
    """The card's prior, which gives way where the median over MANY codebases or more contradicts it: no card, however
    narrow, outvotes what many measured."""
    card = technique.effect
    if codebases < MANY:
        return card
    middle, spread = _bulk(m)
    wide = hypothesis.Belief(card.mean, card.sd).widened(middle, 1.2533 * spread / math.sqrt(codebases))
    return Prior(card.mean, wide.sd, card.basis)


def _sums(m: Measured, at: _Layout, mean: float, noise: Array, between: Array) -> tuple[Array, Array, Array]:
    """Per grid point Σ HᵀV⁻¹H, Σ HᵀV⁻¹r, and rᵀV⁻¹r + log det V, for V = diag(noise) + between within a codebase.

    All cells of a context have its φ, so contexts are summed over and not cells. With f the sum of w h over a context's
    cells, W of their w, and g the sum of f over its codebase times `pull`, Σ HᵀV⁻¹H is Σ f hᵀ − g fᵀ over contexts, and
    as the latter part of f is W φ, that part of it is Σ (f − W g) φᵀ.
    """
    import numpy as np

    e, p = 1 + at.settings, 1 + at.settings + WIDTH
    if not len(m.gain):
        return np.zeros((len(between), p, p)), np.zeros((len(between), p)), np.zeros(len(between))
    w, r = 1 / noise, m.gain - mean
    weighed, pulled = at.sums(w), at.sums(w * r)
    alone = weighed[:, :, :1]
    f = np.empty((*weighed.shape[:2], p))
    f[:, :, :e] = weighed
    np.multiply(alone, at.phi, out=f[:, :, e:])
    h, y, several = f, pulled[:, :, 0], len(at.first) < len(at.phi)
    if several:
        h, y = np.add.reduceat(f, at.first, axis=1), np.add.reduceat(y, at.first, axis=1)
    total = h[:, :, 0]
    pull = between[:, None] / (1 + between[:, None] * total)
    c = np.concatenate([pulled.sum(axis=1), pulled[:, :, 0] @ at.phi], axis=1) - ((pull * y)[:, None, :] @ h)[:, 0]
    a = np.empty((len(between), p, p))
    if several:
        h, share = h[:, at.codebase], pull[:, at.codebase, None]
        left = f - alone * share * h
    else:
        share = pull[:, :, None]
        left = f * (1 - alone * share)
    a[:, :, e:] = left.transpose(0, 2, 1) @ at.phi
    a[:, e:, :e] = a[:, :e, e:].transpose(0, 2, 1)
    a[:, :e, :e] = -(h[:, :, :e] * share).transpose(0, 2, 1) @ weighed
    of_setting = weighed.sum(axis=1)
    a[:, 0, :e] += of_setting
    a[:, 1:e, 0] += of_setting[:, 1:]
    a[:, range(1, e), range(1, e)] += of_setting[:, 1:]
    quadratic = (w * r * r).sum(axis=1) - (pull * y * y).sum(axis=1)
    return a, c, quadratic + np.log(noise).sum(axis=1) + np.log1p(between[:, None] * total).sum(axis=1)


def _posterior(
    m: Measured, at: _Layout, prior: Prior, believable: float, tau: Array, rho: Array, psi: Array
) -> tuple[Array, Array, Array]:
    """Per grid point the precision, the shift and the log marginal likelihood but for a constant."""
    import numpy as np

    square = (tau**2)[:, None]
    alone = np.full((len(tau), 1), 1 / prior.sd**2)
    of_setting, of_context = 2 / (psi[:, None] * square), 1 / (rho[:, None] * square)
    before = np.hstack([alone, of_setting * np.ones(at.settings), of_context * np.ones(WIDTH)])
    noise = noise_of(m, prior.mean, believable, tau[:, None], rho[:, None], psi[:, None])
    a, c, fit_ = _sums(m, at, prior.mean, noise, (1 - rho - psi) * tau**2)
    a[:, np.arange(a.shape[1]), np.arange(a.shape[1])] += before
    chol = np.linalg.cholesky(a)
    half = np.linalg.solve(chol, c[:, :, None])[:, :, 0]
    logdet = 2 * np.log(np.diagonal(chol, axis1=1, axis2=2)).sum(axis=1)
    return a, c, -0.5 * (fit_ + logdet - np.log(before).sum(axis=1) - (half**2).sum(axis=1))


def _solved(precision: Array, shift: Array, mean: float) -> tuple[Array, Array]:
    """Mean and covariance of the parameters per grid point."""
    import numpy as np

    cov = np.linalg.inv(precision)
    centre = (cov @ shift[:, :, None])[:, :, 0]
    centre[:, 0] += mean
    return centre, cov


def _mixture(weight: Array, mean: Array, cov: Array) -> tuple[Array, Array]:
    """Mean and covariance of the parameters over the grid."""
    import numpy as np

    overall = weight @ mean
    return overall, np.einsum("g,gij->ij", weight, cov) + spread_of(weight, mean - overall)


def extra_of(rows: Array, tau: Array, rho: Array, psi: Array) -> Array:
    """Variance (grid × cells) of a bound beside μ, u, β and its own."""
    import numpy as np

    silent = np.maximum(0.0, 1 - (rows[:, -WIDTH:] ** 2).sum(axis=1))
    square = tau**2
    return np.asarray(((1 - rho - psi) * square + psi * square)[:, None] + (rho * square)[:, None] * silent)


def sites_of(cells: Sequence[Cell], rows: Array, cavity: Array, extra: Array) -> tuple[Array, Array]:
    """What bounds say of h·b beside a belief (`Fit.cavity`), as normals: precisions and centres (grid × cells)."""
    import numpy as np

    precision, centre = np.zeros(extra.shape), np.empty(extra.shape)
    means, variances = rows @ cavity[0], np.maximum(((rows @ cavity[1:]) * rows).sum(axis=1), 1e-18)
    for i, (cell, m, v) in enumerate(zip(cells, means.tolist(), variances.tolist(), strict=True)):
        here = hypothesis.Belief(m, math.sqrt(v))
        for g, more in enumerate(extra[:, i].tolist()):
            after = censored(here, cell.bound, math.sqrt(cell.bound_variance + more))
            left = after.sd**2
            said = 1 / left - 1 / v
            known = said > 1e-9 / v
            precision[g, i] = said if known else 0.0
            centre[g, i] = (after.mean / left - m / v) / said if known else m
    return precision, centre
