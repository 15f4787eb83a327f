"""First principles for a failure that no runbook knows: is it the machine, the data, the code, or the hypothesis? Pure.

A run that failed twice without a known sign, in the environment of the plan, waits while a few short trainings find
out. The unchanged baseline is trained again on the same seed (a canary): where that fails now, it is not the
hypothesis. Else the same treatment is trained on another seed: where that works, it was chance. Else the treatment is
at fault, and where it changes several things its halves are trained, and the halves of the half that fails. Nothing is
trained for longer than it takes to outlive the failure, all of it is paid by the contingency, and there is an end after
MOST_PROBES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from rea.domain.codebase import Scalar
from rea.domain.run import PROBE, Attempt, Run, RunDraft
from rea.domain.runbook import UNKNOWN
from rea.domain.states import RunState, is_terminal
from rea.domain.treatment import Treatment

MOST_PROBES: Final = 8
UNDECIDED_S: Final = 1e9  # until when a run waits that is being looked into: for ever, as far as any clock goes
OUTLIVED: Final = 1.25  # times what the failed attempt took; a probe that runs for so long did not fail
GRACE_S: Final = 10.0
_TIMES: Final = ("timeout",)  # outcomes of a probe that outlived the failure


_Prober = Callable[[str, Treatment, int, str], "Probe | Finding"]


class Cause(StrEnum):
    INFRASTRUCTURE = "infrastructure"  # the unchanged baseline fails now, too: machine, environment or data
    CHANCE = "chance"  # the same treatment trains on another seed
    HYPOTHESIS = "hypothesis"  # the treatment cannot be trained
    UNDECIDED = "undecided"  # nothing is left to find out with


@dataclass(frozen=True, slots=True)
class Finding:
    """What an investigation came to; `treatment` is the smallest part of the treatment that fails by itself."""

    run: int
    cause: Cause
    words: str
    treatment: Treatment | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """The next training that tells something, for the run with this id."""

    run: int
    draft: RunDraft


def waits(run: Run, now: float) -> bool:
    """Whether a run waits for what its investigation finds."""
    unknown = run.failure is not None and run.failure.runbook == UNKNOWN
    return run.state is RunState.PLANNED and unknown and run.not_before > now + UNDECIDED_S / 2


def begun(run: Run, runs: Sequence[Run]) -> bool:
    """Whether this run has been looked into before: it is done once."""
    return any(other.draft.key.startswith(_of(run)) for other in runs)


def next_step(
    run: Run, runs: Sequence[Run], attempts: Sequence[Attempt], *, left_s: float, devices: int, spare_seed: int
) -> Probe | Finding | None:
    """The next probe, or what was found; None while a probe is under way.

    `left_s` are the device-seconds that the contingency holds; `spare_seed` is one that the treatment has not had.
    """
    probes = {r.draft.key.removeprefix(_of(run)): r for r in runs if r.draft.key.startswith(_of(run))}
    if any(not is_terminal(probe.state) for probe in probes.values()):
        return None
    took_s = max((a.device_s or 0.0) / devices for a in attempts if a.run == run.id) if attempts else 0.0
    limit_s = min(run.draft.walltime_s, OUTLIVED * took_s + GRACE_S)
    outcomes = {a.run: a.outcome for a in attempts}
    failed = {name: _failed(probe, outcomes.get(probe.id)) for name, probe in probes.items()}

    def probe(name: str, treatment: Treatment, seed: int, what: str) -> Probe | Finding:
        if len(probes) >= MOST_PROBES or limit_s * devices > left_s:
            return Finding(run.id, Cause.UNDECIDED, f"nothing is left to train {what} with")
        draft = replace(
            run.draft,
            key=f"{_of(run)}{name}",
            hypothesis=None,
            treatment=treatment,
            seed=seed,
            priority=run.draft.priority + 1.0,
            predicted_s=limit_s,
            walltime_s=limit_s,
            stop_limits=(),
        )
        return Probe(run.id, draft)

    if "canary" not in failed:
        return probe("canary", Treatment(), run.draft.seed, "the unchanged baseline")
    if failed["canary"]:
        words = f"the unchanged baseline fails now, too ({_words(probes['canary'])})"
        return Finding(run.id, Cause.INFRASTRUCTURE, f"{words}: it is the machine, the environment or the data")
    if "again" not in failed:
        return probe("again", run.draft.treatment, spare_seed, "it on another seed")
    if not failed["again"]:
        return Finding(
            run.id, Cause.CHANCE, f"it trains on seed {probes['again'].draft.seed}, and so does the baseline"
        )
    return _bisected(run, failed, probe)


def _bisected(run: Run, failed: Mapping[str, bool], probe: _Prober) -> Probe | Finding:
    """Halve what fails until it is one change, or until only both halves together fail."""
    names = sorted(run.draft.treatment.overrides)
    known = "the baseline trains, and it fails on another seed, too"
    if len(names) < 2 or run.draft.treatment.patch is not None:
        return Finding(run.id, Cause.HYPOTHESIS, known, run.draft.treatment)
    while len(names) > 1:
        halves = names[: len(names) // 2], names[len(names) // 2 :]
        culprit = None
        for half in halves:
            part = _part(run.draft.treatment, half)
            if _name(half) not in failed:
                return probe(_name(half), part, run.draft.seed, part.describe())
            if failed[_name(half)]:
                culprit = half
                break
        if culprit is None:
            together = _part(run.draft.treatment, names)
            words = f"{known}; {together.describe()} fails only together"
            return Finding(run.id, Cause.HYPOTHESIS, words, together)
        names = list(culprit)
    alone = _part(run.draft.treatment, names)
    return Finding(run.id, Cause.HYPOTHESIS, f"{known}; {alone.describe()} alone does it", alone)


def _part(treatment: Treatment, names: Sequence[str]) -> Treatment:
    kept: dict[str, Scalar] = {name: treatment.overrides[name] for name in names}
    return Treatment(kept)


def _name(names: Sequence[str]) -> str:
    return "part/" + "+".join(names)


def _of(run: Run) -> str:
    return f"{PROBE}{run.name}/"


def _failed(probe: Run, outcome: str | None) -> bool:
    """Whether a probe failed; one that was still running at its limit had outlived the failure."""
    if probe.state in (RunState.SUCCEEDED, RunState.PRUNED):
        return False
    return outcome not in _TIMES


def _words(run: Run) -> str:
    return run.failure.message if run.failure is not None else run.state.value
