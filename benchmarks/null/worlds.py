"""Drawn worlds: a simulated codebase each, and the row that a whole campaign on it leaves."""

from __future__ import annotations

import math
import random
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from rea.codebase.config import parse
from rea.codebase.overrides import baseline_values
from rea.domain.claim import Claim
from rea.domain.codebase import Codebase, Scalar
from rea.domain.states import HypothesisState, Phase, RunState
from rea.domain.technique import Technique
from rea.knowledge.cards import load_techniques
from rea.planner.evidence import Evidence
from rea.simulation.response import best_single, null, sparse
from rea.simulation.trainer import Course, Nature, Trainer
from rea.simulation.world import World

ADS = Path(__file__).resolve().parents[2] / "examples" / "ads_ranker"


@cache
def known() -> tuple[Codebase, dict[str, Scalar], tuple[Technique, ...]]:
    """The reference codebase's knobs, what its baseline sets, and all cards."""
    codebase = parse((ADS / "rea.toml").read_text(encoding="utf-8"), ADS)
    return codebase, baseline_values(codebase, ADS), load_techniques()


def drawn(kind: str, seed: int) -> World:
    """The world of a seed; `kind` is "null" (no treatment matters) or "gains" (a few do)."""
    chance = random.Random(f"{kind}/{seed}")
    codebase, values, techniques = known()
    run_s = _between(chance, 20.0, 7200.0)
    nature = Nature(
        response=null if kind == "null" else sparse(techniques, codebase, values, seed, chance.uniform(0.1, 0.4)),
        noise=_between(chance, 0.0003, 0.003),
        shared=chance.uniform(0.1, 0.7),
        wild=chance.uniform(0.0, 0.3),
        rows=_between(chance, 0.0001, 0.001),
        run_s=run_s,
        epochs=chance.randint(4, 12),
        course=chance.choice(list(Course)),
        untrainable=chance.uniform(0.0, 0.1),
        lost=chance.uniform(0.0, 0.03),
    )
    codebase = replace(codebase, resources=replace(codebase.resources, walltime_s=10 * run_s))
    trainer = Trainer(nature, codebase, values, seed)
    return World(trainer, techniques, slots=chance.randint(1, 4), budget=f"{chance.randint(18, 50)}r")


def campaign(asked: tuple[str, int]) -> dict[str, Any]:
    """One whole campaign, as a row of plain values. Gains are relative, `truth` is the finalist's."""
    kind, seed = asked
    began = time.process_time()
    world = drawn(kind, seed).whole()
    cpu_s = time.process_time() - began
    nature, codebase = world.trainer.nature, world.codebase
    found = next((h for h in world.hypotheses if h.id == world.campaign.incumbent), None)
    row: dict[str, Any] = {
        "kind": kind,
        "seed": seed,
        "noise": nature.noise,
        "shared": nature.shared,
        "wild": nature.wild,
        "rows": nature.rows,
        "course": nature.course.value,
        "budget": world.budget,
        "slots": world.slots,
        "state": world.campaign.state.value,
        "verdict": world.campaign.verdict.value if world.campaign.verdict else None,
        "reason": world.campaign.reason,
        "rounds": world.campaign.round,
        "runs": sum(run.state in (RunState.SUCCEEDED, RunState.PRUNED) for run in world.runs),
        "spent_r": world.balance.spent / (nature.run_s * codebase.resources.devices),
        "used": world.balance.spent / world.balance.approved,
        "minimum_gain": codebase.objective.minimum_gain,
        "best_single": best_single(nature.response, world.techniques, codebase, world.trainer.values),
        "visible": _claim(world.campaign.visible),
        "sealed": _claim(world.campaign.claim),
        "truth": world.trainer.gain(found.draft.full) if found is not None else None,
        "cpu_s": cpu_s,
    }
    if world.plan is not None:
        evidence = world.evidence()
        row["paired_noise"] = world.plan.baseline.noise
        row["estimate_s"] = world.plan.estimate.device_s
        row["searched"] = asdict(evidence.total(found.draft.full)) if found is not None else None
        row["predictions"] = _predictions(world, evidence)
    return row


def _predictions(world: World, evidence: Evidence) -> list[dict[str, Any]]:
    """Of every hypothesis that was tested: its effect as believed before and after, as measured, and in truth."""
    gain = world.trainer.gain
    found = []
    for h in world.hypotheses:
        runs = [r for r in evidence.of(h.draft.full) if r.draft.phase is not Phase.CONFIRMATION]
        if h.belief is None or h.state is HypothesisState.FAILED or not runs:
            continue
        seen = evidence.observed(h)
        found.append(
            {
                "kind": h.draft.kind.value,
                "prior": [h.draft.effect.mean, h.draft.effect.sd],
                "posterior": [h.belief.mean, h.belief.sd],
                "measured": sum(seen.values()) / len(seen) if seen else None,
                "seeds": len(seen),
                "truth": gain(h.draft.full) - gain(h.draft.base),
            }
        )
    return found


def _claim(claim: Claim | None) -> dict[str, float] | None:
    if claim is None:
        return None
    return {"gain": claim.gain, "low": claim.ci_low, "high": claim.ci_high, "seeds": len(claim.seeds)}


def _between(chance: random.Random, low: float, high: float) -> float:
    return math.exp(chance.uniform(math.log(low), math.log(high)))
