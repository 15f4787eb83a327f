"""What the store promises, over every database it can be kept in, with real processes."""

from __future__ import annotations

import inspect
import itertools
import math
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rea.domain.campaign import Approval, Campaign
from rea.domain.claim import Claim
from rea.domain.codebase import (
    Codebase,
    ConfigStyle,
    Guardrail,
    Knob,
    KnobType,
    LauncherChoice,
    Objective,
    Resources,
)
from rea.domain.errors import (
    ApprovalNeededError,
    GuardrailError,
    LeaseLostError,
    NotFoundError,
    ShareUsedUpError,
    TransitionError,
    UsageError,
)
from rea.domain.hypothesis import Belief, HypothesisDraft, HypothesisKind, Source, SourceKind
from rea.domain.ids import number, say
from rea.domain.insight import ExperimentRecord
from rea.domain.ledger import EntryKind, Purse, balance
from rea.domain.run import Failure, Reading, RunDraft, RunResult
from rea.domain.share import Team
from rea.domain.states import (
    AttemptState,
    CampaignState,
    HypothesisState,
    PauseReason,
    Phase,
    PlanState,
    RunState,
    Verdict,
)
from rea.domain.treatment import Treatment
from rea.store import Store, open_store, working

CODEBASE = Codebase(
    name="ads-ranker",
    root="/home/me/ads",
    python=".venv/bin/python",
    train="{python} train.py --seed {seed}",
    evaluate=None,
    config="configs/dcnv2.yaml",
    style=ConfigStyle.YAML,
    editable=("models/**",),
    protected=("data/**",),
    env=("HOME",),
    objective=Objective("ne", "minimize", "valid", "test", 0.0005, (Guardrail("calibration", 0.95, 1.05),)),
    resources=Resources(1, 0, 2**31, 600.0),
    launcher=LauncherChoice("local", 2, {"nice": 5}),
    knobs=(
        Knob("optim.lr", "learning_rate", KnobType.FLOAT, 1e-4, 1e-1, True),
        Knob("model.depth", None, KnobType.INT, choices=(1, 2.0, True, None, "deep"), default=2),
    ),
)
fork = multiprocessing.get_context("fork")
fresh = itertools.count(1)


# databases


