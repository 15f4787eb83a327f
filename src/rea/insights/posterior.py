"""What a fit is: the posterior of a technique's parameters (the model is in `fit.py`), and its bytes in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rea.domain.codec import digest
from rea.domain.technique import Level, Prior, Technique
from rea.insights.features import WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FORMAT = 5  # of a fit in bytes, and of the model that made it: another number makes every kept fit anew


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


def vector(settings: Sequence[str], setting: str | None, phi: Sequence[float]) -> list[float]:
    """The row of the design for one setting in a context of features φ: 1, the setting's place, φ."""
    return [1.0, *(1.0 if name == setting else 0.0 for name in settings), *phi]
