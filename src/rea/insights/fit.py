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
Woodbury identity, and a codebase can be taken out of a fit exactly.

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
from typing import TYPE_CHECKING, Any

from rea.domain import hypothesis
from rea.domain.codec import canonical, digest
from rea.domain.hypothesis import CONFLICT
from rea.domain.insight import Cell, Context
from rea.domain.technique import Level, Prior, Technique
from rea.insights.censoring import censored
from rea.insights.features import FAMILIES, WIDTH, features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FORMAT = 2  # of a fit in bytes, and of the model that made it: another number makes every kept fit anew
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
MANY = 8  # codebases from which on they, and not the card, say what is believable


@dataclass(frozen=True)
class Fit:
    """A technique's posterior from all codebases, in natural parameters per grid point.

    With G grid points and p = 1 + settings + WIDTH: `weight` (G), `tau` (G), `rho` (G), `psi` (G), `precision`
    (G × p × p), `shift` (G × p, precision times the mean's distance from the prior's), `cavity_mean` (p) and
    `cavity_cov` (p × p): the belief that bounds were turned into normals beside. `believable` is the variance around
    the card's mean beyond which a cell is believed less. `contexts` counts experiments that could be trained and could
    not, by (family, decade of rows). `n` counts experiments.
    """

    technique: str
    prior: Prior
    level: Level
    settings: tuple[str, ...]
    weight: Array
    tau: Array
    rho: Array
    psi: Array
    precision: Array
    shift: Array
    cavity_mean: Array
    cavity_cov: Array
    believable: float
    contexts: Mapping[tuple[str, int], tuple[float, float]]
    n: int
    codebases: int

    def to_bytes(self) -> bytes:
        """A line of JSON and the arrays as float64, little-endian."""
        import numpy as np

        head = {
            "format": FORMAT,
            "technique": self.technique,
            "prior": [self.prior.mean, self.prior.sd, self.prior.basis],
            "level": self.level.value,
            "settings": self.settings,
            "grid": len(self.weight),
            "believable": self.believable,
            "contexts": [[*key, *value] for key, value in sorted(self.contexts.items())],
            "n": self.n,
            "codebases": self.codebases,
        }
        arrays = [self.weight, self.tau, self.rho, self.psi, self.precision, self.shift]
        flat = np.concatenate([np.ravel(a) for a in (*arrays, self.cavity_mean, self.cavity_cov)])
        return json.dumps(head).encode() + b"\n" + flat.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Fit | None:
        """The fit, or None where another release wrote it."""
        import numpy as np

        line, _, rest = data.partition(b"\n")
        head = json.loads(line)
        if head["format"] != FORMAT:
            return None
        g, p = head["grid"], 1 + len(head["settings"]) + WIDTH
        flat = np.frombuffer(rest, "<f8")
        if len(flat) != 4 * g + g * p * p + g * p + p + p * p:
            return None
        ends = np.cumsum([g, g, g, g, g * p * p, g * p, p])
        weight, tau, rho, psi, precision, shift, mean, cov = np.split(flat, ends)
        return cls(
            head["technique"],
            Prior(*head["prior"]),
            Level(head["level"]),
            tuple(head["settings"]),
            weight,
            tau,
            rho,
            psi,
            precision.reshape(g, p, p),
            shift.reshape(g, p),
            mean,
            cov.reshape(p, p),
            head["believable"],
            {(family, decade): (good, bad) for family, decade, good, bad in head["contexts"]},
            head["n"],
            head["codebases"],
        )


def card_key(technique: Technique) -> str:
    """Digest of what a fit takes from its card, and of the model: another card or release makes a fit anew."""
    return digest(canonical([FORMAT, technique.name, technique.level, technique.effect]))[:16]


