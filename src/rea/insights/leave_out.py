"""A fit without what some codebases showed, at the cost of their few cells.

A codebase's own tests, and those of other models on the same data, are weighed cell by cell (`estimate.py`), beside
what all others say; so they have to leave the fit first. By a Woodbury identity that costs as much as they are many,
however much the fit knows. It is exact at every grid point that the fit kept; they stand for the few that it did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rea.domain.insight import Cell
from rea.insights.features import WIDTH
from rea.insights.fit import Measured, design, extra_of, noise_of, sites_of, spread_of
from rea.insights.posterior import Belief, Fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FEW = 3  # bits of a count of rows: fits with up to seven of them are worked on together


def without(fits: Sequence[Fit], taken: Sequence[Sequence[Cell]]) -> list[Belief]:
    """What each fit believes without some of its cells, those at the same place in `taken`: all that it has of one
    codebase, or of several. The weights of the grid stay."""
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
    """What cells gave to each of F fits of one shape, as k rows: their designs (F × k × p), and per grid point what
    they say of it (F × G × k) and how precisely (F × G × k × k).

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
    names = {name: number for number, name in enumerate(dict.fromkeys(cell.codebase for cell in cells), start=1)}
    h = design(cells, [places[i].get(cell.setting, -1) for i, cell in both], len(fits[0].settings))
    whose, slot, most = np.array([i for i, _ in both]), np.array(slots), max(used.values())
    grid = np.array([fitted.grid for fitted in fits])
    tau, rho, psi = grid[:, 1], grid[:, 2], grid[:, 3]
    rows, seen = np.zeros((len(fits), most, h.shape[1])), np.zeros((*tau.shape, most))
    w, sites = np.zeros(seen.shape), np.zeros(seen.shape)
    rows[whose, slot] = h
    codebase = np.zeros((len(fits), most), dtype=int)
    codebase[whose, slot] = [names[cell.codebase] for cell in cells]
    if told:
        of, at = whose[:n], slot[:n]
        m = Measured.of(cells[:n], h[:n, 1:-WIDTH].sum(axis=1) > 0, h[:n, -WIDTH:])
        mean = np.array([fitted.prior.mean for fitted in fits])[of]
        believable = np.array([fitted.believable for fitted in fits])[of]
        w[of, :, at] = 1 / noise_of(m, mean, believable, tau.T[:, of], rho.T[:, of], psi.T[:, of]).T
        seen[of, :, at] = m.gain[:, None]
    for i in dict.fromkeys(i for i, _ in bounds):
        some = [place for place in range(n, len(both)) if both[place][0] == i]
        extra = extra_of(h[some], tau[i], rho[i], psi[i])
        said, centres = sites_of([cells[place] for place in some], h[some], fits[i].cavity, extra)
        sites[i][:, slot[some]], seen[i][:, slot[some]] = said, centres
    between = (1 - rho - psi) * tau**2
    together = codebase[:, :, None] == codebase[:, None, :]
    told_there = w @ together
    pull = between[..., None] / (1 + between[..., None] * told_there)
    precision = -(pull * w)[..., :, None] * w[..., None, :] * together[:, None]
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
    middle, overall = (weight[:, None, :] @ before)[:, 0], (weight[:, None, :] @ mean)[:, 0]
    # A covariance over the grid is that of its points and what their means differ by. Points that a fit did not keep
    # change as those do that it kept. Σ of weight × U M Uᵀ is one product of p × Gk matrices.
    mixed = np.array([fitted.belief.cov for fitted in fits])
    mixed -= spread_of(weight, before - middle[:, None])
    side = (count, width, grid * most)
    gained = (weight[:, :, None, None] * um).transpose(0, 2, 1, 3).reshape(side)
    mixed += gained @ u.transpose(0, 2, 1, 3).reshape(side).transpose(0, 2, 1)
    mixed += spread_of(weight, mean - overall[:, None])
    centre = np.array([fitted.belief.mean for fitted in fits]) + overall - middle
    return [replace(fitted.belief, mean=centre[i], cov=mixed[i]) for i, fitted in enumerate(fits)]
