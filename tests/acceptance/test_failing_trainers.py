"""Trainers that die, hang, lie or say nothing: for the baseline a clear end, for a hypothesis its own end alone."""

import pytest

from rea.domain.plan import read_plan
from rea.domain.states import CampaignState, HypothesisState, PauseReason, RunState, Verdict
from rea.workspace import planning, steering
from support.desk import opened, within_limit

TWO_SLOTS = {"slots = 1": "slots = 2", 'walltime = "20s"': 'walltime = "6s"'}

BASELINE = {
    "die": "The trainer raised an exception: train ended with exit code 1",
    "hang": "it hung",
    "silent": "metrics.jsonl holds 2 JSON lines, none with",
    "mute": "metrics.jsonl is empty",
    "stdout": "while train.log in the run's directory has such a line; append one",
    "garbage": "metrics.jsonl holds no JSON object: 40 lines are",
    "nan": "NaN",
    "memory": "memory",
    "no_predictions": "1/evaluate.log",
    "short": "predictions and rows differ in number",
    "miscount": "the evaluator judged 4000 rows, the trainer has 50000",
    "cheat": "the evaluator found",
}


@pytest.mark.parametrize("kind", BASELINE)
def test_a_baseline_that_does_not_train_ends_the_campaign_with_its_reason(desks, kind):
    desk = desks(config={"fault.plan": [f"always:{kind}"]}, toml=TWO_SLOTS)
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    assert campaign.state is CampaignState.FAILED, campaign
    assert "the baseline gives no result" in campaign.reason
    assert BASELINE[kind].lower() in campaign.reason.lower()
    runs = workspace.store.runs(campaign.id)
    assert any(run.state is RunState.FAILED and run.failure for run in runs)
    assert "would fit too" not in campaign.reason and "REA saw" not in campaign.reason
    assert f"→ `rea logs {runs[0].name}`" in campaign.reason or f"→ `rea logs {runs[1].name}`" in campaign.reason
    told = [event for event in workspace.store.events(campaign.id) if campaign.reason.split(": ")[-1] in event.message]
    assert len(told) <= 1
    within_limit(workspace, campaign.id)
    assert not [entry for entry in workspace.store.entries(campaign.id) if entry.note.startswith("used")], "an overrun"


@pytest.mark.parametrize(("kind", "says"), [("die", "KeyError"), ("hang", "raise `walltime`"), ("nan", "diverged")])
def test_the_first_run_that_fails_as_every_other_would_ends_the_profile(desks, kind, says):
    desk = desks(config={"fault.plan": [f"always:{kind}"]}, toml={'walltime = "20s"': 'walltime = "1s"'})
    workspace = desk.workspace()
    done = desk.call("plan", "--profile-runs", "3")
    assert done.returncode == 1
    assert f"{done.stdout}{done.stderr}".count(says) == 1, "what happened is said once"
    assert "\n  → `rea logs R-1`" in done.stdout
    runs, attempts = workspace.store.runs(1), workspace.store.attempts(1)
    assert [run.state for run in runs] == [RunState.FAILED, RunState.CANCELLED, RunState.CANCELLED]
    assert len(attempts) == 1
    assert runs[0].failure.detail and runs[0].failure.detail in desk.call("logs", "R-1").stdout


SMOKE = {"evaluate = ": 'smoke = "{python} train.py --config {config} --seed {seed} --epochs 1"\nevaluate = '}


def test_a_smoke_run_comes_first_and_what_it_meets_no_other_run_has_to(desks):
    desk = desks(config={"fault.plan": ["always:no_predictions"]}, toml={**TWO_SLOTS, **SMOKE})
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    assert campaign.state is CampaignState.FAILED and "evaluator" in campaign.reason, campaign.reason
    runs = workspace.store.runs(campaign.id)
    assert [run.draft.key for run in runs] == ["smoke", "baseline/seed-1", "baseline/seed-2"]
    assert [run.state for run in runs] == [RunState.FAILED, RunState.CANCELLED, RunState.CANCELLED]
    assert {attempt.run for attempt in workspace.store.attempts(campaign.id)} == {runs[0].id}