def fit(technique: Technique, cells: Sequence[Cell]) -> Fit:
    """Fit the model to the cells of a technique, in whatever order; without cells it is the prior."""
    import numpy as np

    cells = sorted(cells, key=lambda c: (c.codebase, c.setting, c.n, c.weight, c.moment, c.failed, c.pruned, c.bound))
    tried = Counter(cell.setting for cell in cells)
    settings = tuple(sorted(sorted(tried, key=lambda name: (-tried[name], name))[:SETTINGS]))
    base = BETWEEN[technique.level]
    grid = [(base * tau, rho, psi) for tau in TAUS for rho, psi in SHARES]
    tau, rho, psi = (np.array(column) for column in zip(*grid, strict=True))
    design = _design(cells, settings)
    measured = _Measured.of(cells, design)
    believable, prior = _believable(measured, technique), _prior(measured, technique)
    # The prior of τ is centred so that its mean square is that of its level.
    log_prior = -0.5 * ((np.log(tau / base) + LOG_SD**2) / LOG_SD) ** 2
    found: dict[int, tuple[Array, Array, float]] = {}

    def look(places: Iterable[int]) -> None:
        fresh = [g for g in dict.fromkeys(places) if g not in found]
        for start in range(0, len(fresh), len(SHARES)):
            some = fresh[start : start + len(SHARES)]
            a, c, logml = _posterior(measured, prior, believable, len(settings), tau[some], rho[some], psi[some])
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
    mean, cov = _mixture(weight, a, c, prior.mean)
    fitted = Fit(
        technique.name,
        prior,
        technique.level,
        settings,
        weight,
        tau[kept],
        rho[kept],
        psi[kept],
        a,
        c,
        mean,
        cov,
        believable,
        _contexts(cells),
        sum(cell.n + cell.failed + cell.pruned for cell in cells),
        len({cell.codebase for cell in cells}),
    )
    return _with(fitted, [cell for cell in cells if cell.pruned], 1.0, bounds_only=True)


def without(fitted: Fit, cells: Sequence[Cell]) -> Fit:
    """The fit as it would be without these cells, all of one codebase. The weights of the grid stay."""
    if not cells:
        return fitted
    less = dict(fitted.contexts)
    for key, (good, bad) in _contexts(cells).items():
        had = less.get(key, (0.0, 0.0))
        less[key] = (max(had[0] - good, 0.0), max(had[1] - bad, 0.0))
    told = sum(cell.n + cell.failed + cell.pruned for cell in cells)
    left = _with(fitted, cells, -1.0, bounds_only=False)
    return replace(left, contexts=less, n=fitted.n - told, codebases=fitted.codebases - 1)


@dataclass(frozen=True, slots=True)
class Belief:
    """A fit as one normal per parameter vector: mean (p), covariance (p × p), and what comes on top of it in a new
    place: variance between codebases, of a setting, and of what a context does not say. Exact in mean and variance."""

    mean: Array
    cov: Array
    between: float  # E (1 − ρ − ψ)τ²
    setting: float  # E ψτ²/2
    open: float  # E ρτ²


def believed(fits: Sequence[Fit]) -> list[Belief]:
    """Each fit's grid as one distribution with the same first two moments."""
    beliefs = []
    for f in fits:
        mean, cov = _mixture(f.weight, f.precision, f.shift, f.prior.mean)
        square = f.weight * f.tau**2
        beliefs.append(
            Belief(
                mean,
                cov,
                float((square * (1 - f.rho - f.psi)).sum()),
                float((square * f.psi).sum()) / 2,
                float((square * f.rho).sum()),
            )
        )
    return beliefs


def vector(settings: Sequence[str], setting: str | None, context: Context) -> list[float]:
    """The row of the design for one setting in one context: 1, the setting's place, φ."""
    return [1.0, *(1.0 if name == setting else 0.0 for name in settings), *features(context)]


def _design(cells: Sequence[Cell], settings: Sequence[str]) -> Array:
    import numpy as np

    known: dict[int, tuple[float, ...]] = {}
    place = {name: 1 + i for i, name in enumerate(settings)}
    rows = np.zeros((len(cells), 1 + len(settings) + WIDTH))
    rows[:, 0] = 1.0
    for i, cell in enumerate(cells):
        # Cells of one context share the value itself where they came from a store.
        if id(cell.context) not in known:
            known[id(cell.context)] = features(cell.context)
        rows[i, 1 + len(settings) :] = known[id(cell.context)]
        if cell.setting in place:
            rows[i, place[cell.setting]] = 1.0
    return rows


