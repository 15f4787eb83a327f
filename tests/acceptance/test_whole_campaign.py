"""A whole campaign of two rounds, from the plan to the proposal, with real processes, git and keys."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rea.domain.states import CampaignState, HypothesisState, Phase, RunState, Verdict
from rea.workspace import planning, proposal
from support.desk import opened, within_limit

KEPT = ("optim.embedding_l2", "optim.schedule", "features.numeric_encoding")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(desk, workspace, campaign) of one finished campaign; the tests below only look at it."""
    with opened(tmp_path_factory.mktemp("whole") / "home") as desk:
        before = desk.git("rev-parse", "HEAD")
        (desk.root / "notes.txt").write_text("mine\n")
        desk.git("add", "notes.txt")
        desk.git("commit", "--quiet", "--message", "notes")
        workspace = desk.workspace()
        campaign = desk.plan(workspace, budget="90s", rounds=2)
        assert campaign.state is CampaignState.DRAFTED, campaign.reason
        drop = [
            h.id
            for h in workspace.store.hypotheses(campaign.id)
            if "alternative" in h.draft.title or not set(h.draft.treatment.overrides) <= set(KEPT)
        ]
        # Ample time for few runs: how long each takes on a busy machine changes nothing.
        split = {"validation": 0.6, "combination": 0.39, "exploitation": 0.01}
        planning.edit(workspace, campaign.title, planning.Edit(drop=tuple(drop), split=split))
        desk.approve(workspace, campaign)
        campaign = desk.run(workspace, campaign)
        assert before != desk.git("rev-parse", "HEAD")
        yield desk, workspace, campaign


def test_it_ends_with_a_launch_that_the_sealed_split_supports(done):
    _, workspace, campaign = done
    assert campaign.state is CampaignState.FINISHED and campaign.verdict is Verdict.LAUNCH, campaign.reason
    assert campaign.round == 2 and campaign.phase is Phase.DONE
    assert campaign.claim.split == "test" and campaign.claim.ci_low > 0 and campaign.claim.gain > 0.01
    assert campaign.claim.se_rows is not None and 0 < campaign.claim.gap_closed < 1
    rounds = {run.draft.round for run in workspace.store.runs(campaign.id) if run.draft.phase is Phase.VALIDATION}
    assert rounds == {1, 2}


def test_the_branch_holds_exactly_the_change_and_the_checkout_is_untouched(done):
    desk, workspace, campaign = done
    branch = f"rea/{campaign.name}"
    assert desk.git("branch", "--show-current") == "main" and desk.git("status", "--porcelain") == ""
    assert desk.git("merge-base", "main", branch) == campaign.commit == desk.git("rev-parse", "main")
    assert desk.git("diff", "--name-only", "main", branch) == "config.toml"
    finalist = workspace.store.hypothesis(campaign.incumbent)
    changed = {}
    for line in desk.git("diff", "--unified=0", "main", branch, "--", "config.toml").splitlines():
        if line.startswith("+") and not line.startswith("+++"):
            key, value = re.match(r"\+(\w+) = ([^#]+)", line).groups()
            changed[key] = json.loads(value)
    wanted = {name.split(".")[1]: value for name, value in finalist.draft.full.overrides.items()}
    assert changed == wanted
    text = desk.git("show", f"{branch}:config.toml")
    assert "# found by hand, long ago" in text  # comments survive
    left = [line for line in desk.git("worktree", "list").splitlines() if str(desk.runs) not in line]
    assert len(left) == 1


