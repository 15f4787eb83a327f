"""What commands print for people."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from report_samples import sample_view

from rea.cli.output import markdown
from rea.cli.views import WIDEST, hypothesis_table, run_table, status_text
from rea.domain.hypothesis import Belief
from rea.domain.run import Run, RunDraft
from rea.domain.states import CampaignState, Phase, RunState
from rea.domain.treatment import Treatment

LONG = Treatment({f"knob.number_{i}": i for i in range(12)})
SHORT = Treatment({"optim.lr": 0.01})


def test_text_that_is_cut_in_a_table_ends_with_an_ellipsis() -> None:
    view = sample_view()
    run, hypothesis = view.runs[0], view.hypotheses[0]
    for treatment, cut in ((LONG, True), (SHORT, False)):
        tables = (
            run_table([replace(run, draft=replace(run.draft, treatment=treatment))]),
            hypothesis_table([replace(hypothesis, draft=replace(hypothesis.draft, treatment=treatment, title="t"))]),
        )
        for table in tables:
            last = table.splitlines()[-1]
            assert last.endswith("…") is cut
            assert (treatment.describe() in last) is not cut
            assert len(last.split("  ")[-1]) <= WIDEST


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [100, 140])
def test_a_table_fits_the_terminal_and_is_whole_elsewhere(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hypothesis = sample_view().hypotheses[0]
    wide = replace(hypothesis, draft=replace(hypothesis.draft, treatment=LONG, title="t" * 60))
    whole = hypothesis_table([wide])
    assert max(map(len, whole.splitlines())) > 140
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout", Terminal())
    cut = hypothesis_table([wide])
    assert max(map(len, cut.splitlines())) <= columns
    assert hypothesis.name in cut and "treatment" in cut and "…" in cut


def test_a_plan_is_rendered_on_a_terminal_and_markdown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, raw in ((io.StringIO(), True), (Terminal(), False)):
        monkeypatch.setattr("sys.stdout", stream)
        markdown("**0.15 core-minutes** for widening\\_gap\n")
        assert ("**0.15" in stream.getvalue()) is raw and ("widening_gap" in stream.getvalue()) is not raw


def test_a_reveal_is_listed_as_the_sealed_split_and_not_as_a_training() -> None:
    draft = RunDraft("reveal", 1, 1, Phase.REVEAL, Treatment(), 0, 1.0, 9.0, 9.0)
    (row,) = run_table([Run(9, 1, draft, RunState.ACTIVE)]).splitlines()[2:]
    assert "the sealed split" in row and "baseline" not in row and " 0 " not in row


@pytest.mark.parametrize("room", [6, 9, 14, 40])
def test_a_status_fits_the_room_and_keeps_the_newest_events_and_the_best_hypotheses(room: int) -> None:
    view = sample_view()
    events = [replace(view.events[0], id=n, message=f"event {n}") for n in range(10)]
    judged = [replace(view.hypotheses[0], id=n, belief=Belief(0.001 * n, 0.001)) for n in range(1, 21)]
    text = {"id": "C-1", "name": "spring", "state": CampaignState.RUNNING, "round": 1, "phase": Phase.VALIDATION}
    text |= {
        "reason": "",
        "warning": "",
        "notices": [],
        "budget": "half",
        "gain": None,
        "runs": {"active": 1},
        "events": events,
    }
    job = {"run": "R-1", "of": "H-1", "what": "seed 1", "for_s": 5.0, "predicted_s": 9.0, "limit_s": 27.0}
    whole = text | {"running": [job], "hypotheses": judged}
    lines = status_text(whole, room).splitlines()
    assert len(lines) <= room and "event 9" in lines[-1]
    assert "  R-1 H-1 seed 1: 5 s of about 9 s, limit 27 s" in lines
    shown = [line.split()[0] for line in lines if line.startswith("H-")]
    assert shown == [f"H-{n}" for n in range(20, 20 - len(shown), -1)]
    assert (len(shown) == 10) is (room == 40)
    assert len(status_text(whole).splitlines()) > 20
