"""A codebase that describes its data: the plan holds it, and a description that fails costs nothing else."""

import json

from rea.domain.data import DataField
from rea.domain.plan import read_plan
from rea.domain.states import CampaignState

ASKED = {'style = "toml"': 'style = "toml"\nprofile = "{python} describe.py --config {config}"'}
DATA = {
    "rows": {"train": 9000, "valid": 4000},
    "positive_rate": 0.25,
    "fields": [{"name": "ad", "kind": "categorical", "cardinality": 400, "rare_rows": 0.41, "drift": 0.3}],
}


def planned(desks, code: str):
    desk = desks(toml=ASKED)
    (desk.root / "describe.py").write_text(code)
    desk.commit("describe the data")
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="90s", profile_runs=2)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    plan = read_plan(workspace.store.latest_plan(campaign.id))
    told = [event.message for event in workspace.store.events(campaign.id) if event.kind == "data"]
    return desk, plan, told


def test_what_the_codebase_tells_is_in_the_plan_and_becomes_symptoms(desks):
    desk, plan, told = planned(desks, f"import json; print(json.dumps({json.loads(json.dumps(DATA))!r}))")
    assert plan.baseline.data.fields == (DataField("ad", "categorical", 400, rare_rows=0.41, drift=0.3),)
    found = {symptom.name: symptom for symptom in plan.symptoms}
    assert "41% of ad's rows carry ids seen fewer than ten times in train" in found["rare_ids"].words
    assert "drift" in found and told == []
    assert "41% of ad's rows" in " ".join(desk.call("plan", "show", "C-1").stdout.split())


def test_a_description_that_fails_is_told_once_and_the_plan_is_made_without_it(desks):
    _, plan, told = planned(desks, "raise SystemExit('the warehouse does not answer')")
    assert plan.baseline.data is None and plan.hypotheses
    (message,) = told
    assert message.startswith("the profile command ended with 1: the warehouse does not answer")
    assert message.endswith("the diagnosis goes by the curves alone")
