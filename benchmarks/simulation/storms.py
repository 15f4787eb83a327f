"""Campaigns in bad weather, one for every seed, and the row that each leaves."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from rea.codebase.config import parse
from rea.codebase.overrides import baseline_values
from rea.domain.codebase import Codebase, Scalar
from rea.domain.states import CampaignState
from rea.domain.technique import Technique
from rea.knowledge.cards import load_techniques
from rea.simulation.response import sparse
from rea.simulation.storm import DAY, BrokenError, Faults, Storm, ended_well
from rea.simulation.trainer import Nature, Trainer
from rea.simulation.world import EPOCH, World

ADS = Path(__file__).resolve().parents[2] / "examples" / "ads_ranker"
FEW = ("lr-decay", "embedding-l2", "weight-averaging", "mlp-dropout", "lr-warmup")


@cache
def known() -> tuple[Codebase, dict[str, Scalar], tuple[Technique, ...]]:
    """The reference codebase's knobs, what its baseline sets, and all cards."""
    codebase = parse((ADS / "rea.toml").read_text(encoding="utf-8"), ADS)
    return codebase, baseline_values(codebase, ADS), load_techniques()


def world(kind: str, seed: int) -> World:
    """A campaign from its plan command on, its runs of four days each. "few": five techniques and one round;
    "all": every card, up to three rounds."""
    codebase, values, techniques = known()
    few = tuple(t for t in techniques if t.name in FEW)
    chosen = few if kind == "few" else techniques
    response = sparse(chosen, codebase, values, seed, share=0.5)
    nature = Nature(response, run_s=4 * DAY, untrainable=0.05, obstructed=0.02, lost=0.02)
    codebase = replace(codebase, resources=replace(codebase.resources, walltime_s=10 * nature.run_s))
    trainer = Trainer(nature, codebase, values, seed)
    slots, budget = 1 + seed % 2 if kind == "few" else 1 + seed % 4, "16r" if kind == "few" else "40r"
    return World(trainer, chosen, slots=slots, budget=budget, rounds=1 if kind == "few" else None)


def weathered(asked: tuple[str, int]) -> dict[str, Any]:
    """One campaign with every fault on, as a row of plain values; `violation` says what did not hold."""
    kind, seed = asked
    made = world(kind, seed).begin()
    storm = Storm(made, seed, Faults())
    began, violation = time.process_time(), ""
    try:
        storm.weeks()
        if made.campaign.state is CampaignState.DRAFTED:
            made.sign().start()
            storm.weeks()
        if not ended_well(made):
            violation = f"seed {seed}: it ended as {made.campaign.state.value} with {made.balance}"
    except BrokenError as error:
        violation = str(error)
    except Exception as error:
        violation = f"seed {seed}: {type(error).__name__}: {error}"
    return {
        "kind": kind,
        "seed": seed,
        "violation": violation,
        "cpu_s": time.process_time() - began,
        "days": (made.now - EPOCH) / DAY,
        "state": made.campaign.state.value,
        "attempts": len(made.attempts),
        "commits": made.store.commits,
        "happened": dict(storm.happened),
    }
