"""A wake that fails by something outside: what passes is forgotten, what lasts calls an engineer."""

from __future__ import annotations

from contextlib import suppress

import pytest

from rea.domain.errors import ConfigError, LauncherUnreachableError, ReaError
from rea.domain.states import CampaignState, PauseReason
from rea.executor.course import MOST_STUCK, STUCK, STUCK_S
from rea.simulation.response import sparse
from support.world import VALUES, World, techniques, tiny_codebase


def world() -> World:
    return World(3, sparse(techniques(), tiny_codebase(), VALUES, 3, 0.5), run_s=900.0, budget="40r", rounds=1)


def broken(monkeypatch: pytest.MonkeyPatch, made: World, error: ReaError) -> None:
    def asked(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(made.bench), "verify", asked)
    monkeypatch.setattr(type(made.bench), "report", asked)


def failing(made: World, times: int, apart_s: float) -> None:
    for _ in range(times):
        with suppress(ReaError):
            made.wake()
        made.now += apart_s


def test_a_campaign_whose_every_wake_fails_is_paused_with_what_stands_in_the_way(monkeypatch) -> None:
    made = world().profile().sign().start()
    made.wake()
    with monkeypatch.context() as patch:
        broken(patch, made, ConfigError("runbooks/mine.md has no class", hint="add one"))
        failing(made, MOST_STUCK, STUCK_S / MOST_STUCK)
        assert made.campaign.state is CampaignState.RUNNING, "that may pass within minutes"
        failing(made, 1, 0.0)
        found = made.campaign
        assert found.state is CampaignState.PAUSED and found.pause_reason is PauseReason.GUARDRAIL
        for said in ("runbooks/mine.md has no class", "add one", "`rea resume C-1`"):
            assert said in found.reason, found.reason
    made.change(state=CampaignState.RUNNING, pause_reason=None, reason="")
    made.finish()
    assert made.campaign.state is CampaignState.FINISHED, made.campaign.reason


def test_failures_that_pass_leave_nothing_behind_however_often_they_come(monkeypatch) -> None:
    made = world().profile().sign().start()
    for _ in range(2 * MOST_STUCK):
        with monkeypatch.context() as patch:
            broken(patch, made, ReaError("git failed"))
            failing(made, MOST_STUCK - 1, STUCK_S)
            assert STUCK in made.campaign.options
        made.wake()
        assert STUCK not in made.campaign.options and made.campaign.state is CampaignState.RUNNING
    assert not [event for event in made.events if event.startswith("paused")]


def test_a_flurry_of_failures_within_a_moment_pauses_nothing(monkeypatch) -> None:
    made = world().profile().sign().start()
    broken(monkeypatch, made, ReaError("git failed"))
    failing(made, 50, 1.0)
    assert made.campaign.state is CampaignState.RUNNING


def test_a_launcher_that_refuses_for_hours_is_no_failure_of_the_campaign(monkeypatch) -> None:
    made = world().profile().sign().start()
    broken(monkeypatch, made, LauncherUnreachableError("no space is left"))
    failing(made, 2 * MOST_STUCK, STUCK_S)
    assert made.campaign.state is CampaignState.RUNNING and STUCK not in made.campaign.options


def test_of_a_campaign_in_its_profile_the_reason_says_it_until_a_wake_comes_through(monkeypatch) -> None:
    made = world().begin()
    made.wake()
    until = made.launcher.next_end()
    assert until is not None
    made.now = max(made.now, until)
    with monkeypatch.context() as patch:
        broken(patch, made, ReaError("git failed"))
        failing(made, 2 * MOST_STUCK, STUCK_S)
        assert made.campaign.state is CampaignState.PROFILING
        assert "git failed" in made.campaign.reason and "`rea wake C-1`" in made.campaign.reason
        assert sum(event.startswith("stuck") for event in made.events) == 1
    made.wake()
    assert made.campaign.reason == "" and STUCK not in made.campaign.options
