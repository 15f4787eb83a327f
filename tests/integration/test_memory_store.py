"""The store in memory keeps the promises of the real one: whatever is asked of both, both give the same answer."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rea.domain.campaign import Campaign
from rea.domain.errors import ReaError
from rea.domain.hypothesis import Belief, HypothesisDraft
from rea.domain.ledger import Purse
from rea.domain.run import Failure, RunDraft
from rea.domain.states import CampaignState, HypothesisState, Phase, RunState
from rea.domain.treatment import Treatment
from rea.simulation.memory import MemoryStore
from rea.store import Store, open_store
from support.world import tiny_codebase

NAMES = "abcd"
SECONDS = st.sampled_from([0.0, 1.0, 7.5, 40.0])


class TornError(Exception):
    """Somebody dies in the middle of a transaction."""


class BothStores(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rea-both-"))
        self.real: Store = open_store(f"sqlite:///{self.folder / 'rea.db'}")
        made = self.real.create_campaign(
            name="both", codebase=tiny_codebase(), commit="c0ffee", env={}, options={"budget": "1r"}, at=1.0
        )
        self.memory = MemoryStore()
        self.memory.create(
            Campaign(
                made.id, made.name, made.codebase, made.commit, made.state, made.round, Phase.PROFILE, 1.0, {},
                made.options,
            )
        )  # fmt: skip
        self.campaign, self.now = made.id, 1.0
        self.fences: list[int] = []

    def teardown(self) -> None:
        if hasattr(self, "real"):
            self.real.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def both(self, name: str, *words: Any, fence: int | None = None, torn: bool = False, **more: Any) -> None:
        """One transaction on either store; what they say to it must be the same."""
        said = []
        for store in (self.real, self.memory):
            try:
                with store.transaction(self.campaign, fence) as tx:
                    answer = getattr(tx, name)(*words, **more)
                    if torn:
                        raise TornError
            except (ReaError, TornError) as error:
                answer = type(error)
            said.append(answer)
        assert said[0] == said[1], (name, words, more, said)

    # ------------------------------------------------------------ leases

    @rule(owner=st.sampled_from(["host:a", "host:b"]), ttl=st.sampled_from([5.0, 60.0]))
    def acquire(self, owner: str, ttl: float) -> None:
        found = [store.acquire(self.campaign, owner, ttl, self.now) for store in (self.real, self.memory)]
        assert found[0] == found[1]
        if found[0] is not None:
            self.fences.append(found[0])

    @precondition(lambda self: self.fences)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        fence = data.draw(st.sampled_from(self.fences))
        for store in (self.real, self.memory):
            store.release(self.campaign, fence)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # ------------------------------------------------------------ rows

    @rule(names=st.lists(st.sampled_from(NAMES), max_size=3), torn=st.booleans(), data=st.data())
    def add_runs(self, names: list[str], torn: bool, data: Any) -> None:
        drafts = [RunDraft(n, None, 1, Phase.VALIDATION, Treatment(), 1, 1.0, 5.0, 9.0) for n in names]
        fence = data.draw(st.sampled_from([None, *self.fences]))
        self.both("add_runs", self.campaign, drafts, fence=fence, torn=torn)

    @rule(names=st.lists(st.sampled_from(NAMES), max_size=2), round_=st.integers(1, 2))
    def add_hypotheses(self, names: list[str], round_: int) -> None:
        drafts = [HypothesisDraft(n, "", Treatment({f"model.{n}": 1}), Belief(0.0, 0.001)) for n in names]
        self.both("add_hypotheses", self.campaign, round_, drafts)

    @precondition(lambda self: self.memory.page(self.campaign).hypotheses)
    @rule(data=st.data(), state=st.sampled_from(HypothesisState))
    def set_hypothesis(self, data: Any, state: HypothesisState) -> None:
        self.both("set_hypothesis", data.draw(self.ids("hypotheses")), state=state, reason="so")

    @rule(state=st.sampled_from(CampaignState))
    def set_campaign(self, state: CampaignState) -> None:
        self.both("set_campaign", self.campaign, state=state)

    @rule(device_s=st.sampled_from([0.0, 10.0, 100.0]))
    def set_limit(self, device_s: float) -> None:
        self.both("set_limit", self.campaign, device_s, self.now, "signed")

    def ids(self, what: str) -> st.SearchStrategy[int]:
        return st.sampled_from(sorted(getattr(self.memory.page(self.campaign), what)))

    @precondition(lambda self: self.memory.page(self.campaign).runs)
    @rule(data=st.data(), state=st.sampled_from(RunState))
    def set_run(self, data: Any, state: RunState) -> None:
        self.both("set_run", data.draw(self.ids("runs")), state=state, not_before=3.0)

    @precondition(lambda self: self.memory.page(self.campaign).runs)
    @rule(data=st.data(), reserve=SECONDS, torn=st.booleans())
    def intend_attempt(self, data: Any, reserve: float, torn: bool) -> None:
        run = data.draw(self.ids("runs"))
        job = f"job-{len(self.memory.page(self.campaign).attempts)}"
        more = {"job": job, "run_dir": "/nowhere", "reserve_s": reserve, "at": self.now}
        self.both("intend_attempt", run, torn=torn, **more)

    @precondition(lambda self: self.memory.page(self.campaign).attempts)
    @rule(data=st.data())
    def submitted(self, data: Any) -> None:
        self.both("submitted", data.draw(self.ids("attempts")))

    @precondition(lambda self: self.memory.page(self.campaign).attempts)
    @rule(data=st.data(), used=SECONDS, failed=st.booleans(), purse=st.sampled_from(Purse))
    def end_attempt(self, data: Any, used: float, failed: bool, purse: Purse) -> None:
        failure = Failure("lost", "T", "gone") if failed else None
        more = {"outcome": "lost", "failure": failure, "device_s": used, "started_at": 2.0, "ended_at": 4.0}
        self.both("end_attempt", data.draw(self.ids("attempts")), purse=purse, **more)

    # ------------------------------------------------------------ what both hold

    @invariant()
    def both_hold_the_same(self) -> None:
        if not hasattr(self, "real"):
            return
        one, other = (store.snapshot_rows(self.campaign) for store in (self.real, self.memory))
        assert one.campaign == other.campaign
        assert one.hypotheses == other.hypotheses and one.runs == other.runs and one.attempts == other.attempts
        assert one.balance == other.balance
        assert self.real.due(self.now) == self.memory.due(self.now)


TestBothStores = BothStores.TestCase
TestBothStores.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
