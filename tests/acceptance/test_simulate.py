"""`rea simulate`: an engineer asks what a plan may come to before signing it."""

from __future__ import annotations

from rea.codebase.config import load
from support.desk import Desk


def test_a_drafted_plan_is_simulated_the_same_for_the_same_seed_and_nothing_is_written(desk: Desk) -> None:
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="20r", profile_runs=2)
    desk.keep(workspace, campaign, "optim.lr=0.01", "optim.schedule=cosine", "optim.embedding_l2=0.001")
    before = workspace.store.snapshot_rows(campaign.id)
    first, again = (desk.json("simulate", "C-1", "--campaigns", "10", "--seed", "4") for _ in range(2))
    for found in (first, again):
        # When it ends is told from now.
        del found["begins_at"], found["ends_at"]
    assert first == again and first["campaigns"] == 10 and first["plan"] == "P-2"
    assert 0 < first["device_s"]["p10"] <= first["device_s"]["p90"] <= first["budget_s"] + 1e-6
    said = desk.call("simulate", "C-1", "--campaigns", "10", "--weather", "calm", "--slots", "3").stdout
    assert "10 simulated campaigns on 3 slots" in said and "wall time" in said
    assert workspace.store.snapshot_rows(campaign.id) == before


def test_what_cannot_be_simulated_is_told_with_what_to_do(desk: Desk) -> None:
    workspace = desk.workspace()
    codebase = load(desk.root)
    workspace.store.create_campaign(
        name="early", codebase=codebase, commit="c0ffee", env={}, options={"budget": "20r"}, at=0.0
    )
    for words, code, told in (
        (("C-9",), 3, "C-9"),
        (("C-1",), 3, "C-1 (profiling) has no plan"),
        (("C-1", "--weather", "fog"), 2, "calm, usual, storm"),
        (("C-1", "--slots", "0"), 2, "--slots 0"),
        (("C-1", "--campaigns", "3"), 2, "too few"),
    ):
        done = desk.call("simulate", *words)
        assert done.returncode == code and told in done.stderr, (words, done)
