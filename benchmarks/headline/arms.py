"""The tuners' side of the comparison: a search under a budget of CPU-seconds, and what it picks."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.headline.baselines import SEEDS, best, replayed
from benchmarks.headline.bench import Baseline, Bench
from benchmarks.headline.configs import Scalar
from benchmarks.headline.journal import Journal, Record, same
from benchmarks.headline.search import TUNERS, Tuner, open_search
from benchmarks.headline.space import USUAL, Space, consistent, every_knob, inside, numeric
from benchmarks.headline.tasks import Task, fields

BUDGET_RUNS = 25  # an arm's budget, in mean CPU-seconds of the baseline
CONFIRMED = 3
CONFIRM_SEEDS = 2
RECENT = 10
SEARCH_SEEDS = {"tpe": 2, "tpe-all": 2, "random": 2}


@dataclass(frozen=True, slots=True)
class Account:
    """CPU-seconds of one arm. No run is cut; one that cannot be paid for at its expected cost is not started."""

    budget_s: float
    spent_s: float = 0.0

    def charged(self, cpu_s: float) -> Account:
        return Account(self.budget_s, self.spent_s + cpu_s)

    def affords(self, expected_s: float, reserve_s: float = 0.0) -> bool:
        return self.spent_s + expected_s + reserve_s <= self.budget_s

    @property
    def overshoot_s(self) -> float:
        """How far the last run went over the budget; 0 where it did not."""
        return max(0.0, self.spent_s - self.budget_s)


def expected(trials: Sequence[Record], baseline_s: float) -> float:
    """What the next run of a search will cost, in CPU-seconds: as its recent ones on average, at first the baseline."""
    recent = [record["cpu_s"] for record in trials[-RECENT:]]
    return statistics.fmean(recent) if recent else baseline_s


def reserve(trials: Sequence[Record], baseline_s: float) -> float:
    """What confirming the best three so far will cost; a place still empty costs what the baseline does."""
    costs = [record["cpu_s"] for record in best(trials, CONFIRMED)]
    costs += [baseline_s] * (CONFIRMED - len(costs))
    return CONFIRM_SEEDS * sum(costs)


def training_seed(search_seed: int) -> int:
    """The seed that all trials of a search share; the ones after it confirm. No baseline or verdict trains with it."""
    return 100 + 10 * search_seed


def pick(trials: Sequence[Record], confirmations: Sequence[Record]) -> tuple[dict[str, Scalar], float, int] | None:
    """The configuration, its mean validation NE, and over how many seeds: the best mean among the candidates that were
    confirmed on most seeds. None where every trial failed.
    """
    standings = []
    for candidate in best(trials, CONFIRMED):
        runs = [record for record in confirmations if same(record["config"], candidate["config"])]
        if any(run["ne"] is None for run in runs):
            continue  # failed on a further seed: nothing to put into production
        nes = [candidate["ne"], *(run["ne"] for run in runs)]
        standings.append((-len(nes), statistics.fmean(nes), candidate["config"]))
    if not standings:
        return None
    seeds, ne, config = min(standings, key=lambda one: one[:2])
    return dict(config), ne, -seeds


def budget(
    bench: Bench, task: Task, baseline: Baseline, journal: Journal, runs: float = BUDGET_RUNS, beside: int = 1
) -> float:
    """The arm's CPU-seconds: `runs` times the baseline's mean, at the machine's present pace.

    How much a second of processor gets done depends on what else runs: caches and memory are shared. So the baseline is
    trained once more when an arm begins, with a seed whose cost is known, and all arms get the same work done whenever
    they run. That training is on record and charged to nobody. beside: how many of it run at once, where an arm that
    has the machine for itself trains as many.
    """
    found = next((record for record in journal.records if record["purpose"] == "pace"), None)
    if found is None:
        data = bench.data(task)
        with ThreadPoolExecutor(beside) as pool:
            outcomes = list(pool.map(lambda _: bench.trainer.train(baseline.config, data, SEEDS[0]), range(beside)))
        cpu_s = statistics.fmean(outcome.cpu_s for outcome in outcomes)
        found = journal.append({"purpose": "pace", "cpu_s": round(cpu_s, 3), "pace": cpu_s / baseline.first_s})
    return runs * baseline.cpu_s * found["pace"]


def space_of(bench: Bench, tuner: Tuner, task: Task) -> Space:
    if tuner.space == "all":
        return every_knob(bench.trainer.folder / "rea.toml", fields(bench.data(task)), task.idle)
    return numeric(USUAL) if tuner.space == "numeric" else USUAL


def run_arm(bench: Bench, task: Task, baseline: Baseline, arm: str, seed: int) -> Record:
    """The arm's search, its confirmations and its pick, from wherever its journal stands. Returns the pick's record."""
    journal = bench.journal(task, f"{arm}-{seed}")
    for record in journal.records:
        if record["purpose"] == "pick":
            return record
    budget_s = budget(bench, task, baseline, journal)
    trials = _search(bench, task, baseline, TUNERS[arm], seed, journal, budget_s)
    account = Account(budget_s, sum(record["cpu_s"] for record in trials))
    account, confirmations = _confirm(bench, task, journal, account, trials, seed)
    chosen = pick(trials, confirmations)
    config, ne, seeds = chosen if chosen is not None else (dict(baseline.config), baseline.ne, 0)
    return journal.append(
        {
            "purpose": "pick",
            "config": config,
            "ne": ne,
            "seeds": seeds,
            "claimed_gain": (baseline.ne - ne) / baseline.ne,
            "budget_s": account.budget_s,
            "spent_s": account.spent_s,
            "overshoot_s": account.overshoot_s,
            "trials": len(trials),
            "failed": sum(record["failure"] is not None for record in trials),
            "pruned": sum(record["pruned"] is not None for record in trials),
        }
    )


def _search(
    bench: Bench, task: Task, baseline: Baseline, tuner: Tuner, seed: int, journal: Journal, budget_s: float
) -> Sequence[Record]:
    start = {**bench.trainer.neutral, **baseline.config}
    space = space_of(bench, tuner, task)
    _hold_space(journal, space)
    search = open_search(tuner, space, inside(space, start), seed, int(start["train.epochs"]), bench.work / task.name)
    done = [record for record in journal.records if record["purpose"] == "search"]
    trials: list[Record] = []
    account, run_s = Account(budget_s), budget_s / BUDGET_RUNS
    while account.affords(expected(trials, run_s), reserve(trials, run_s)):
        config = bench.config({**start, **consistent(search.ask())})
        if len(trials) < len(done):
            record = replayed(journal, done[len(trials)], config)
            for epoch, ne in enumerate(record["curve"], 1):
                search.stop(epoch, ne)
        else:
            stop = search.stop if tuner.prunes else None
            record = bench.run(task, journal, config, training_seed(seed), "search", stop=stop)
            for epoch, ne in enumerate(record["curve"], 1):  # what ended between two looks was not told yet
                search.stop(epoch, ne)
        search.tell(record["ne"], pruned=record["pruned"] is not None)
        trials.append(record)
        account = account.charged(record["cpu_s"])
    return trials


def _hold_space(journal: Journal, space: Space) -> None:
    """The space a search began with is on record. Raises ValueError when it has changed since."""
    now = json.loads(json.dumps({name: repr(knob) for name, knob in space.items()}))
    for record in journal.records:
        if record["purpose"] == "space":
            if record["space"] != now:
                raise ValueError(f"{journal.path}: the knobs have changed since it began; remove it to begin anew")
            return
    journal.append({"purpose": "space", "space": now})


def _confirm(
    bench: Bench, task: Task, journal: Journal, account: Account, trials: Sequence[Record], seed: int
) -> tuple[Account, list[Record]]:
    candidates = best(trials, CONFIRMED)
    confirmations = [record for record in journal.records if record["purpose"] == "confirm"]
    account = account.charged(sum(record["cpu_s"] for record in confirmations))
    for further in range(1, CONFIRM_SEEDS + 1):
        for candidate in candidates:
            at = training_seed(seed) + further
            if any(record["seed"] == at and same(record["config"], candidate["config"]) for record in confirmations):
                continue
            if account.affords(candidate["cpu_s"]):
                record = bench.run(task, journal, candidate["config"], at, "confirm")
                confirmations.append(record)
                account = account.charged(record["cpu_s"])
    return account, confirmations


def search_seeds(arm: str) -> range:
    return range(SEARCH_SEEDS.get(arm, 1))