def test_a_smoke_run_that_goes_well_measures_nothing(desks):
    desk = desks(toml={**TWO_SLOTS, **SMOKE})
    workspace = desk.workspace()
    campaign = desk.plan(workspace, profile_runs=2)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    smoke, *others = workspace.store.attempts(campaign.id)
    assert all(other.intended_at >= smoke.ended_at for other in others) and len(others) == 2
    results = {run.draft.key: run.result for run in workspace.store.runs(campaign.id)}
    assert len(results["smoke"].curve) == 1 < len(results["baseline/seed-1"].curve)
    baseline = read_plan(workspace.store.latest_plan(campaign.id)).baseline
    assert baseline.seeds == (1, 2)
    assert list(baseline.values) == [results[f"baseline/seed-{seed}"].metrics["ne"] for seed in (1, 2)]


def test_a_trainer_that_ignores_its_seed_ends_the_campaign_with_what_to_change(desks):
    desk = desks(config={"fault.plan": ["always:seedless"]}, toml=TWO_SLOTS)
    campaign = desk.plan(desk.workspace(), profile_runs=2)
    assert campaign.state is CampaignState.FAILED
    assert "does not use its seed" in campaign.reason
    assert "{seed}" in campaign.reason


# Each setting fails in its own way; the last two are sound.
FAULTS = {
    "model.normalization=layer": "die",
    "model.normalization=batch": "silent",
    "optim.schedule=plateau": "nan",
    "optim.schedule=linear": "garbage",
    "features.numeric_encoding=standardize": "ignore",
    "features.numeric_encoding=log_bucket": "ignore_openly",
    "model.dropout=0.3": "memory",
    "model.dropout=0.4": "short",
    "model.embedding_dim=16": "cheat",
    "train.batch_size=4096": "no_predictions",
    "train.batch_size=2048": "hang",
}
SOUND = ("optim.embedding_l2=1e-5", "features.numeric_encoding=log")
WORDS = {
    "ignore": "ignored",
    "ignore_openly": "but the trainer used",
    "cheat": "the evaluator found",
    "nan": "nan",
    "hang": "it hung",
    "memory": "memory",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    plan = [f"{setting}:{kind}" for setting, kind in FAULTS.items()] + ["features.numeric_encoding=log:hiccup"]
    toml = {**TWO_SLOTS, "minimum_gain = 0.0005": "minimum_gain = 0.004"}
    with opened(tmp_path_factory.mktemp("broken") / "home", config={"fault.plan": plan}, toml=toml) as desk:
        workspace = desk.workspace()
        campaign = desk.plan(workspace, budget="300s", rounds=1, profile_runs=2)
        assert campaign.state is CampaignState.DRAFTED, campaign.reason
        split = {"validation": 0.7, "combination": 0.29, "exploitation": 0.01}
        desk.keep(workspace, campaign, *FAULTS, *SOUND, split=split)
        desk.approve(workspace, campaign)
        campaign = desk.run(workspace, campaign)
        yield desk, workspace, campaign


def of(workspace, campaign, setting):
    key = planning.parse_treatment(campaign.codebase, [setting]).key()
    return next(h for h in workspace.store.hypotheses(campaign.id) if h.draft.treatment.key() == key)


@pytest.mark.parametrize("setting", FAULTS)
def test_a_treatment_that_cannot_be_trained_fails_alone(broken, setting):
    _, workspace, campaign = broken
    hypothesis = of(workspace, campaign, setting)
    assert hypothesis.state is HypothesisState.FAILED, (hypothesis.state, hypothesis.reason)
    assert WORDS.get(FAULTS[setting], "") in hypothesis.reason.lower()
    runs = [run for run in workspace.store.runs(campaign.id) if run.draft.hypothesis == hypothesis.id]
    assert runs and all(run.failure is not None and run.result is None for run in runs)


def test_the_campaign_goes_on_without_them(broken):
    _, workspace, campaign = broken
    assert campaign.state is CampaignState.FINISHED and campaign.verdict is Verdict.LAUNCH, campaign.reason
    finalist = workspace.store.hypothesis(campaign.incumbent)
    bad = {tuple(setting.split("=", 1)) for setting in FAULTS}
    assert not {(k, str(v)) for k, v in finalist.draft.full.overrides.items()} & bad
    within_limit(workspace, campaign.id)


def test_a_storage_that_went_away_is_tried_again_and_charged_to_the_contingency(broken):
    _, workspace, campaign = broken
    attempts = workspace.store.attempts(campaign.id)
    good = {run.id for run in workspace.store.runs(campaign.id) if run.state is RunState.SUCCEEDED}
    again = [x for x in attempts if x.number == 2 and x.run in good]
    assert again and max(x.number for x in attempts) <= 3
    assert workspace.store.balance(campaign.id).contingency_spent > 0


def test_failures_teach_the_insights_and_infrastructure_does_not(broken):
    _, workspace, _ = broken
    records = {record.hypothesis: record for record in workspace.store.experiments()}
    assert all(record.failure != "tiny-hiccup" for record in records.values() if record.outcome == "failed")
    assert any(record.outcome == "failed" for record in records.values())


def test_an_evaluator_that_dies_over_the_baseline_is_named_with_its_log(desks):
    desk = desks(toml=TWO_SLOTS)
    judge = desk.root / "evaluate.py"
    judge.write_text(judge.read_text().replace("    args = parser.parse_args()", "    args = parser.prase_args()"))
    desk.commit("A slip of the pen")
    done = desk.rea("plan", "--budget", "60s", "--profile-runs", "2")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert ": The evaluator failed" in done.stdout
    assert "evaluate.log" in done.stdout and "AttributeError" in done.stdout
    runs = desk.workspace().store.runs(1)
    assert {run.failure.runbook for run in runs} == {"evaluator-failed"}


def test_an_evaluator_that_breaks_in_mid_campaign_holds_it_and_what_it_missed_is_tried_again(desks):
    desk = desks(toml=TWO_SLOTS)
    labels = desk.home / "labels"
    labels.write_text("there")
    judge = desk.root / "evaluate.py"
    judge.write_text(judge.read_text().replace("    args =", f"    Path({str(labels)!r}).read_text()\n    args =", 1))
    desk.commit("Labels lie elsewhere")
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="60s", rounds=1, profile_runs=2)
    desk.keep(workspace, campaign, *SOUND, "model.normalization=batch")
    desk.approve(workspace, campaign)
    labels.rename(labels.with_name("elsewhere"))
    campaign = desk.run(workspace, campaign)
    assert campaign.state is CampaignState.PAUSED and campaign.pause_reason is PauseReason.GUARDRAIL
    assert "The evaluator failed" in campaign.reason and "evaluate.log" in campaign.reason
    runs = workspace.store.runs(campaign.id)
    assert sum(run.state is RunState.FAILED for run in runs) == 1, "one may be its treatment's own fault, two are not"
    waiting = [run.id for run in runs if run.state is RunState.PLANNED and run.failure is not None]
    assert waiting
    labels.with_name("elsewhere").rename(labels)
    steering.resume(workspace, campaign.title)
    campaign = desk.follow(workspace, campaign.id)
    assert campaign.state is CampaignState.FINISHED, campaign.reason
    assert all(workspace.store.run(id_).state is RunState.SUCCEEDED for id_ in waiting)
    assert all(record.outcome != "failed" for record in workspace.store.experiments())
    within_limit(workspace, campaign.id)
