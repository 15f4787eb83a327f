"""What to change about a run that failed: the alternatives of its runbook, best experience first. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rea.domain.codebase import Codebase, Scalar
from rea.domain.runbook import Runbook
from rea.domain.technique import Relative, Setting
from rea.knowledge.expression import apply

Remedies = Mapping[tuple[str, str], tuple[int, int]]  # (runbook, remedy) → how often tried, how often it worked


def adjustment(
    book: Runbook, met: int, codebase: Codebase, now: Mapping[str, Scalar], known: Remedies
) -> Mapping[str, Scalar] | None:
    """Overrides that leave the model what it is, for a run that met this failure `met` times before.

    None where the codebase has no such knobs, or all alternatives were tried. Each starts from the values `now`.
    """
    able = [change.overrides for setting in book.policy.adjust if (change := apply(setting, codebase, now)) is not None]
    ranked = sorted(able, key=lambda overrides: -_promise(known.get((book.name, told(overrides)))))
    return ranked[met] if met < len(ranked) else None


def mutation(
    book: Runbook, repairs: int, codebase: Codebase, now: Mapping[str, Scalar], known: Remedies
) -> Mapping[str, Scalar] | None:
    """Overrides that change the treatment, for a hypothesis that has `repairs` changes behind it; None at the cap.

    The settings are relative to what was planned first, and `now` holds what earlier repairs made of it: a further
    step on the same roles is the first one again.
    """
    if repairs >= book.policy.max:
        return None
    ranked: Sequence[Setting] = sorted(
        book.policy.mutate, key=lambda setting: -_promise(known.get((book.name, in_roles(setting))))
    )
    setting = ranked[min(repairs, len(ranked) - 1)]
    if repairs and set(setting) == set(ranked[0]):
        setting = ranked[0]
    change = apply(setting, codebase, now)
    return None if change is None else change.overrides


def told(overrides: Mapping[str, Scalar]) -> str:
    """A change in knobs as a word to count by."""
    return json.dumps(dict(sorted(overrides.items())))


def in_roles(setting: Setting) -> str:
    """A change in roles as a word to count by: `learning_rate x0.5`."""
    return ", ".join(
        f"{role} x{value.factor:g}" if isinstance(value, Relative) and not value.step else f"{role} {value}"
        for role, value in sorted(setting.items())
    )


def _promise(experience: tuple[int, int] | None) -> float:
    """The share of successes to expect, before any experience one half (Laplace's rule of succession)."""
    tried, worked = experience or (0, 0)
    return (worked + 1) / (tried + 2)
