"""What a launch hands over: its claim, its branch, and a command that trains the very same model again."""

import json
import subprocess

import pytest

from rea.domain.states import CampaignState, PauseReason, Phase, RunState, Verdict
from rea.workspace import governance, steering
from rea.workspace.proposal import view
from support.desk import opened, within_limit

LAUNCH = """
run = pathlib.Path(os.environ["REA_RUN_DIR"])
text = pathlib.Path("config.toml").read_text()
for key, value in (("embedding_l2", l2), ("schedule", f'"{schedule}"'), ("numeric_encoding", f'"{encoding}"')):
    text = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
(run / "made.toml").write_text(text)
sys.argv = ["train.py", "--config", str(run / "made.toml"), "--seed", str(seed)]
import train
train.main()
"""
SETTINGS = {
    "argparse": """
import argparse, os, pathlib, re, sys
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int)
parser.add_argument("--l2", type=float, default=0.0)
parser.add_argument("--schedule", default="constant")
parser.add_argument("--encoding", default="raw")
args = parser.parse_args()
seed, l2, schedule, encoding = args.seed, args.l2, args.schedule, args.encoding
""",
    "env": """
import os, pathlib, re, sys
l2, schedule = float(os.environ.get("L2", "0.0")), os.environ.get("SCHEDULE", "constant")
encoding, seed = os.environ.get("ENCODING", "raw"), os.environ["REA_SEED"]
""",
}
NAMES = {
    "toml": ("optim.embedding_l2", "optim.schedule", "features.numeric_encoding"),
    "argparse": ("l2", "schedule", "encoding"),
    "env": ("L2", "SCHEDULE", "ENCODING"),
}
COMMANDS = {
    "toml": "{python} train.py --config {config} --seed {seed}",
    "argparse": "{python} launch.py --seed {seed}",
    "env": "{python} launch.py",
}


def restyle(desk, style, *, sealed=""):
    """The tiny codebase as one whose settings come from a file, from flags or from variables, not from elsewhere."""
    head = (desk.root / "rea.toml").read_text().split("[knobs]")[0]
    text = head.replace(COMMANDS["toml"], COMMANDS[style]).replace('style = "toml"', f'style = "{style}"')
    text = text.replace("slots = 1", "slots = 2").replace('sealed = "test"\n', sealed)
    text = text if style == "toml" else text.replace('config = "config.toml"\n', "")
    l2, schedule, encoding = NAMES[style]
    text += f"""[knobs]
"{l2}" = {{ role = "embedding_l2", type = "float", range = [0.0, 0.1], default = 0.0 }}
"{schedule}" = {{ role = "lr_schedule", choices = ["constant", "linear", "cosine"], default = "constant" }}
"{encoding}" = {{ role = "numeric_encoding", choices = ["raw", "log"], default = "raw" }}
"""
    (desk.root / "rea.toml").write_text(text)
    if style in SETTINGS:
        (desk.root / "launch.py").write_text(SETTINGS[style] + LAUNCH)
    desk.commit("Settings come from elsewhere")


def planned(desk, workspace, style):
    campaign = desk.plan(workspace, budget="60s", rounds=1, profile_runs=2)
    assert campaign.state is CampaignState.DRAFTED, campaign.reason
    l2, schedule, encoding = NAMES[style]
    desk.keep(workspace, campaign, f"{l2}=1e-05", f"{schedule}=cosine", f"{encoding}=log")
    return campaign