def test_the_proposal_trains_to_what_was_claimed(done, tmp_path):
    desk, _, campaign = done
    claim = campaign.claim
    tree = tmp_path / "tree"
    desk.git("worktree", "add", "--quiet", "--detach", str(tree), f"rea/{campaign.name}")
    run = tmp_path / "run"
    command = [sys.executable, "train.py", "--config", "config.toml", "--seed", str(claim.seeds[0])]
    subprocess.run(command, cwd=tree, env={**desk.env, "REA_RUN_DIR": str(run)}, check=True)
    judge = [sys.executable, "evaluate.py", "--predictions", str(run / "predictions_test.npy"), "--split", "test"]
    said = subprocess.run(judge, cwd=tree, env=dict(desk.env), check=True, capture_output=True, text=True).stdout
    assert json.loads(said)["ne"] == pytest.approx(claim.treated_values[0], rel=1e-9)
    desk.git("worktree", "remove", "--force", str(tree))


def test_the_report_opens_offline(done):
    _, workspace, campaign = done
    html = proposal.report_path(workspace, campaign.id).read_text()
    assert "<svg" in html and campaign.name in html
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html, re.I)
    assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//|<script[^>]+src|<link\b", html, re.I)


def test_the_ledger_holds_at_every_entry(done):
    _, workspace, campaign = done
    within_limit(workspace, campaign.id)
    assert workspace.store.balance(campaign.id).reserved == 0


def test_no_model_is_trained_twice(done):
    _, workspace, campaign = done
    runs = workspace.store.runs(campaign.id)
    keys = [run.draft.key for run in runs]
    assert len(keys) == len(set(keys))
    trained = [(run.draft.treatment.key(), run.draft.seed) for run in runs if run.draft.phase is not Phase.REVEAL]
    assert len(trained) == len(set(trained))
    attempts = workspace.store.attempts(campaign.id)
    assert len(attempts) == sum(run.state is not RunState.CANCELLED for run in runs)
    assert len({attempt.job for attempt in attempts}) == len(attempts)


def test_the_sealed_split_is_evaluated_once_and_by_the_reveal_alone(done):
    desk, workspace, campaign = done
    reveals = [run for run in workspace.store.runs(campaign.id) if run.draft.phase is Phase.REVEAL]
    assert len(reveals) == 1 and reveals[0].state is RunState.SUCCEEDED
    asked = {}
    for path in desk.runs.rglob("job.json"):
        splits = [
            step["argv"][step["argv"].index("--split") + 1]
            for step in json.loads(path.read_text())["steps"]
            if "--split" in step["argv"]
        ]
        asked[path.parent.parent.name] = splits
    assert asked.pop(reveals[0].name) == ["test"] * 2 * len(campaign.claim.seeds)
    assert asked and all(splits == ["valid"] for splits in asked.values())
    opened_ = [e for e in workspace.store.events(campaign.id) if e.kind == "reveal"]
    assert len(opened_) == 1


def test_every_experiment_is_remembered(done):
    _, workspace, campaign = done
    told = {h.id for h in workspace.store.hypotheses(campaign.id) if h.belief is not None}
    remembered = {record.hypothesis for record in workspace.store.experiments()}
    judged = {
        h.id
        for h in workspace.store.hypotheses(campaign.id)
        if h.state in (HypothesisState.SUPPORTED, HypothesisState.REFUTED, HypothesisState.INCONCLUSIVE)
    }
    assert judged and judged <= remembered and told


