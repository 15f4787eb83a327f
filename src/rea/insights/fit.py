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
Woodbury identity, and by another a codebase is taken out of a fit exactly, at the cost of its own few cells.

Robustness. A cell that lies more than two standard deviations from what is believable (`_believable`) is believed less,
until it is two (`docs/decisions/0019`): a toy that moves by a sixth says little. Measurements of one cell that disagree
widen it (Birge's ratio). A pruned run is a bound, its likelihood Φ((bound − θ) / noise) replaced by the normal of equal
first two moments (Rasmussen & Williams 2006, section 3.9), beside the belief that the measured cells give.

Selection. A winner's measured gain is too high on average; the posterior mean of this model is not, given the model,
however it was selected (Efron, J. Amer. Statist. Assoc. 2011): shrinkage pays the winner's curse.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from rea.domain import hypothesis
from rea.domain.codec import digest
from rea.domain.hypothesis import CONFLICT
from rea.domain.insight import Cell, Context, ContextValue
from rea.domain.technique import Level, Prior, Technique
from rea.insights.censoring import censored
from rea.insights.features import FAMILIES, WIDTH, features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FORMAT = 4  # of a fit in bytes, and of the model that made it: another number makes every kept fit anew
# How much a technique's effect varies from data set to data set (relative NE, standard deviation), before experiments
# tell. Estimates: over BARS' sets the spread within one model's own grid runs from 0.0006 AUC (Criteo) to 0.009
# (MovieLens), about 0.1 % to 1.6 % of NE, and what a feature or a structure is worth depends most on the data.
BETWEEN: Mapping[Level, float] = {Level.FEATURE: 0.005, Level.STRUCTURE: 0.004, Level.RECIPE: 0.003, Level.LOSS: 0.002}
LOG_SD = 0.7  # of τ, in natural logarithms: what is known of it before any experiment
TAUS = tuple(2.0 ** (step / 2) for step in range(-6, 6))  # grid of τ over the level's, 1/8 to 5.7
SHARES = ((0.1, 0.1), (0.1, 0.4), (0.4, 0.1), (0.4, 0.4), (0.7, 0.1))  # grid of (ρ, ψ)
UNLIKELY = 4.0  # natural logarithms below the likeliest point, from which on a grid point does not matter
KEPT = 6  # grid points that a fit keeps, the likeliest
SETTINGS = 8  # settings with a parameter of their own, those tried in most cells
FEW = 3  # bits of a count of rows: fits with up to seven of them are worked on together
MANY = 8  # codebases from which on they, and not the card, say what is believable


@dataclass(frozen=True, slots=True)
class Belief:
    """A fit as one normal per parameter vector: mean (p), covariance (p × p), and what comes on top of it in a new
    place: variance between codebases, of a setting, and of what a context does not say. Exact in mean and variance."""

    mean: Array
    cov: Array
    between: float  # E (1 − ρ − ψ)τ²
    setting: float  # E ψτ²/2
    open: float  # E ρτ²


@dataclass(frozen=True)
class Fit:
    """A technique's posterior from all codebases: `belief`, and the normals per grid point that it is the mixture of.

    With G grid points and p = 1 + settings + WIDTH: `grid` (4 × G), the points' weight, τ, ρ and ψ; `normals`
    (G × (1 + p) × p), of each its mean and below it its covariance; `cavity` ((1 + p) × p), in the same way the belief
    that bounds were turned into normals beside. `believable` is the variance around the card's mean beyond which a cell
    is believed less. `contexts` counts experiments that could be trained and could not, by (family, decade of rows).
    `n` counts experiments.
    """

    technique: str
    prior: Prior
    level: Level
    settings: tuple[str, ...]
    belief: Belief
    grid: Array
    normals: Array
    cavity: Array
    believable: float
    contexts: Mapping[tuple[str, int], tuple[float, float]]
    n: int
    codebases: int

    def to_bytes(self) -> bytes:
        """A line of JSON, its length a multiple of eight, and the arrays as float64, little-endian."""
        import numpy as np

        belief = self.belief
        head = {
            "format": FORMAT,
            "technique": self.technique,
            "prior": [self.prior.mean, self.prior.sd, self.prior.basis],
            "level": self.level.value,
            "settings": self.settings,
            "grid": len(self.normals),
            "new": [belief.between, belief.setting, belief.open],
            "believable": self.believable,
            "families": " ".join(family for family, _ in self.contexts),  # letters and digits alone: see `place`
            "decades": [decade for _, decade in self.contexts],
            "n": self.n,
            "codebases": self.codebases,
        }
        line = json.dumps(head).encode()
        counts = np.array(list(self.contexts.values()), dtype=float)
        arrays = [belief.mean, belief.cov, self.cavity, self.grid, self.normals, counts]
        flat = np.concatenate([np.ravel(a) for a in arrays])
        return line + b" " * (-(len(line) + 1) % 8) + b"\n" + flat.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Fit | None:
        """The fit, its arrays views of `data`, or None where another release wrote it."""
        import numpy as np

        start = data.index(b"\n") + 1
        head = json.loads(data[:start])
        if head["format"] != FORMAT:
            return None
        g, p = head["grid"], 1 + len(head["settings"]) + WIDTH
        decades = head["decades"]
        places = list(zip(head["families"].split(" "), decades, strict=True)) if decades else []
        one, grid, normals = (1 + p) * p, 4 * g, g * (1 + p) * p
        flat = np.frombuffer(data, "<f8", offset=start)
        if len(flat) != 2 * one + grid + normals + 2 * len(places):
            return None
        belief, cavity = flat[: 2 * one].reshape(2, 1 + p, p)
        rest = flat[2 * one :]
        counts = rest[grid + normals :].reshape(-1, 2).tolist()
        return cls(
            technique=head["technique"],
            prior=Prior(*head["prior"]),
            level=Level(head["level"]),
            settings=tuple(head["settings"]),
            belief=Belief(belief[0], belief[1:], *head["new"]),
            grid=rest[:grid].reshape(4, g),
            normals=rest[grid : grid + normals].reshape(g, 1 + p, p),
            cavity=cavity,
            believable=head["believable"],
            contexts=dict(zip(places, map(tuple, counts), strict=True)),
            n=head["n"],
            codebases=head["codebases"],
        )


def card_key(technique: Technique) -> str:
    """Digest of what a fit takes from its card, and of the model: another card or release makes a fit anew."""
    prior = technique.effect
    taken = (str(FORMAT), technique.name, technique.level.value, repr(prior.mean), repr(prior.sd), prior.basis)
    return digest("\0".join(taken))[:16]


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
        for start in range(0, len(fresh), len(SHARES)):
            some = fresh[start : start + len(SHARES)]
            a, c, logml = _posterior(measured, layout, prior, believable, tau[some], rho[some], psi[some])
            found.update({g: (a[i], c[i], float(log_prior[g] + logml[i])) for i, g in enumerate(some)})

    # Every other τ first, then what lies between those that matter: likelihoods over many cells are narrow.
    step = len(SHARES)
    look(g for g in range(len(grid)) if g // step % 2 == 0)
    best = max(weight for _, _, weight in found.values())
    near = [g for g, (_, _, weight) in found.items() if weight > best - UNLIKELY]
    look(g + side for g in near for side in (-step, step) if 0 <= g + side < len(grid))
    best = max(weight for _, _, weight in found.values())
    kept = sorted(sorted(found, key=lambda g: (-found[g][2], g))[:KEPT])
    weight = np.exp(np.array([found[g][2] - best for g in kept]))
    weight = weight / weight.sum()
    a, c = np.array([found[g][0] for g in kept]), np.array([found[g][1] for g in kept])
    kept_tau, kept_rho, kept_psi = tau[kept], rho[kept], psi[kept]
    mean, cov = _solved(a, c, prior.mean)
    belief_mean, belief_cov = _mixture(weight, mean, cov)
    cavity = np.vstack([belief_mean, belief_cov])
    if bounds:
        rows = _design(bounds, [number.get(cell.setting, -1) for cell in bounds], len(settings))
        sites, centres = _sites(bounds, rows, cavity, _extra(rows, kept_tau, kept_rho, kept_psi))
        a += (sites[:, None, :] * rows.T) @ rows
        c += (sites * (centres - prior.mean)) @ rows
        mean, cov = _solved(a, c, prior.mean)
        belief_mean, belief_cov = _mixture(weight, mean, cov)
    square = weight * kept_tau**2
    return Fit(
        technique=technique.name,
        prior=prior,
        level=technique.level,
        settings=settings,
        belief=Belief(
            belief_mean,
            belief_cov,
            float((square * (1 - kept_rho - kept_psi)).sum()),
            float((square * kept_psi).sum()) / 2,
            float((square * kept_rho).sum()),
        ),
        grid=np.array([weight, kept_tau, kept_rho, kept_psi]),
        normals=np.concatenate([mean[:, None], cov], axis=1),
        cavity=cavity,
        believable=believable,
        contexts=dict(sorted(_contexts(cells).items())),
        n=experiments(cells),
        codebases=len({cell.codebase for cell in cells}),
    )


def experiments(cells: Sequence[Cell]) -> int:
    """How many experiments are in the cells."""
    return sum(cell.n + cell.failed + cell.pruned for cell in cells)


def without(fits: Sequence[Fit], taken: Sequence[Sequence[Cell]]) -> list[Belief]:
    """What each fit believes without its cells of one codebase, those at the same place in `taken`. The weights of the
    grid stay."""
    left = [f.belief for f in fits]
    alike: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for i, (fitted, cells) in enumerate(zip(fits, taken, strict=True)):
        rows = sum((cell.n > 0) + (cell.pruned > 0) for cell in cells)
        if rows:
            alike.setdefault((fitted.normals.shape, max(rows.bit_length(), FEW)), []).append(i)
    # Techniques of one shape go through the algebra together: each alone is too small to be worth a call.
    for places in alike.values():
        some, cells_of = [fits[i] for i in places], [taken[i] for i in places]
        for i, belief in zip(places, _taken_out(some, *_given(some, cells_of)), strict=True):
            left[i] = belief
    return left


def _given(fits: Sequence[Fit], taken: Sequence[Sequence[Cell]]) -> tuple[Array, Array, Array]:
    """What the cells of one codebase gave to each of F fits of one shape, as k rows: their designs (F × k × p), and per
    grid point what they say of it (F × G × k) and how precisely (F × G × k × k).

    A cell with gains and bounds is two rows. Fits with fewer than others have rows of zeros, which say nothing.
    """
    import numpy as np

    told = [(i, cell) for i, cells in enumerate(taken) for cell in cells if cell.n]
    bounds = [(i, cell) for i, cells in enumerate(taken) for cell in cells if cell.pruned]
    places = [{name: place for place, name in enumerate(fitted.settings)} for fitted in fits]
    n, both = len(told), [*told, *bounds]
    used: Counter[int] = Counter()
    slots = []
    for i, _ in both:
        slots.append(used[i])
        used[i] += 1
    cells = [cell for _, cell in both]
    design = _design(cells, [places[i].get(cell.setting, -1) for i, cell in both], len(fits[0].settings))
    whose, slot, most = np.array([i for i, _ in both]), np.array(slots), max(used.values())
    grid = np.array([fitted.grid for fitted in fits])
    tau, rho, psi = grid[:, 1], grid[:, 2], grid[:, 3]
    rows, seen = np.zeros((len(fits), most, design.shape[1])), np.zeros((*tau.shape, most))
    w, sites = np.zeros(seen.shape), np.zeros(seen.shape)
    rows[whose, slot] = design
    if told:
        of, at = whose[:n], slot[:n]
        m = _Measured.of(cells[:n], design[:n, 1:-WIDTH].sum(axis=1) > 0, design[:n, -WIDTH:])
        mean = np.array([fitted.prior.mean for fitted in fits])[of]
        believable = np.array([fitted.believable for fitted in fits])[of]
        w[of, :, at] = 1 / _noise(m, mean, believable, tau.T[:, of], rho.T[:, of], psi.T[:, of]).T
        seen[of, :, at] = m.gain[:, None]
    for i in dict.fromkeys(i for i, _ in bounds):
        some = [place for place in range(n, len(both)) if both[place][0] == i]
        extra = _extra(design[some], tau[i], rho[i], psi[i])
        said, centres = _sites([cells[place] for place in some], design[some], fits[i].cavity, extra)
        sites[i][:, slot[some]], seen[i][:, slot[some]] = said, centres
    between = (1 - rho - psi) * tau**2
    pull = between / (1 + between * w.sum(axis=2))
    precision = -pull[:, :, None, None] * (w[..., :, None] * w[..., None, :])
    precision[..., range(most), range(most)] += w + sites
    return rows, seen, precision


def _taken_out(fits: Sequence[Fit], rows: Array, seen: Array, precision: Array) -> list[Belief]:
    """Beliefs of fits of one shape without what `_given` gave them.

    With P the covariance per grid point, H the rows and W their precision, P without them is P + U M Uᵀ for U = P Hᵀ
    and M = (I − W H U)⁻¹ W, and the mean moves by U M (H mean − y).
    """
    import numpy as np

    count, grid, most = seen.shape
    width = rows.shape[2]
    weight = np.array([fitted.grid[0] for fitted in fits])
    before = np.array([fitted.normals[:, 0] for fitted in fits])
    # H mean and U in one product, without a copy of the covariances, which are most of what is known.
    both = [fitted.normals.reshape(-1, width) @ h.T for fitted, h in zip(fits, rows, strict=True)]
    found = np.array(both).reshape(count, grid, 1 + width, most)
    expected, u = found[:, :, 0], found[:, :, 1:]
    um = u @ np.linalg.solve(np.eye(most) - precision @ (rows[:, None] @ u), precision)
    mean = before + (um @ (expected - seen)[..., None])[..., 0]
    overall = (weight[:, None, :] @ mean)[:, 0]
    # Σ over the grid of weight × P is the covariance of the whole less what its means differ by; Σ of weight × U M Uᵀ
    # is one product of p × Gk matrices.
    mixed = np.array([fitted.belief.cov for fitted in fits])
    mixed -= _spread(weight, before - np.array([fitted.belief.mean for fitted in fits])[:, None])
    side = (count, width, grid * most)
    gained = (weight[:, :, None, None] * um).transpose(0, 2, 1, 3).reshape(side)
    mixed += gained @ u.transpose(0, 2, 1, 3).reshape(side).transpose(0, 2, 1)
    mixed += _spread(weight, mean - overall[:, None])
    return [replace(fitted.belief, mean=overall[i], cov=mixed[i]) for i, fitted in enumerate(fits)]


def _spread(weight: Array, off: Array) -> Array:
    """Covariance of means over the grid (… × G × p, as their distances from the mean of them all)."""
    return (off * weight[..., None]).swapaxes(-1, -2) @ off


def vector(settings: Sequence[str], setting: str | None, phi: Sequence[float]) -> list[float]:
    """The row of the design for one setting in a context of features φ: 1, the setting's place, φ."""
    return [1.0, *(1.0 if name == setting else 0.0 for name in settings), *phi]


def _design(cells: Sequence[Cell], places: Sequence[int], settings: int) -> Array:
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

    known: dict[int, int] = {}  # cells of one context share the value itself where they came from a store
    found: dict[tuple[float, ...], int] = {}
    numbers = []
    for cell in cells:
        number = known.get(id(cell.context))
        if number is None:
            number = known[id(cell.context)] = found.setdefault(features(cell.context), len(found))
        numbers.append(number)
    return np.array(list(found)).reshape(-1, WIDTH), numbers


@dataclass(frozen=True, slots=True)
class _Measured:
    """Observed cells: gains, variances, share of ψτ² that the setting's parameter does not carry, share of ρτ² that the
    context leaves open."""

    gain: Array
    variance: Array
    unnamed: Array
    silent: Array

    @classmethod
    def of(cls, cells: Sequence[Cell], named: Array, phi: Array) -> _Measured:
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


def _measured(cells: Sequence[Cell], places: Sequence[int], settings: int) -> tuple[_Measured, _Layout]:
    """Observed cells in the order of their codebases; `places` as of `_design`."""
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
    return _Measured.of(cells, at >= 0, phi[numbers]), layout


def _noise(m: _Measured, mean: float | Array, believable: float | Array, tau: Array, rho: Array, psi: Array) -> Array:
    """Variance (grid × cells) of each cell beside μ, u, β and v_k: its own, the setting's, what its context leaves
    open; or what makes it believable, where that is more. τ, ρ and ψ are columns, or given for each cell."""
    import numpy as np

    noise = m.variance + tau**2 * (psi * m.unnamed + rho * m.silent)
    return np.asarray(np.maximum(noise, ((m.gain - mean) / CONFLICT) ** 2 - believable))


def _believable(m: _Measured, codebases: int, technique: Technique) -> float:
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


def _bulk(m: _Measured) -> tuple[float, float]:
    """Median of the gains and 1.4826 times their median absolute deviation, the standard deviation were they normal."""
    import numpy as np

    middle = float(np.median(m.gain))
    return middle, 1.4826 * float(np.median(np.abs(m.gain - middle)))


def _prior(m: _Measured, codebases: int, technique: Technique) -> Prior:
    """The card's prior, which gives way where the median over MANY codebases or more contradicts it: no card, however
    narrow, outvotes what many measured."""
    card = technique.effect
    if codebases < MANY:
        return card
    middle, spread = _bulk(m)
    wide = hypothesis.Belief(card.mean, card.sd).widened(middle, 1.2533 * spread / math.sqrt(codebases))
    return Prior(card.mean, wide.sd, card.basis)


def _sums(m: _Measured, at: _Layout, mean: float, noise: Array, between: Array) -> tuple[Array, Array, Array]:
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
    m: _Measured, at: _Layout, prior: Prior, believable: float, tau: Array, rho: Array, psi: Array
) -> tuple[Array, Array, Array]:
    """Per grid point the precision, the shift and the log marginal likelihood but for a constant."""
    import numpy as np

    square = (tau**2)[:, None]
    alone = np.full((len(tau), 1), 1 / prior.sd**2)
    of_setting, of_context = 2 / (psi[:, None] * square), 1 / (rho[:, None] * square)
    before = np.hstack([alone, of_setting * np.ones(at.settings), of_context * np.ones(WIDTH)])
    noise = _noise(m, prior.mean, believable, tau[:, None], rho[:, None], psi[:, None])
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
    return overall, np.einsum("g,gij->ij", weight, cov) + _spread(weight, mean - overall)


def _extra(rows: Array, tau: Array, rho: Array, psi: Array) -> Array:
    """Variance (grid × cells) of a bound beside μ, u, β and its own."""
    import numpy as np

    silent = np.maximum(0.0, 1 - (rows[:, -WIDTH:] ** 2).sum(axis=1))
    square = tau**2
    return np.asarray(((1 - rho - psi) * square + psi * square)[:, None] + (rho * square)[:, None] * silent)


def _sites(cells: Sequence[Cell], rows: Array, cavity: Array, extra: Array) -> tuple[Array, Array]:
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


def place(context: Context) -> tuple[str, int]:
    """The coarse context that trainability is counted by: family, decade of training rows (−1: unknown)."""
    return _place(context.get("model_family"), context.get("rows"))


@lru_cache(maxsize=8192, typed=True)
def _place(model_family: ContextValue, rows: ContextValue) -> tuple[str, int]:
    given = "".join(c for c in str(model_family or "").lower() if c.isalnum())
    family = next((name for name, names in FAMILIES.items() if given in names), given[:20])
    number = isinstance(rows, int | float) and not isinstance(rows, bool) and math.isfinite(rows) and rows >= 1
    return family, round(math.log10(rows)) if number else -1  # type: ignore[arg-type]


Counts = Mapping[tuple[str, int], tuple[float, float]]


def counts_without(counts: Counts, cells: Sequence[Cell]) -> Counts:
    """Counts by coarse context (`Fit.contexts`) less those of these cells."""
    if not cells:
        return counts
    less = dict(counts)
    for key, (good, bad) in _contexts(cells).items():
        had = less.get(key, (0.0, 0.0))
        less[key] = (max(had[0] - good, 0.0), max(had[1] - bad, 0.0))
    return less


def _contexts(cells: Sequence[Cell]) -> dict[tuple[str, int], tuple[float, float]]:
    seen: dict[int, list[float]] = {}  # cells of one context share the value itself where they came from a store
    for cell in cells:
        sums = seen.get(id(cell.context))
        if sums is None:
            sums = seen[id(cell.context)] = [0.0, 0.0]
        sums[0] += cell.n + cell.pruned
        sums[1] += cell.failed
    counted: dict[tuple[str, int], tuple[float, float]] = {}
    for key, context in {id(cell.context): cell.context for cell in cells}.items():
        where = place(context)
        good, bad = counted.get(where, (0.0, 0.0))
        counted[where] = (good + seen[key][0], bad + seen[key][1])
    return counted