@dataclass(frozen=True, slots=True)
class _Measured:
    """Observed cells in the order of their codebases: design (n × p), gains, variances, share of ψτ² that the setting's
    parameter does not carry, share of ρτ² that the context leaves open; `first` marks where each codebase begins."""

    design: Array
    gain: Array
    variance: Array
    unnamed: Array
    silent: Array
    first: Array

    @classmethod
    def of(cls, cells: Sequence[Cell], design: Array) -> _Measured:
        import numpy as np

        chosen = [i for i, cell in enumerate(cells) if cell.n]
        rows = design[chosen]
        seen = [cells[i] for i in chosen]
        first = [i for i, cell in enumerate(seen) if i == 0 or cell.codebase != seen[i - 1].codebase]
        gain, variance = np.array([c.gain for c in seen]), np.array([c.variance for c in seen])
        return cls.build(rows, gain, variance, np.array(first, dtype=int))

    @classmethod
    def build(cls, rows: Array, gain: Array, variance: Array, first: Array) -> _Measured:
        import numpy as np

        said = (rows[:, -WIDTH:] ** 2).sum(axis=1)
        unnamed = np.where(rows[:, 1:-WIDTH].sum(axis=1) > 0, 0.5, 1.0)
        return cls(rows, gain, variance, unnamed, np.maximum(0.0, 1 - said), first)


def _noise(m: _Measured, prior: Prior, believable: float, tau: Array, rho: Array, psi: Array) -> Array:
    """Variance (grid × cells) of each cell beside μ, u, β and v_k: its own, the setting's, what its context leaves
    open; or what makes it believable, where that is more."""
    import numpy as np

    square = (tau**2)[:, None]
    noise = m.variance + square * (psi[:, None] * m.unnamed + rho[:, None] * m.silent)
    return np.asarray(np.maximum(noise, ((m.gain - prior.mean) / CONFLICT) ** 2 - believable))


def _believable(m: _Measured, technique: Technique) -> float:
    """The variance around the card's mean that true effects are believed to have: the card's and its level's; from
    MANY codebases on that of the bulk of what was measured, by median and median absolute deviation, if that is more.

    So a few toys do not make themselves believable, and what many codebases agree on does, whatever a card says.
    """
    prior = technique.effect
    usual = prior.sd**2 + BETWEEN[technique.level] ** 2
    if len(m.first) < MANY:
        return usual
    middle, spread = _bulk(m)
    return max(usual, (middle - prior.mean) ** 2 + spread**2)


def _bulk(m: _Measured) -> tuple[float, float]:
    """Median of the gains and 1.4826 times their median absolute deviation, the standard deviation were they normal."""
    import numpy as np

    middle = float(np.median(m.gain))
    return middle, 1.4826 * float(np.median(np.abs(m.gain - middle)))


def _prior(m: _Measured, technique: Technique) -> Prior:
    """The card's prior, which gives way where the median over MANY codebases or more contradicts it: no card, however
    narrow, outvotes what many measured."""
    card = technique.effect
    if len(m.first) < MANY:
        return card
    middle, spread = _bulk(m)
    wide = hypothesis.Belief(card.mean, card.sd).widened(middle, 1.2533 * spread / math.sqrt(len(m.first)))
    return Prior(card.mean, wide.sd, card.basis)


def _sums(m: _Measured, mean: float, noise: Array, between: Array) -> tuple[Array, Array, Array]:
    """Per grid point Σ HᵀV⁻¹H, Σ HᵀV⁻¹r, and rᵀV⁻¹r + log det V, for V = diag(noise) + between within a codebase."""
    import numpy as np

    g, p = len(between), m.design.shape[1]
    if not len(m.gain):
        return np.zeros((g, p, p)), np.zeros((g, p)), np.zeros(g)
    w, r = 1 / noise, m.gain - mean
    scaled = m.design * w[:, :, None]
    total = np.add.reduceat(w, m.first, axis=1)
    pull = between[:, None] / (1 + between[:, None] * total)
    h, y = np.add.reduceat(scaled, m.first, axis=1), np.add.reduceat(w * r, m.first, axis=1)
    a = scaled.transpose(0, 2, 1) @ m.design - (h * pull[:, :, None]).transpose(0, 2, 1) @ h
    c = scaled.transpose(0, 2, 1) @ r - ((pull * y)[:, None, :] @ h)[:, 0]
    quadratic = (w * r * r).sum(axis=1) - (pull * y * y).sum(axis=1)
    return a, c, quadratic + np.log(noise).sum(axis=1) + np.log1p(between[:, None] * total).sum(axis=1)