@pytest.mark.parametrize("style", NAMES)
def test_the_printed_command_trains_the_proposal_again_and_the_claim_is_the_visible_one(tmp_path, style):
    with opened(tmp_path / "a desk; it's mine") as desk:
        restyle(desk, style)
        workspace = desk.workspace()
        campaign = planned(desk, workspace, style)
        governance.preflight(workspace, campaign.title, ("sealed",))
        desk.approve(workspace, campaign)
        campaign = desk.run(workspace, campaign)
        assert campaign.verdict is Verdict.LAUNCH, campaign.reason

        gain = f"{campaign.claim.gain:+.2%} on valid"
        subject = desk.git("log", "-1", "--format=%s", f"rea/{campaign.name}")
        assert subject == f"{campaign.name}: H-{campaign.incumbent} gains {gain}"
        page = desk.call("report", campaign.title, "--md").stdout
        kept = tmp_path / "kept.md"
        desk.call("report", campaign.title, "--md", "-o", str(kept))
        assert kept.read_text().strip() == page.strip()
        assert "on the visible split" in page and "Sealed split" not in page and page.count("Visible split") == 1

        shown = view(workspace, campaign.id)
        assert shown.reproduction in page
        done = subprocess.run(["bash", "-c", shown.reproduction], capture_output=True, text=True, env=desk.env)
        assert done.returncode == 0, (shown.reproduction, done.stderr)
        assert desk.git("status", "--porcelain") == "", "training it again leaves the checkout clean"
        lines = (workspace.runs / workspace.store.uid / campaign.title / "reproduction/metrics.jsonl").read_text()
        final = json.loads(lines.splitlines()[-1])
        seed = campaign.claim.seeds[0]
        (treated,) = [
            run
            for run in shown.runs
            if run.draft.seed == seed and run.draft.hypothesis == campaign.incumbent and run.result is not None
        ]
        assert final["final"] and final["ne"] == pytest.approx(treated.result.metrics["ne"], rel=1e-9)

        # What a merge brings: the next campaign's baseline is this proposal, but where only variables say it.
        changed = desk.git("diff", "--name-only", "main", f"rea/{campaign.name}")
        assert changed == {"toml": "config.toml", "argparse": "rea.toml", "env": "rea-treatment.env"}[style]
        if style == "argparse":
            changed = desk.git("diff", "--unified=0", "main", f"rea/{campaign.name}").splitlines()[-2:]
            assert [line[:9] for line in changed] == ["-train = ", "+train = "]
            assert "{python} launch.py --seed {seed} --" in changed[1]
        body = desk.git("log", "-1", "--format=%b", f"rea/{campaign.name}")
        assert style == "toml" or "is trained:" in body


def test_a_sealed_evaluator_that_fails_is_tried_at_every_resumption_and_the_pause_says_the_ways_out(desk):
    there = desk.home / "labels"
    judge = desk.root / "evaluate.py"
    check = f'    if args.split == "test":\n        Path({str(there)!r}).read_text()\n'
    head, tail = judge.read_text().split("    args = parser.parse_args()\n")
    judge.write_text(f"{head}    args = parser.parse_args()\n{check}{tail}")
    restyle(desk, "toml", sealed='sealed = "test"\n')
    workspace = desk.workspace()
    campaign = planned(desk, workspace, "toml")
    desk.approve(workspace, campaign)
    campaign = desk.run(workspace, campaign)
    for tried in (1, 2, 3, 4):
        assert campaign.state is CampaignState.PAUSED and campaign.pause_reason is PauseReason.GUARDRAIL
        (run,) = [run for run in workspace.store.runs(campaign.id) if run.draft.phase is Phase.REVEAL]
        attempts = [attempt for attempt in workspace.store.attempts(campaign.id) if attempt.run == run.id]
        assert run.state is RunState.PLANNED and len(attempts) == tried, "once per resumption"
        for said in (".log", "`rea resume C-1`", "`rea stop C-1`"):
            assert said in campaign.reason, said
        if tried == 4:
            there.write_text("mended")
        steering.resume(workspace, campaign.title)
        campaign = desk.follow(workspace, campaign.id)
    assert campaign.verdict is Verdict.LAUNCH, campaign.reason
    assert campaign.claim.split == "test"
    within_limit(workspace, campaign.id)


def test_a_branch_that_is_in_a_proposals_way_is_an_engineers_to_move_and_status_and_inbox_say_so(desk):
    restyle(desk, "toml")
    workspace = desk.workspace()
    campaign = planned(desk, workspace, "toml")
    desk.git("branch", f"rea/{campaign.name}")
    governance.preflight(workspace, campaign.title, ("sealed",))
    desk.approve(workspace, campaign)
    paused = desk.run(workspace, campaign)
    assert paused.state is CampaignState.PAUSED and paused.pause_reason is PauseReason.GUARDRAIL
    for command in (("status", campaign.title), ("inbox",)):
        told = desk.call(*command).stdout
        assert f"git branch -m rea/{campaign.name}" in told and f"rea resume {campaign.title}" in told, told
    trained = len(workspace.store.attempts(campaign.id))

    refused = steering.resume(workspace, campaign.title)
    assert refused.state is CampaignState.PAUSED, "it is there still"
    desk.git("branch", "-m", f"rea/{campaign.name}", f"rea/{campaign.name}-old")
    ended = steering.resume(workspace, campaign.title)
    assert ended.verdict is Verdict.LAUNCH, ended.reason
    assert desk.git("log", "-1", "--format=%s", f"rea/{campaign.name}").startswith(f"{campaign.name}: H-")
    assert len(workspace.store.attempts(campaign.id)) == trained
