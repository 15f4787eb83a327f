"""What commands print for people."""

from __future__ import annotations

from dataclasses import replace

from report_samples import sample_view

from rea.cli.views import WIDEST, hypothesis_table, run_table
from rea.domain.run import Run, RunDraft
from rea.domain.states import Phase, RunState
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


def test_a_reveal_is_listed_as_the_sealed_split_and_not_as_a_training() -> None:
    draft = RunDraft("reveal", 1, 1, Phase.REVEAL, Treatment(), 0, 1.0, 9.0, 9.0)
    (row,) = run_table([Run(9, 1, draft, RunState.ACTIVE)]).splitlines()[2:]
    assert "the sealed split" in row and "baseline" not in row and " 0 " not in row