def _posterior(
    m: _Measured, prior: Prior, believable: float, settings: int, tau: Array, rho: Array, psi: Array
) -> tuple[Array, Array, Array]:
    """Per grid point the precision, the shift and the log marginal likelihood but for a constant."""
    import numpy as np

    square = (tau**2)[:, None]
    alone = np.full((len(tau), 1), 1 / prior.sd**2)
    of_setting, of_context = 2 / (psi[:, None] * square), 1 / (rho[:, None] * square)
    before = np.hstack([alone, of_setting * np.ones(settings), of_context * np.ones(WIDTH)])
    noise = _noise(m, prior, believable, tau, rho, psi)
    a, c, fit_ = _sums(m, prior.mean, noise, (1 - rho - psi) * tau**2)
    a[:, np.arange(a.shape[1]), np.arange(a.shape[1])] += before
    chol = np.linalg.cholesky(a)
    half = np.linalg.solve(chol, c[:, :, None])[:, :, 0]
    logdet = 2 * np.log(np.diagonal(chol, axis1=1, axis2=2)).sum(axis=1)
    return a, c, -0.5 * (fit_ + logdet - np.log(before).sum(axis=1) - (half**2).sum(axis=1))


def _mixture(weight: Array, precision: Array, shift: Array, mean: float) -> tuple[Array, Array]:
    """Mean and covariance of the parameters over the grid."""
    import numpy as np

    cov = np.linalg.inv(precision)
    centre = np.einsum("gij,gj->gi", cov, shift)
    centre[:, 0] += mean
    overall = weight @ centre
    spread = centre - overall
    return overall, np.einsum("g,gij->ij", weight, cov) + (spread * weight[:, None]).T @ spread


def _with(fitted: Fit, cells: Sequence[Cell], sign: float, *, bounds_only: bool) -> Fit:
    """The fit with what these cells say added (+1) or taken out (−1)."""
    import numpy as np

    if not cells:
        return fitted
    cells = sorted(cells, key=lambda c: c.codebase)
    design = _design(cells, fitted.settings)
    measured = _Measured.of(cells, design)
    a, c = fitted.precision.copy(), fitted.shift.copy()
    if not bounds_only and len(measured.gain):
        tau, rho, psi = fitted.tau, fitted.rho, fitted.psi
        noise = _noise(measured, fitted.prior, fitted.believable, tau, rho, psi)
        more, towards, _ = _sums(measured, fitted.prior.mean, noise, (1 - rho - psi) * tau**2)
        a += sign * more
        c += sign * towards
    for i in (i for i, cell in enumerate(cells) if cell.pruned):
        square = np.outer(design[i], design[i])
        for g in range(len(fitted.weight)):
            precision, centre = _site(cells[i], design[i], fitted, fitted.tau[g], fitted.rho[g], fitted.psi[g])
            a[g] += sign * precision * square
            c[g] += sign * precision * (centre - fitted.prior.mean) * design[i]
    return replace(fitted, precision=a, shift=c)


def _site(cell: Cell, row: Array, fitted: Fit, tau: float, rho: float, psi: float) -> tuple[float, float]:
    """What a bound says of h·b as a normal: its precision and centre."""
    here = hypothesis.Belief(
        float(row @ fitted.cavity_mean), math.sqrt(max(float(row @ fitted.cavity_cov @ row), 1e-18))
    )
    extra = (1 - rho - psi) * tau**2 + psi * tau**2 + rho * tau**2 * max(0.0, 1 - float(row[-WIDTH:] @ row[-WIDTH:]))
    after = censored(here, cell.bound, math.sqrt(cell.bound_variance + extra))
    precision = 1 / after.sd**2 - 1 / here.sd**2
    if precision <= 1e-9 / here.sd**2:
        return 0.0, here.mean
    return precision, (after.mean / after.sd**2 - here.mean / here.sd**2) / precision


def place(context: Context) -> tuple[str, int]:
    """The coarse context that trainability is counted by: family, decade of training rows (−1: unknown)."""
    given = "".join(c for c in str(context.get("model_family") or "").lower() if c.isalnum())
    family = next((name for name, names in FAMILIES.items() if given in names), given[:20])
    rows = context.get("rows")
    number = isinstance(rows, int | float) and not isinstance(rows, bool) and math.isfinite(rows) and rows >= 1
    return family, round(math.log10(rows)) if number else -1  # type: ignore[arg-type]


def _contexts(cells: Sequence[Cell]) -> dict[tuple[str, int], tuple[float, float]]:
    counted: dict[tuple[str, int], tuple[float, float]] = {}
    known: dict[int, tuple[str, int]] = {}  # cells of one context share the value itself where they came from a store
    for cell in cells:
        where = known.get(id(cell.context))
        if where is None:
            where = known[id(cell.context)] = place(cell.context)
        good, bad = counted.get(where, (0.0, 0.0))
        counted[where] = (good + cell.n + cell.pruned, bad + cell.failed)
    return counted
