"""Worlds for tests: `rea.simulation` on the tiny codebase, with what a test wants to vary by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from rea.codebase.config import parse
from rea.domain.codebase import Codebase, Scalar
from rea.domain.insight import ExperimentRecord
from rea.domain.run import Run
from rea.domain.share import Team
from rea.domain.technique import Technique
from rea.executor.snapshot import Report
from rea.knowledge.cards import load_techniques
from rea.simulation.response import Response
from rea.simulation.trainer import Nature, Trainer
from rea.simulation.world import World as Simulated

TINY = Path(__file__).parent / "tinyranker"
VALUES: dict[str, Scalar] = {
    "optim.lr": 0.003,
    "optim.schedule": "constant",
    "optim.warmup": 0.0,
    "optim.embedding_l2": 0.0,
    "optim.ema_decay": 0.0,
    "model.normalization": "none",
    "model.dropout": 0.0,
    "model.embedding_dim": 8,
    "features.numeric_encoding": "raw",
    "loss.label_smoothing": 0.0,
    "train.batch_size": 1024,
}


@cache
def tiny_codebase(slots: int = 1, walltime_s: float = 1200.0) -> Codebase:
    found = parse((TINY / "rea.toml").read_text(), TINY)
    resources = replace(found.resources, walltime_s=walltime_s)
    return replace(found, launcher=replace(found.launcher, slots=slots), resources=resources)


@cache
def techniques() -> tuple[Technique, ...]:
    return load_techniques()


class World(Simulated):
    """A world on the tiny codebase. `nature` is anything else that `Nature` takes."""

    def __init__(
        self,
        seed: int,
        response: Response,
        *,
        noise: float = 0.001,
        rows: float = 0.0005,
        run_s: float = 60.0,
        slots: int = 1,
        budget: str = "40r",
        rounds: int | None = None,
        options: dict[str, Any] | None = None,
        records: Sequence[ExperimentRecord] = (),
        breaks: Callable[[Run, int], Report | None] | None = None,
        team: Team | None = None,
        **nature: Any,
    ) -> None:
        true = Nature(response, noise=noise, rows=rows, run_s=run_s, **nature)
        codebase = replace(tiny_codebase(slots, max(1200.0, 10 * run_s)), team=team)
        trainer = Trainer(true, codebase, VALUES, seed)
        super().__init__(
            trainer,
            techniques(),
            slots=slots,
            budget=budget,
            rounds=rounds,
            options=options or {},
            records=records,
            breaks=breaks,
        )