READING = [
    ("status",),
    ("status", "C-1"),
    ("plan", "show", "C-1"),
    ("preflight", "C-1"),
    ("show", "C-1"),
    ("show", "H-1"),
    ("show", "R-1"),
    ("logs", "R-1"),
    ("logs", "C-1"),
    ("report", "C-1"),
    ("report", "C-1", "--md"),
    ("insights",),
    ("insights", "embedding-l2"),
    ("budget", "C-1"),
    ("check",),
    ("check", "C-1"),
    ("hypothesis", "list", "C-1"),
    ("db", "check"),
    ("clean", "--dry-run"),
    ("doctor",),
    ("wake",),
    ("start", "C-1"),
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_each_command_prints_one_document_or_a_text_for_people(done, words):
    desk, _, _ = done
    for_machines = desk.call(*words, "--json")
    if words[0] == "start":
        assert for_machines.returncode == 2 and for_machines.stdout == "" and "finished" in for_machines.stderr
        return
    assert for_machines.returncode == 0, for_machines.stderr
    assert json.loads(for_machines.stdout) is not None


@pytest.mark.parametrize("words", [("status", "C-1"), ("plan", "show", "C-1"), ("report", "C-1", "--md")], ids=" ".join)
def test_people_read_text(done, words):
    desk, _, _ = done
    for_people = desk.call(*words)
    assert for_people.returncode == 0, for_people.stderr
    assert for_people.stdout.strip() and not for_people.stdout.lstrip().startswith(("{", "["))


def test_cleaning_frees_what_is_no_record_and_every_command_tells_the_same_afterwards(done):
    desk, workspace, campaign = done
    store, home = workspace.store, desk.runs / workspace.store.uid / "C-1"
    (home / "trees" / "pinned" / "data").symlink_to(desk.home / "data")  # as data that git ignores is linked in
    (desk.home / "data").mkdir()
    (desk.home / "data" / "clicks.bin").write_bytes(b"0" * 5000)
    runs = {run.id: run for run in store.runs(campaign.id)}
    attempts = store.attempts(campaign.id)
    searched = next(a for a in attempts if runs[a.run].draft.phase is Phase.VALIDATION and a.outcome == "succeeded")
    deep = Path(searched.run_dir) / "checkpoints" / "last"
    deep.mkdir(parents=True)
    (deep / "model.pt").write_bytes(b"0" * 70000)
    (deep / "config.yaml").write_text("a: 1\n")
    (deep / "clicks").symlink_to(desk.home / "data")

    def records():
        kept = [path for path in home.glob("R-*/*/*") if path.suffix in (".log", ".json", ".jsonl", ".toml")]
        return {path: path.read_bytes() for path in kept}

    def told():
        asked = [("show", "R-1"), ("logs", "R-1"), ("show", "C-1"), ("budget", "C-1"), ("report", "C-1", "--md")]
        texts = [desk.json(*words) for words in asked]
        texts[2].pop("events")
        return texts

    before, said = records(), told()
    whole = {path: path.read_bytes() for a in attempts for path in Path(a.run_dir).glob("*")
             if runs[a.run].draft.phase is Phase.CONFIRMATION and path.is_file()}  # fmt: skip
    assert any(path.suffix == ".npy" for path in whole)
    (planned,) = desk.json("clean", "--dry-run")
    assert records() == before and planned["outputs"] > 70000 and planned["worktrees"] > 0
    refused = desk.call("clean", "C-1")
    assert refused.returncode == 2 and "--yes" in refused.stderr and (deep / "model.pt").exists()
    assert desk.json("clean", "--older-than", "30d", "--yes") == []
    assert desk.call("clean", "C-1", "--older-than", "30d", "--yes").returncode == 2

    (freed,) = desk.json("clean", "C-1", "--yes")
    assert freed == planned
    assert records() == before and {path: path.read_bytes() for path in whole} == whole
    gone = [a for a in attempts if runs[a.run].draft.phase is not Phase.CONFIRMATION]
    assert gone and not [path for a in gone for path in Path(a.run_dir).rglob("*.npy")]
    assert not (deep / "model.pt").exists() and (deep / "config.yaml").exists() and (deep / "clicks").is_symlink()
    assert (desk.home / "data" / "clicks.bin").exists(), "what links point to is not touched"
    assert list((home / "trees").iterdir()) == [] and "trees" not in desk.git("worktree", "list")
    assert told() == said and desk.call("report", "C-1").returncode == 0
    assert desk.call("db", "check").returncode == 0
    assert store.events(campaign.id)[-1].kind == "cleaned"
    again = desk.call("clean", "--yes")
    assert again.returncode == 0 and "nothing to clean" in again.stdout
    for words in (("status", "C-1"), ("plan", "show", "C-1"), ("check", "C-1"), ("wake",)):
        assert desk.call(*words).returncode == 0, words