def _as_postgres() -> list[str] | None:
    """How to run a command as somebody who may run PostgreSQL, which refuses root."""
    if os.geteuid() != 0:
        return []
    known = subprocess.run(["id", "-u", "postgres"], capture_output=True, check=False).returncode == 0
    if known and shutil.which("setpriv"):
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL of its own on loopback; the URL of its maintenance database."""
    prefix = _as_postgres()
    if prefix is None or not all(map(shutil.which, ("initdb", "pg_ctl", "postgres"))):
        pytest.skip("no PostgreSQL here that this user may run")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="rea-pg-", dir="/tmp"))
    folder.chmod(0o777)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"

    def run(*command: str) -> None:
        subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, timeout=60, cwd="/tmp")

    try:
        run("initdb", "-D", data, "-U", "rea", "-A", "trust", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
        try:
            yield f"postgresql://rea@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/rea.db"
    import psycopg

    server, name = request.getfixturevalue("postgresql"), f"rea_{next(fresh)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.close()


# small makers


def campaign(store: Store, name: str = "first", limit: float | None = 100.0, codebase: Codebase = CODEBASE) -> int:
    made = store.create_campaign(
        name=name, codebase=codebase, commit="c0ffee", env={"HOME": "/home/me"}, options={"runs": 3}, at=1.0
    )
    if limit is not None:
        with store.transaction(made.id) as tx:
            tx.set_limit(made.id, limit, 1.0, "profile")
    return made.id


def idea(**overrides: Any) -> HypothesisDraft:
    return HypothesisDraft("an idea", "a reason", Treatment(overrides or {"optim.lr": 0.01}), Belief(0.001, 0.002))


def training(key: str, hypothesis: int | None = None) -> RunDraft:
    return RunDraft(key, hypothesis, 1, Phase.PROFILE, Treatment(), 1, 0.0, 10.0, 20.0)


def planned(store: Store, c: int, *keys: str) -> list[int]:
    with store.transaction(c) as tx:
        return tx.add_runs(c, [training(key) for key in keys])


def intend(store: Store, c: int, run: int, reserve_s: float = 10.0) -> int:
    with store.transaction(c) as tx:
        return tx.intend_attempt(run, job=f"job-{next(fresh)}", run_dir="/runs/1", reserve_s=reserve_s, at=2.0).id


def end(store: Store, c: int, attempt: int, device_s: float) -> None:
    with store.transaction(c) as tx:
        tx.end_attempt(attempt, outcome="succeeded", failure=None, device_s=device_s, started_at=3.0, ended_at=4.0)


def force(store: Store, table: str, id_: int, state: StrEnum) -> None:
    from sqlalchemy import text

    with store._engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET state = :s WHERE id = :i"), {"s": state.value, "i": id_})


def children(*targets: Callable[[], None]) -> list[int | None]:
    """Run each in a process of its own, at once; their exit codes."""
    processes = [fork.Process(target=target) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


# states


def arrows(state: StrEnum) -> set[str]:
    """Where a state leads, by the comment beside it in rea.domain.states."""
    line = re.search(rf"^ *{state.name} = .*$", inspect.getsource(type(state)), re.MULTILINE)
    assert line is not None
    found = re.search(r"→ ([A-Z_]+(?:, [A-Z_]+)*)", line.group())
    return {type(state)[name].value for name in found.group(1).split(", ")} if found else set()


def _set_campaign(tx: Any, c: int, id_: int, state: CampaignState) -> None:
    tx.set_campaign(c, state=state)


def _set_hypothesis(tx: Any, c: int, id_: int, state: HypothesisState) -> None:
    tx.set_hypothesis(id_, state=state)


def _set_run(tx: Any, c: int, id_: int, state: RunState) -> None:
    tx.set_run(id_, state=state)


def _set_plan(tx: Any, c: int, id_: int, state: PlanState) -> None:
    tx.set_plan(id_, state)


@pytest.mark.parametrize(
    ("table", "kind", "change"),
    [
        ("campaigns", CampaignState, _set_campaign),
        ("hypotheses", HypothesisState, _set_hypothesis),
        ("runs", RunState, _set_run),
        ("plans", PlanState, _set_plan),
    ],
)
def test_every_transition_with_an_arrow_works_and_every_other_is_refused(
    store: Store, table: str, kind: type[StrEnum], change: Callable[..., None]
) -> None:
    c = campaign(store)
    with store.transaction(c) as tx:
        (hypothesis,) = tx.add_hypotheses(c, 1, [idea()])
        (run,) = tx.add_runs(c, [training("a")])
        plan = tx.add_plan(c, "{}", "d", 1.0).id
    id_ = {"campaigns": c, "hypotheses": hypothesis, "runs": run, "plans": plan}[table]
    read: dict[str, Callable[[int], Any]] = {
        "campaigns": store.campaign,
        "hypotheses": store.hypothesis,
        "runs": store.run,
        "plans": store.plan,
    }
    wrong = []
    for old, new in itertools.product(kind, kind):
        force(store, table, id_, old)
        allowed = new.value in arrows(old) or new is old
        try:
            with store.transaction(c) as tx:
                change(tx, c, id_, new)
            done = True
        except TransitionError:
            done = False
        if done is not allowed or read[table](id_).state is not (new if allowed else old):
            wrong.append(f"{old.value} → {new.value} should be {'allowed' if allowed else 'refused'}")
    assert not wrong


def test_an_attempt_goes_from_intended_over_submitted_to_ended_and_never_back(store: Store) -> None:
    c = campaign(store)
    (run,) = planned(store, c, "a")
    attempt = intend(store, c, run)
    assert store.run(run).state is RunState.ACTIVE
    for state, after in (
        (AttemptState.INTENDED, AttemptState.SUBMITTED),
        (AttemptState.SUBMITTED, AttemptState.SUBMITTED),
    ):
        assert store.attempt(attempt).state is state
        with store.transaction(c) as tx:
            tx.submitted(attempt)
        assert store.attempt(attempt).state is after
    end(store, c, attempt, 4.0)
    with pytest.raises(TransitionError), store.transaction(c) as tx:
        tx.submitted(attempt)
    assert store.attempt(attempt).state is AttemptState.ENDED


@pytest.mark.parametrize("state", list(CampaignState))
def test_only_a_profiling_or_running_campaign_starts_anything(store: Store, state: CampaignState) -> None:
    c = campaign(store)
    (run,) = planned(store, c, "a")
    force(store, "campaigns", c, state)
    if state in (CampaignState.PROFILING, CampaignState.RUNNING):
        intend(store, c, run)
    else:
        with pytest.raises(TransitionError, match=state.value):
            intend(store, c, run)
        assert store.run(run).state is RunState.PLANNED


def test_a_run_has_one_unfinished_attempt_at_most(store: Store) -> None:
    c = campaign(store)
    (run,) = planned(store, c, "a")
    first = intend(store, c, run)
    with pytest.raises(TransitionError):
        intend(store, c, run)
    with store.transaction(c) as tx:
        tx.set_run(run, state=RunState.PLANNED)
    with pytest.raises(TransitionError, match=say("A", first)):
        intend(store, c, run)
    end(store, c, first, 1.0)
    second = intend(store, c, run)
    assert [(a.id, a.number) for a in store.attempts(c)] == [(first, 1), (second, 2)]


# the budget


def test_spent_and_reserved_never_exceed_approved_under_concurrent_writers(store: Store, url: str) -> None:
    budget, amount, each = 95.0, 10.0, 6
    c = campaign(store, limit=budget)
    runs = planned(store, c, *(f"run-{n}" for n in range(4 * each)))
    store.close()

    def writer(mine: list[int]) -> Callable[[], None]:
        def work() -> None:
            own = open_store(url)
            for run in mine:
                try:
                    with own.transaction(c) as tx:
                        attempt = tx.intend_attempt(run, job=f"j{run}", run_dir="/r", reserve_s=amount, at=1.0)
                except GuardrailError:
                    continue
                if run % 3 == 0:
                    end(own, c, attempt.id, amount / 2)
            own.close()

        return work

    worst: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            held = store.balance(c)
            worst.append(held.spent + held.reserved)

    processes = [fork.Process(target=writer(runs[n::4])) for n in range(4)]
    for process in processes:
        process.start()
    watcher = threading.Thread(target=watch)
    watcher.start()
    for process in processes:
        process.join(60)
    done.set()
    watcher.join()
    held = store.balance(c)
    assert [process.exitcode for process in processes] == [0] * 4
    assert max([*worst, held.spent + held.reserved]) <= budget
    assert budget - held.spent - held.reserved < amount, "nobody was refused while there was room"
    assert len([e for e in store.entries(c) if e.kind is EntryKind.RESERVE]) == len(store.attempts(c)) < len(runs)


def test_a_team_s_day_is_never_exceeded_by_campaigns_that_ask_at_once(store: Store, url: str) -> None:
    day, amount = 55.0, 10.0
    ours = replace(CODEBASE, team=Team("ads-ranking", per_day_s=day))
    theirs = replace(CODEBASE, name="other", team=Team("ads-ranking-2", per_day_s=1.0))
    teams = [campaign(store, f"of the team {n}", 500.0, ours) for n in range(3)]
    runs = {c: planned(store, c, *(f"run-{n}" for n in range(6))) for c in teams}
    alone, other = campaign(store, "without a team", 500.0), campaign(store, "of another team", 500.0, theirs)
    intend(store, alone, planned(store, alone, "run")[0], 200.0)
    store.close()

    def writer(c: int) -> Callable[[], None]:
        def work() -> None:
            own = open_store(url)
            for run in runs[c]:
                try:
                    with own.transaction(c) as tx:
                        tx.intend_attempt(run, job=f"j{run}", run_dir="/r", reserve_s=amount, at=2.0)
                except ShareUsedUpError:
                    continue
            own.close()

        return work

    assert children(*(writer(c) for c in teams)) == [0, 0, 0]
    held = sum(a.reserved_s for c in teams for a in store.attempts(c))
    assert day - amount < held <= day
    assert store.used(teams[0], "ads-ranking", 0.0) == held and store.used(alone, None, 0.0) == 200.0
    with pytest.raises(ShareUsedUpError, match="the day of team ads-ranking-2 has"):
        intend(store, other, planned(store, other, "run")[0], 2.0)
    waiting = next(run for run in store.runs(teams[0]) + store.runs(teams[1]) if run.state is RunState.PLANNED)
    with store.transaction(waiting.campaign) as tx:
        tx.intend_attempt(waiting.id, job="tomorrow", run_dir="/r", reserve_s=amount, at=86401.0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["intend", "end", "limit"]),
            st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 60),
            st.sampled_from(Purse),
        ),
        max_size=10,
    )
)
def test_no_sequence_of_writes_breaks_the_budget(store: Store, steps: list[tuple[str, float, Purse]]) -> None:
    c = campaign(store, f"sequence {next(fresh)}")
    runs = planned(store, c, *(f"{n}" for n in range(len(steps))))
    for run, (what, amount, purse) in zip(runs, steps, strict=True):
        before = store.entries(c)
        try:
            with store.transaction(c) as tx:
                if what == "intend":
                    tx.intend_attempt(run, job=f"j-{next(fresh)}", run_dir="/r", reserve_s=amount, at=1.0, purse=purse)
                elif what == "limit":
                    tx.set_limit(c, amount, 1.0, "")
                else:
                    for attempt in tx.attempts(c)[:1]:
                        tx.end_attempt(
                            attempt.id,
                            outcome="failed",
                            failure=None,
                            device_s=amount,
                            started_at=None,
                            ended_at=2.0,
                            purse=purse,
                        )
        except GuardrailError:
            assert store.entries(c) == before
        held = store.balance(c)
        assert held.spent + held.reserved <= held.approved + 1e-9
        assert held.spent >= 0 and held.reserved >= 0


def test_an_attempt_is_settled_once_and_the_rest_of_its_reservation_is_free(store: Store) -> None:
    c = campaign(store)
    (run,) = planned(store, c, "a")
    attempt = intend(store, c, run, 30.0)
    assert store.balance(c).free == 70.0
    end(store, c, attempt, 12.0)
    end(store, c, attempt, 29.0)
    assert store.balance(c).spent == store.attempt(attempt).device_s == 12.0
    assert store.balance(c).free == 88.0
    assert store.events(c) == []


@pytest.mark.parametrize("used", [36.0, math.inf, math.nan])
def test_an_overrun_settles_the_reservation_and_is_said(store: Store, used: float) -> None:
    c = campaign(store)
    (run,) = planned(store, c, "a")
    attempt = intend(store, c, run, 30.0)
    end(store, c, attempt, used)
    assert store.balance(c).spent == 30.0
    (event,) = store.events(c)
    assert event.kind == "overrun"
    assert event.data == {"attempt": attempt, "device_s": used if used == 36.0 else None, "reserved_s": 30.0}


def test_a_job_killed_at_its_limit_overruns_nothing_and_the_ledger_says_what_it_used(store: Store) -> None:
    c = campaign(store)
    (run,) = planned(store, c, "a")
    end(store, c, intend(store, c, run, 30.0), 30.04)
    assert store.balance(c).spent == 30.0 and store.events(c) == []
    assert store.entries(c)[-1].note == "used 30.04"


def test_a_budget_below_what_is_in_use_is_refused(store: Store) -> None:
    c = campaign(store)
    (run,) = planned(store, c, "a")
    intend(store, c, run, 30.0)
    with pytest.raises(GuardrailError), store.transaction(c) as tx:
        tx.set_limit(c, 29.0, 2.0, "less")
    assert store.balance(c).approved == 100.0


# leases


def test_writes_are_refused_after_another_wake_took_the_lease(store: Store) -> None:
    c = campaign(store)
    old = store.acquire(c, "slow", 10.0, now=0.0)
    assert store.acquire(c, "fast", 10.0, now=9.0) is None
    new = store.acquire(c, "fast", 10.0, now=10.0)
    assert old is not None and new == old + 1
    with pytest.raises(LeaseLostError), store.transaction(c, old) as tx:
        tx.set_campaign(c, reason="stale")
    with store.transaction(c, new) as tx:
        tx.set_campaign(c, reason="current")
    assert store.campaign(c).reason == "current"
    store.release(c, old)
    assert store.acquire(c, "third", 10.0, now=11.0) is None, "an old fence released the new lease"
    store.release(c, new)
    assert store.acquire(c, "third", 10.0, now=11.0) == new + 1


def test_of_wakes_at_once_exactly_one_gets_the_campaign(store: Store, url: str, tmp_path: Path) -> None:
    c = campaign(store)
    store.close()

    def wake(n: int) -> Callable[[], None]:
        def work() -> None:
            own = open_store(url)
            fence = own.acquire(c, f"wake {n}", 60.0, now=5.0)
            if fence is not None:
                (tmp_path / f"got-{n}").write_text(str(fence))
            own.close()

        return work

    assert children(*map(wake, range(6))) == [0] * 6
    assert [path.read_text() for path in tmp_path.glob("got-*")] == ["1"]


# doing twice equals doing once


def test_adding_twice_is_adding_once(store: Store) -> None:
    c = campaign(store)
    other = campaign(store, "other")
    with store.transaction(c) as tx:
        a, b, again = tx.add_hypotheses(c, 1, [idea(x=1), idea(x=2), idea(x=1)])
        assert a == again != b
        assert tx.add_runs(c, [training("k", a), training("k", b)]) == tx.add_runs(c, [training("k")]) * 2
    with store.transaction(c) as tx:
        based = HypothesisDraft("other words", "", Treatment({"x": 2}), Belief(0.0, 1.0), base=Treatment({"x": 1}))
        assert tx.add_hypotheses(c, 1, [based]) == [b], "the full treatment counts, not how it is put"
        assert tx.add_hypotheses(c, 2, [idea(x=1)]) != [a]
        assert len(tx.add_runs(c, [training("k"), training("l")])) == 2
    assert [run.draft.key for run in store.runs(c)] == ["k", "l"]
    assert store.runs(c)[0].draft.hypothesis == a, "the first asker's draft stays"
    with store.transaction(other) as tx:
        assert tx.add_runs(other, [training("k")])[0] not in [run.id for run in store.runs(c)]


def test_the_same_treatment_cannot_be_moved_into_a_round_twice(store: Store) -> None:
    c = campaign(store)
    with store.transaction(c) as tx:
        (first,) = tx.add_hypotheses(c, 1, [idea(x=1)])
        (second,) = tx.add_hypotheses(c, 2, [idea(x=1)])
    with pytest.raises(UsageError, match=say("H", second)), store.transaction(c) as tx:
        tx.set_hypothesis(first, round=2)
    with store.transaction(c) as tx:
        tx.set_hypothesis(second, draft=idea(x=3))
        tx.set_hypothesis(first, round=2)


def test_an_experiment_replaces_what_was_known_of_its_round(store: Store) -> None:
    c = campaign(store)
    with store.transaction(c) as tx:
        (h,) = tx.add_hypotheses(c, 1, [idea()])
        record = ExperimentRecord(None, "ads-ranker", c, h, 1, "warmup", {"learning_rate": 0.1}, "supported", at=1.0)
        first = tx.add_experiment(record)
        again = tx.add_experiment(replace(record, outcome="refuted", effect=-0.1, context={"symptoms": ("a", "b")}))
        other = tx.add_experiment(replace(record, round=2))
    assert first == again != other
    kept = store.experiments()
    assert [(e.id, e.round, e.outcome) for e in kept] == [(first, 1, "refuted"), (other, 2, "supported")]
    assert kept[0].context == {"symptoms": ("a", "b")}


# plans


def test_a_new_plan_supersedes_every_older_one_and_only_the_latest_can_be_signed(store: Store) -> None:
    c = campaign(store)
    with store.transaction(c) as tx:
        one = tx.add_plan(c, '{"a":1}', "digest-1", 1.0)
        tx.set_plan(one.id, PlanState.APPROVED)
        tx.add_approval(Approval(one.id, "digest-1", "ada@example.org", "SSH SIG", 2.0))
    assert store.snapshot_rows(c).approval == Approval(one.id, "digest-1", "ada@example.org", "SSH SIG", 2.0)
    with store.transaction(c) as tx:
        two = tx.add_plan(c, '{"a":2}', "digest-2", 3.0)
    assert [(p.version, p.state) for p in store.plans(c)] == [(1, PlanState.SUPERSEDED), (2, PlanState.DRAFT)]
    assert store.latest_plan(c) == two
    assert store.snapshot_rows(c).approval is None
    for plan, digest in ((two.id, "digest-1"), (one.id, "digest-1")):
        with pytest.raises(ApprovalNeededError), store.transaction(c) as tx:
            tx.add_approval(Approval(plan, digest, "ada@example.org", "SSH SIG", 4.0))
    assert store.approval(two.id) is None
    with store.transaction(c) as tx:
        tx.add_approval(Approval(two.id, "digest-2", "ada@example.org", "first", 5.0))
        tx.add_approval(Approval(two.id, "digest-2", "eve@example.org", "second", 6.0))
        tx.grant(c, "network", "ada@example.org", 5.0)
        tx.grant(c, "network", "eve@example.org", 6.0)
    kept = store.approval(two.id)
    assert kept is not None and kept.signature == "first"
    assert [(grant.name, grant.by) for grant in store.grants(c)] == [("network", "ada@example.org")]


# one instant, all or nothing


def test_a_snapshot_is_of_one_instant(store: Store) -> None:
    c = campaign(store)
    with store.transaction(c) as tx:
        (h,) = tx.add_hypotheses(c, 1, [idea()])
    done = threading.Event()

    def write() -> None:
        for n in range(40):
            with store.transaction(c) as tx:
                tx.set_campaign(c, reason=str(n))
                tx.set_hypothesis(h, reason=str(n))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    torn = set()
    while not done.is_set():
        rows = store.snapshot_rows(c)
        if rows.campaign.reason and rows.campaign.reason != rows.hypotheses[0].reason:
            torn.add((rows.campaign.reason, rows.hypotheses[0].reason))
    writer.join()
    assert not torn


def test_an_error_inside_a_transaction_leaves_nothing(store: Store) -> None:
    c = campaign(store)
    before = store.snapshot_rows(c)
    with pytest.raises(ZeroDivisionError), store.transaction(c) as tx:
        (h,) = tx.add_hypotheses(c, 1, [idea()])
        tx.add_runs(c, [training("k", h)])
        tx.set_campaign(c, reason="half way", incumbent=h)
        raise ZeroDivisionError
    assert store.snapshot_rows(c) == before


def test_a_killed_writer_leaves_nothing_half_written(store: Store, url: str, tmp_path: Path) -> None:
    c = campaign(store)
    (run,) = planned(store, c, "a")
    before = store.snapshot_rows(c)
    store.close()
    ready = tmp_path / "inside"

    def work() -> None:
        own = open_store(url)
        with own.transaction(c) as tx:
            tx.intend_attempt(run, job="lost", run_dir="/r", reserve_s=5.0, at=1.0)
            tx.add_plan(c, "{}", "d", 1.0)
            ready.touch()
            time.sleep(60)

    process = fork.Process(target=work)
    process.start()
    while not ready.exists():
        time.sleep(0.01)
    assert store.snapshot_rows(c) == before, "a reader saw what was not committed"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert store.snapshot_rows(c) == before
    intend(store, c, run)


# finding things


def test_ids_round_trip(store: Store) -> None:
    c = campaign(store, "CTR of the feed")
    for ref in (c, say("C", c), say("C", c).lower(), f"C{c}", str(c), f" {c} ", "CTR of the feed"):
        assert store.campaign(ref).id == c
    with store.transaction(c) as tx:
        (h,) = tx.add_hypotheses(c, 1, [idea()])
        (run,) = tx.add_runs(c, [training("k", h)])
    attempt = intend(store, c, run)
    assert store.hypothesis(number(store.hypothesis(h).name, "H")).id == h
    assert store.run(number(store.run(run).name, "R")).id == run
    assert store.attempt(number(say("A", attempt), "A")).run == run
    assert store.run(run).draft.hypothesis == h


def test_what_does_not_exist_is_said_with_what_does(store: Store) -> None:
    with pytest.raises(NotFoundError, match="none yet"):
        store.campaign("ghost")
    c = campaign(store, "alive")
    for ref in ("ghost", 99, "C-99", "99", "C-", "", "²"):
        with pytest.raises(NotFoundError, match=r"alive \(profiling\)"):
            store.campaign(ref)
    with pytest.raises(NotFoundError), store.transaction(99):
        pass
    with pytest.raises(NotFoundError):
        store.acquire(99, "me", 1.0, 1.0)
    for read in (store.hypothesis, store.run, store.attempt, store.plan):
        with pytest.raises(NotFoundError):
            read(99)
    with pytest.raises(NotFoundError), store.transaction(c) as tx:
        tx.set_campaign(c, incumbent=99)


def test_a_taken_name_is_refused_with_who_has_it_and_an_id_is_no_name(store: Store) -> None:
    c = campaign(store, "mine")
    with pytest.raises(UsageError, match=rf"(?s){say('C', c)}, profiling.*--name"):
        campaign(store, "mine")
    for name in ("C-7", "7", "c7", "", " ", "a\0b"):
        with pytest.raises(UsageError):
            campaign(store, name)
    assert [one.name for one in store.campaigns()] == ["mine"]


def test_of_processes_creating_one_name_one_succeeds(store: Store, url: str) -> None:
    store.close()

    def create() -> None:
        own = open_store(url)
        try:
            campaign(own, "same")
        except UsageError:
            own.close()
            os._exit(3)

    assert sorted(children(*[create] * 4), key=str) == [0, 3, 3, 3]


def test_a_transaction_reaches_only_its_own_campaign(store: Store) -> None:
    mine, other = campaign(store, "mine"), campaign(store, "other")
    with store.transaction(other) as tx:
        (h,) = tx.add_hypotheses(other, 1, [idea()])
        (run,) = tx.add_runs(other, [training("k")])
        plan = tx.add_plan(other, "{}", "d", 1.0).id
    attempt = intend(store, other, run)
    before = store.snapshot_rows(other)
    writes: list[Callable[[Any], object]] = [
        lambda tx: tx.set_campaign(other, reason="x"),
        lambda tx: tx.add_hypotheses(other, 1, [idea(x=9)]),
        lambda tx: tx.set_hypothesis(h, reason="x"),
        lambda tx: tx.add_runs(other, [training("x")]),
        lambda tx: tx.add_runs(mine, [training("x", h)]),
        lambda tx: tx.set_run(run, not_before=9.0),
        lambda tx: tx.intend_attempt(run, job="x", run_dir="/r", reserve_s=1.0, at=1.0),
        lambda tx: tx.submitted(attempt),
        lambda tx: tx.end_attempt(attempt, outcome="lost", failure=None, device_s=1.0, started_at=None, ended_at=1.0),
        lambda tx: tx.set_limit(other, 1000.0, 1.0, ""),
        lambda tx: tx.event(other, "x", "x", 1.0),
        lambda tx: tx.add_plan(other, "{}", "d", 1.0),
        lambda tx: tx.set_plan(plan, PlanState.APPROVED),
        lambda tx: tx.add_approval(Approval(plan, "d", "x", "x", 1.0)),
        lambda tx: tx.grant(other, "x", "x", 1.0),
        lambda tx: tx.add_experiment(ExperimentRecord(None, "x", other, h, 1, None, {}, "failed")),
        lambda tx: tx.set_campaign(mine, incumbent=h),
    ]
    for write in writes:
        with pytest.raises(NotFoundError), store.transaction(mine) as tx:
            write(tx)
    assert store.snapshot_rows(other) == before
    assert store.events(other) == [] and store.grants(other) == [] and store.experiments() == []


def test_due_is_what_a_wake_has_something_to_look_at(store: Store) -> None:
    expected = []
    for n, (state, wake_at, in_flight) in enumerate(
        itertools.product(CampaignState, (None, 49.0, 50.0, 51.0), (False, True))
    ):
        c = campaign(store, f"number {n}")
        if in_flight:
            intend(store, c, planned(store, c, "a")[0])
        with store.transaction(c) as tx:
            tx.set_campaign(c, next_wake_at=wake_at)
        force(store, "campaigns", c, state)
        active = state in (CampaignState.PROFILING, CampaignState.RUNNING)
        if (active or in_flight) and (wake_at is None or wake_at <= 50.0):
            expected.append((wake_at or 0.0, c))
    assert store.due(50.0) == [c for _, c in sorted(expected)]


def test_the_record_is_read_on_from_where_a_reader_stopped(store: Store) -> None:
    c, other = campaign(store), campaign(store, "other")
    with store.transaction(c) as tx:
        ids = [tx.event(c, "note", f"line {n}", float(n), n=n, where={"a": [1, None]}) for n in range(5)]
    with store.transaction(other) as tx:
        tx.event(other, "note", "elsewhere", 1.0)
    assert [event.id for event in store.events(c)] == ids
    assert [event.message for event in store.events(c, after_id=ids[1], limit=2)] == ["line 2", "line 3"]
    assert store.events(c)[4].data == {"n": 4, "where": {"a": [1, None]}}


# values

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
anything = st.text(max_size=30)
reals = st.floats(allow_nan=False).map(lambda x: x + 0.0)  # a column of SQLite keeps -0.0 as 0.0
scalars = st.none() | st.booleans() | st.integers() | st.floats() | anything
metrics = st.dictionaries(anything, st.floats(), max_size=3)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_values_come_back_as_they_went_in(store: Store, data: st.DataObject) -> None:
    draw = data.draw
    floats = st.floats()
    claim = st.builds(
        Claim,
        **dict.fromkeys(("gain", "ci_low", "ci_high", "se_seeds", "df"), floats),
        split=anything,
        metric=anything,
        seeds=st.lists(st.integers(), max_size=2).map(tuple),
        **{name: st.lists(floats, max_size=2).map(tuple) for name in ("gains", "baseline_values", "treated_values")},
        se_rows=st.none() | floats,
        baseline_metrics=metrics,
        treated_metrics=metrics,
        guardrails_hold=st.booleans(),
    )
    overrides = st.dictionaries(anything, scalars, max_size=3)
    treatment = st.builds(Treatment, overrides, st.none() | anything)
    draft = draw(
        st.builds(
            HypothesisDraft,
            anything,
            anything,
            treatment,
            st.builds(Belief, floats, floats),
            sources=st.lists(st.builds(Source, st.sampled_from(SourceKind), anything), max_size=2).map(tuple),
            base=treatment,
            parents=st.lists(st.integers(), max_size=2).map(tuple),
        )
    )
    env, options = draw(st.dictionaries(anything, anything, max_size=3)), draw(overrides)
    made = store.create_campaign(
        name=f"values {next(fresh)}", codebase=CODEBASE, commit=draw(words), env=env, options=options, at=draw(reals)
    )
    c = made.id
    changes = {
        "round": draw(st.integers(0, 2**31 - 1)),
        "phase": draw(st.sampled_from(Phase)),
        "verdict": draw(st.none() | st.sampled_from(Verdict)),
        "visible": draw(st.none() | claim),
        "claim": draw(st.none() | claim),
        "reason": draw(words),
        "pause_reason": draw(st.none() | st.sampled_from(PauseReason)),
        "next_wake_at": draw(st.none() | reals),
        "ended_at": draw(st.none() | reals),
    }
    belief = draw(st.builds(Belief, floats, floats))
    failure = draw(st.builds(Failure, anything, anything, anything, st.none() | anything))
    result = draw(
        st.builds(
            RunResult,
            metrics,
            st.lists(st.builds(Reading, floats, metrics), max_size=3).map(tuple),
            anything,
            floats,
            floats,
            st.integers(),
            sealed=st.dictionaries(anything, st.dictionaries(anything, scalars, max_size=2), max_size=2),
        )
    )
    with store.transaction(c) as tx:
        (h,) = tx.add_hypotheses(c, 1, [draft])
        run_draft = replace(
            training(draw(words), h), treatment=draft.full, stop_limits=((0.5, draw(floats)), (1.0, math.nan))
        )
        (run,) = tx.add_runs(c, [run_draft])
        tx.set_campaign(c, incumbent=h, **changes)
        tx.set_hypothesis(h, belief=belief, reason=changes["reason"])
        tx.set_run(run, result=result, failure=failure, not_before=1.25)
    read = store.snapshot_rows(c)
    expected: Campaign = replace(made, incumbent=h, **changes)
    assert repr(made.codebase) == repr(CODEBASE) and repr(made.options) == repr(options) and made.env == env
    assert repr(read.campaign) == repr(expected)
    assert repr(read.hypotheses[0].draft) == repr(draft)
    assert repr((read.hypotheses[0].belief, read.hypotheses[0].reason)) == repr((belief, changes["reason"]))
    assert repr(read.runs[0].draft) == repr(run_draft)
    assert repr((read.runs[0].result, read.runs[0].failure)) == repr((result, failure))
    assert read.runs[0].not_before == 1.25


def test_text_that_no_database_takes_is_mended_and_never_fatal(store: Store) -> None:
    broken = b"\xff out of memory\0".decode(errors="surrogateescape")
    c = campaign(store)
    with store.transaction(c) as tx:
        tx.set_campaign(c, reason=broken)
        tx.event(c, "note", broken, 1.0, line=broken)
    (event,) = store.events(c)
    assert event.message == store.campaign(c).reason == "? out of memory\ufffd"
    assert event.data == {"line": broken}


def test_the_migrated_schema_is_that_of_the_tables(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from rea.store.tables import metadata

    def ours(_object: Any, name: str | None, *_: Any) -> bool:
        return not str(name).startswith("experiment_words")  # the index for texts, which is written in plain SQL

    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours})
        assert compare_metadata(context, metadata) == []


# a backup


def test_a_backup_is_the_store_as_of_one_instant_while_others_write(store: Store, url: str, tmp_path: Path) -> None:
    c = campaign(store)
    stop, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        own = open_store(url)
        while not stop.is_set():
            written += 1
            with own.transaction(c) as tx:  # both or neither
                tx.set_campaign(c, reason=str(written))
                tx.event(c, "note", "x" * 200, float(written))
        own.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while written < 20:
            time.sleep(0.01)
        target = tmp_path / "a copy.db"
        for force in (False, True):
            seen = written
            assert store.backup(target, force) == target.stat().st_size > 0
            with pytest.raises(UsageError, match="exists already"):
                store.backup(target)
    finally:
        stop.set()
        writer.join()
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == ["a copy.db"]
    copied = _restored(url, target)
    assert copied.uid == store.uid and copied.faults() == store.faults() == []
    count = len(copied.events(c))
    assert copied.campaign(c).reason == str(count) and seen - 1 <= count <= written
    copied.close()


def _restored(url: str, file: Path) -> Store:
    if url.startswith("sqlite"):
        return open_store(f"sqlite:///{file}")
    server, name = url.rpartition("/")[0], f"rea_{next(fresh)}"
    import psycopg

    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    subprocess.run(["pg_restore", "--dbname", f"{server}/{name}", str(file)], check=True)
    return open_store(f"{server}/{name}")


# what a wake reads of a large campaign


JUDGED = (
    HypothesisState.SUPPORTED,
    HypothesisState.INCONCLUSIVE,
    HypothesisState.REFUTED,
    HypothesisState.FAILED,
    HypothesisState.VETOED,
    HypothesisState.LEFT_OUT,
)


def searched(store: Store, count: int) -> int:
    """A campaign with so many judged hypotheses, each with two runs that have ended, and one that waits."""
    c = campaign(store, f"large {next(fresh)}", 1e6)
    for n in range(count):
        base = Treatment({"optim.lr": 0.1}) if n and n % 7 == 0 else Treatment()
        draft = replace(idea(**{"optim.lr": 0.1 + n}), base=base, kind=tuple(HypothesisKind)[n % 3])
        with store.transaction(c) as tx:
            (of,) = tx.add_hypotheses(c, 1 + n % 2, [draft])
            phase = (Phase.VALIDATION, Phase.EXPLOITATION)[n % 2]
            drafts = [
                replace(training(f"H-{of}/{s}", of), phase=phase, round=1 + n % 2, treatment=draft.full) for s in (1, 2)
            ]
            runs = tx.add_runs(c, drafts)
        for run in runs:
            end(store, c, intend(store, c, run), 1.0 + n % 5)
            force(store, "runs", run, RunState.SUCCEEDED)
        with store.transaction(c) as tx:
            tx.set_hypothesis(of, belief=Belief(0.001 * (n % 11), 0.001))
        force(store, "hypotheses", of, JUDGED[n % len(JUDGED)])
    with store.transaction(c) as tx:
        tx.add_hypotheses(c, 1, [idea(**{"optim.lr": 0.01})])
    return c


def test_what_a_decision_looks_at_and_what_is_closed_are_together_all_there_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "MOST", 12)
    monkeypatch.setattr(working, "BEST", 4)
    monkeypatch.setattr(working, "LATEST", 5)
    c = searched(store, 11)
    assert store.working_rows(c) == store.snapshot_rows(c), "twelve are all looked at"
    c = searched(store, 40)
    whole, rows = store.snapshot_rows(c), store.working_rows(c)
    seen = {h.id: h for h in rows.hypotheses}
    assert len(seen) < len(whole.hypotheses) and seen == {h.id: h for h in whole.hypotheses if h.id in seen}
    assert rows.campaign == whole.campaign and rows.balance == whole.balance
    assert rows.runs == tuple(run for run in whole.runs if run.draft.hypothesis in seen)
    assert rows.attempts == tuple(a for a in whole.attempts if a.run in {run.id for run in rows.runs})
    # Of the others: what they took, how many they are, and what they train.
    gone = [h for h in whole.hypotheses if h.id not in seen]
    spent: Counter[tuple[int, Phase]] = Counter()
    for run in whole.runs:
        if run.draft.hypothesis not in seen:
            spent[run.draft.round, run.draft.phase] += sum(a.device_s for a in whole.attempts if a.run == run.id)
    assert rows.closed.spent == pytest.approx(dict(spent)) and len(spent) > 1
    passed = (HypothesisState.VETOED, HypothesisState.LEFT_OUT)
    assert rows.closed.tried == Counter((h.round, h.draft.kind) for h in gone if h.state not in passed)
    assert all(rows.closed.has(h.draft.full) != (h.id in seen) for h in whole.hypotheses)
    # What is open is looked at, the newest are, and so is whatever these are built on.
    assert {h.id for h in whole.hypotheses[-5:]} <= set(seen)
    made = {h.draft.full.key(): h.id for h in whole.hypotheses}
    assert {made[h.draft.base.key()] for h in rows.hypotheses if not h.draft.base.empty} <= set(seen)
    with store.transaction(c) as tx:
        (run,) = tx.add_runs(c, [training("again", gone[0].id)])
    again = store.working_rows(c)
    assert gone[0].id in {h.id for h in again.hypotheses} and run in {r.id for r in again.runs}


def test_what_is_closed_stays_closed_while_the_newest_come(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOST": 12, "BEST": 4, "LATEST": 5}.items():
        monkeypatch.setattr(working, name, value)
    c = searched(store, 30)
    before = store.working_rows(c).closed
    for n in range(3):
        with store.transaction(c) as tx:
            tx.add_hypotheses(c, 1, [idea(**{"optim.lr": 50.0 + n})])
        assert store.working_rows(c).closed is before


def test_a_ledger_that_is_read_on_adds_up_to_what_it_adds_up_to_from_its_beginning(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MOST": 3, "MOST_ENTRIES": 4}.items():
        monkeypatch.setattr(working, name, value)
    c = searched(store, 5)
    for n in range(6):
        (run,) = planned(store, c, f"more {n}")
        attempt = intend(store, c, run, 10.0)
        assert store.working_rows(c).balance == balance(store.entries(c))
        with pytest.raises(ZeroDivisionError), store.transaction(c) as tx:
            tx.end_attempt(attempt, outcome="failed", failure=None, device_s=9.0, started_at=3.0, ended_at=4.0)
            assert tx.balance(c) == balance(tx.entries(c))
            raise ZeroDivisionError
        assert store.working_rows(c).balance == balance(store.entries(c)) == store.balance(c)
        if n % 2:
            end(store, c, attempt, 3.0)


def test_rows_that_are_read_again_are_those_of_now_whoever_wrote_in_between(store: Store, url: str) -> None:
    c = campaign(store)
    other = open_store(url)
    first = store.working_rows(c)
    if url.startswith("sqlite"):
        assert store.working_rows(c) is first, "nothing was written"
    planned(store, c, "mine")
    assert len(store.working_rows(c).runs) == 1
    planned(other, c, "another process'")
    assert len(store.working_rows(c).runs) == 2
    with pytest.raises(ZeroDivisionError), store.transaction(c) as tx:
        tx.add_runs(c, [training("rolled back")])
        assert len(tx.working_rows(c).runs) == 3
        raise ZeroDivisionError
    assert len(store.working_rows(c).runs) == 2
    store.close()
    planned(other, c, "while it was closed")
    assert len(store.working_rows(c).runs) == 3
    other.close()
