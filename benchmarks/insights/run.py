"""The insights database with 100,000 experiments in it: how long a question takes, whether intervals hold the truth.

    .venv/bin/python benchmarks/insights [--experiments 100000] [--queries 60]

Makes a store in a temporary folder, fills it with synthetic experiments whose true effects are drawn from the model
(a technique's mean from its card, settings, context, data, codebase), imports them from a file, refits, asks for the
effect of every technique in fresh contexts, and exports everything. Prints a table and writes
benchmarks/results/insights.json.

A context query is what planning asks for: `recall` from the store, and `effects` of every technique with one setting in
one context, from a snapshot made anew each time; half of them ask for a codebase of the store, a quarter for a new one
on data of the store, a quarter for one on new data. Wall times depend on who else uses the machine (`load`), CPU times
less so. Coverage is over codebases that are not in the store, on new data and on data that others of the store are
trained on, and over codebases that are, whose own tests of the setting asked about are not.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import math
import os
import platform
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rea.domain.insight import ExperimentOutcome, ExperimentRecord
from rea.domain.technique import Symptom, Technique
from rea.insights.estimate import Asked, effect, effects
from rea.insights.exchange import export_file, import_file
from rea.insights.features import features
from rea.insights.fit import BETWEEN
from rea.insights.snapshot import recall, refresh
from rea.knowledge.cards import load_techniques
from rea.store import Store, open_store

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "insights.json"
TECHNIQUES = 60
PER_CODEBASE = 400  # experiments of one codebase, about
PER_DATA_SET = 2.5  # codebases trained on one data set, about
TARGETS = {"query_p95_ms": 50.0, "refit_s": 2.0}
RHO, PSI = 0.3, 0.2  # of the truth: shares of the variance between contexts that context and setting explain
OF_DATA = 0.5  # of the truth: the share of the rest that is the data's affair, and not the model's


def cards() -> tuple[Technique, ...]:
    """The packaged cards, and as many copies under other names as make sixty."""
    packaged = load_techniques()
    copies = [replace(card, name=f"{card.name}-too") for card in packaged[: TECHNIQUES - len(packaged)]]
    return (*packaged, *copies)[:TECHNIQUES]


@dataclass(frozen=True)
class Codebase:
    name: str
    data: str
    context: dict[str, Any]


@dataclass
class World:
    """Truths, drawn once: every technique with three settings, in any codebase."""

    chance: random.Random
    techniques: tuple[Technique, ...]

    def __post_init__(self) -> None:
        self.mean, self.tau, self.setting, self.beta = {}, {}, {}, {}
        self.rest: dict[tuple[str, str], float] = {}
        self.local: dict[tuple[str, str, str], float] = {}
        for t in self.techniques:
            tau = BETWEEN[t.level] * math.exp(self.chance.gauss(-0.49, 0.7))
            self.tau[t.name] = tau
            self.mean[t.name] = self.chance.gauss(t.effect.mean, t.effect.sd)
            self.beta[t.name] = [self.chance.gauss(0, math.sqrt(RHO) * tau) for _ in features({})]
            for value in VALUES:
                self.setting[t.name, value] = self.chance.gauss(0, math.sqrt(PSI / 2) * tau)

    def truth(self, technique: str, value: str, where: Codebase) -> float:
        tau = self.tau[technique]
        drawn = math.sqrt(OF_DATA) * self._normal(technique, where.data)
        drawn += math.sqrt(1 - OF_DATA) * self._normal(technique, where.name)
        local = (technique, value, where.name)
        if local not in self.local:
            self.local[local] = self.chance.gauss(0, math.sqrt(PSI / 2) * tau)
        phi = features(where.context)
        explained = sum(b * x for b, x in zip(self.beta[technique], phi, strict=True))
        left_open = math.sqrt(RHO * max(0.0, 1 - sum(x * x for x in phi)))
        rest = (math.sqrt(1 - RHO - PSI) + left_open) * tau * drawn
        return self.mean[technique] + self.setting[technique, value] + explained + rest + self.local[local]

    def _normal(self, technique: str, place: str) -> float:
        """What a data set or a codebase draws for a technique, once."""
        if (technique, place) not in self.rest:
            self.rest[technique, place] = self.chance.gauss(0, 1)
        return self.rest[technique, place]


VALUES = ("low", "middle", "high")
FAMILIES = ("mlp", "dcnv2", "dlrm", "deepfm", "widedeep", "autoint")


def data_set(chance: random.Random) -> dict[str, Any]:
    """What a data profile tells."""
    return {
        "rows": round(10 ** chance.uniform(4.5, 8.5)),
        "positive_rate": round(chance.uniform(0.01, 0.4), 3),
        "fields": chance.randint(8, 200),
        "rare_mass": round(chance.uniform(0, 0.6), 3),
        "largest_cardinality": round(10 ** chance.uniform(3, 7.5)),
        "numeric_share": round(chance.uniform(0, 0.8), 2),
    }


def place(chance: random.Random, name: str, data: tuple[str, dict[str, Any]] | None = None) -> Codebase:
    """A codebase, on data of its own where none are given."""
    known, facts = data or (f"data of {name}", data_set(chance))
    symptoms = chance.sample([s.value for s in Symptom], chance.randint(0, 3))
    context: dict[str, Any] = {
        "codebase": name,
        "model_family": chance.choice(FAMILIES),
        **facts,
        "symptoms": tuple(sorted(symptoms)),
    }
    # A team that measured less: facts are missing, which must do no harm.
    for fact in ("fields", "rare_mass", "largest_cardinality", "numeric_share"):
        if chance.random() < 0.3:
            del context[fact]
    return Codebase(name, known, context)


def experiments(world: World, places: list[Codebase], count: int) -> Iterator[ExperimentRecord]:
    chance = world.chance
    for i in range(count):
        where, technique = chance.choice(places), chance.choice(world.techniques)
        value = chance.choice(VALUES)
        truth = world.truth(technique.name, value, where)
        seeds = chance.choice((1, 1, 1, 2, 3))
        se = 0.0012 * chance.uniform(0.5, 2.0) / math.sqrt(seeds)
        seen: float | None = chance.gauss(truth, se)
        outcome, fidelity = ExperimentOutcome.INCONCLUSIVE, 1.0
        if seen is not None and abs(seen) > 1.5 * se:
            outcome = ExperimentOutcome.SUPPORTED if seen > 0 else ExperimentOutcome.REFUTED
        if seen is not None and seen < -4 * se and chance.random() < 0.3:
            outcome, fidelity = ExperimentOutcome.PRUNED, 0.4
        if chance.random() < 0.03:
            outcome, seen = ExperimentOutcome.FAILED, None
        yield ExperimentRecord(
            id=None,
            codebase=where.name,
            campaign=1 + i // 40,
            hypothesis=i,
            round=1,
            technique=technique.name,
            roles={"setting": value},
            values={"setting": "off"},
            outcome=outcome.value,
            context=where.context,
            effect=seen,
            se=se,
            seeds=seeds,
            fidelity=fidelity,
            cost_s=60.0,
            failure="diverged" if seen is None else None,
            at=float(i),
            note=f"{technique.title}: synthetic",
        )


def coverage(
    world: World,
    store: Store,
    places: list[Codebase],
    skip: set[tuple[str, str, str]] = frozenset(),  # type: ignore[assignment]
) -> dict[str, float]:
    """Share of 80 % and 95 % intervals that hold the true effect, and the root mean square of the error, in gain."""
    held80 = held95 = asked = 0
    square = wide = 0.0
    for where in places:
        known = recall(store, world.techniques, where.name, where.context)
        for t in world.techniques:
            for value in VALUES:
                if (t.name, value, where.name) in skip:
                    continue
                found = effect(t, where.context, known, setting={"setting": value}, now={"setting": "off"})
                error = found.mean - world.truth(t.name, value, where)
                asked += 1
                held80 += abs(error) < 1.2816 * found.sd
                held95 += abs(error) < 1.96 * found.sd
                square, wide = square + error**2, wide + found.sd**2
    return {
        "asked": asked,
        "coverage_80": held80 / asked,
        "coverage_95": held95 / asked,
        "rms_error": math.sqrt(square / asked),
        "rms_sd": math.sqrt(wide / asked),
    }


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=60)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rea-insights-") as folder:
        found = measure(Path(folder), chosen.experiments, chosen.queries)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    show(found)


def measure(folder: Path, count: int, queries: int) -> dict[str, Any]:
    chance = random.Random(1)
    world = World(chance, cards())
    teams = max(10, count // PER_CODEBASE)
    data = [(f"data {i}", data_set(chance)) for i in range(round(teams / PER_DATA_SET))]
    places = [place(chance, f"team-{i}", chance.choice(data)) for i in range(teams)]
    file = folder / "synthetic.jsonl"
    records = list(experiments(world, places, count))
    with_file = export_file(records, file)
    store = open_store(f"sqlite:///{folder / 'rea.db'}")
    began = time.perf_counter()
    added = import_file(store, file, by="benchmark", at=0.0)
    import_s = time.perf_counter() - began
    assert added.added == with_file == count
    tested = {(str(r.technique), str(r.roles["setting"]), r.codebase) for r in records}
    del records  # no planning process carries a hundred thousand of them through every garbage collection
    began, cpu_began = time.perf_counter(), time.process_time()
    refresh(store, world.techniques)
    refit_s, refit_cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    # What the benchmark itself holds (truths, places) is in no planning process, nor in the collections of its garbage.
    gc.collect()
    gc.freeze()
    times, cpu_times = [], []
    for i in range(queries):
        where = place(chance, f"new-{i}", chance.choice(data) if i % 4 == 1 else None)
        where = chance.choice(places) if i % 2 == 0 else where
        began, cpu_began = time.perf_counter(), time.process_time()
        snapshot = recall(store, world.techniques, where.name, where.context)
        effects([Asked(t, {"setting": "low"}, {"setting": "off"}) for t in world.techniques], where.context, snapshot)
        times.append(1000 * (time.perf_counter() - began))
        cpu_times.append(1000 * (time.process_time() - cpu_began))
    began = time.perf_counter()
    exported = export_file(store.each_experiment(), folder / "out.jsonl")
    export_s = time.perf_counter() - began
    began = time.perf_counter()
    again = import_file(store, folder / "out.jsonl", by="benchmark", at=1.0)
    again_s = time.perf_counter() - began
    assert again.added == 0
    new = coverage(world, store, [place(chance, f"fresh-{i}") for i in range(60)])
    sisters = coverage(world, store, [place(chance, f"sister-{i}", chance.choice(data)) for i in range(60)])
    own = coverage(world, store, chance.sample(places, min(60, len(places))), tested)
    with store.instant() as read:
        cells = len(read.cells())
    store.close()
    return {
        "experiments": count,
        "codebases": len(places),
        "techniques": len(world.techniques),
        "cells": cells,
        "query_p50_ms": percentile(times, 0.5),
        "query_p95_ms": percentile(times, 0.95),
        "query_cpu_p50_ms": percentile(cpu_times, 0.5),
        "query_cpu_p95_ms": percentile(cpu_times, 0.95),
        "refit_s": refit_s,
        "refit_cpu_s": refit_cpu_s,
        "import_rows_per_s": count / import_s,
        "import_again_rows_per_s": count / again_s,
        "export_rows_per_s": exported / export_s,
        "new_codebases": new,
        "new_codebases_on_known_data": sisters,
        "known_codebases": own,
        "targets": TARGETS,
        "machine": {
            "cpu": cpu(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def show(found: dict[str, Any]) -> None:
    head = f"{found['experiments']:,} experiments, {found['codebases']} codebases, {found['techniques']} techniques"
    print(f"{head}, {found['cells']:,} cells")
    rows = [
        ("context query, p50", f"{found['query_p50_ms']:.1f} ms", ""),
        ("context query, p95", f"{found['query_p95_ms']:.1f} ms", f"{TARGETS['query_p95_ms']:.0f} ms"),
        ("context query, CPU, p50", f"{found['query_cpu_p50_ms']:.1f} ms", ""),
        ("context query, CPU, p95", f"{found['query_cpu_p95_ms']:.1f} ms", ""),
        ("refit of everything, CPU", f"{found['refit_cpu_s']:.2f} s", ""),
        ("refit of everything", f"{found['refit_s']:.2f} s", f"{TARGETS['refit_s']:.0f} s"),
        ("import", f"{found['import_rows_per_s']:,.0f} rows/s", ""),
        ("import of what is known", f"{found['import_again_rows_per_s']:,.0f} rows/s", ""),
        ("export", f"{found['export_rows_per_s']:,.0f} rows/s", ""),
    ]
    groups = (
        ("new codebases", "new_codebases"),
        ("new ones on known data", "new_codebases_on_known_data"),
        ("known codebases", "known_codebases"),
    )
    for name, key in groups:
        part = found[key]
        rows.append((f"80 % intervals, {name}", f"{part['coverage_80']:.1%}", "80 %"))
        rows.append((f"95 % intervals, {name}", f"{part['coverage_95']:.1%}", "95 %"))
        rows.append((f"error, {name}", f"{part['rms_error']:.3%} (said: {part['rms_sd']:.3%})", ""))
    for name, value, target in rows:
        print(f"{name:<36}{value:>28}{target:>10}")


if __name__ == "__main__":
    main()
