"""The demo: a whole campaign on the embedded codebase, from nothing to a proposal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rea.domain.campaign import Campaign
from rea.domain.errors import NotFoundError, ReaError
from rea.domain.states import CampaignState
from rea.guard.signing import create_key
from rea.report.plan_text import render
from rea.store import open_store
from rea.workspace import governance, planning, proposal, steering, waking
from rea.workspace.compose import Workspace
from rea.workspace.setup import set_up


def run_demo(
    folder: Path | None,
    python: str | None,
    budget: str,
    tell: Callable[[str], None],
    follow: Callable[[Workspace, int], Callable[[Campaign], None]],
) -> dict[str, Any]:
    """Copy the embedded codebase into a git repository of its own, plan, approve, run, report.

    Everything stays in `folder` (a temporary one by default), the approving key included. `follow` makes what is called
    while the campaign goes on. Returns the figures of the claim. Raises ReaError when the Python given cannot train, or
    the campaign ends without a claim.
    """
    home = (folder or Path(tempfile.mkdtemp(prefix="rea-demo-"))).resolve()
    root = home / "ads-ranker"
    if root.exists():
        raise ReaError(f"{root} exists already", hint="give an empty --folder")
    trainer = python or sys.executable
    _check_torch(trainer)
    shutil.copytree(_example(), root, ignore=shutil.ignore_patterns("data", "runs", "__pycache__", ".rea"))
    toml = (root / "rea.toml").read_text(encoding="utf-8")
    (root / "rea.toml").write_text(toml.replace('"python3"', f'"{trainer}"', 1), encoding="utf-8")
    key = home / "keys" / "engineer"
    create_key(key, "demo engineer")
    _git(root, "init", "--quiet", "--initial-branch=main")
    _git(root, "config", "user.email", "engineer@demo")
    _git(root, "config", "user.name", "Demo Engineer")
    set_up(root, key)
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "--message", "The model in production")
    os.environ["REA_HOME"] = str(home)
    workspace = Workspace(open_store(f"sqlite:///{home / 'rea.db'}"), home / "runs")
    workspace.runs.mkdir(exist_ok=True)
    tell(f"codebase: {root}\nstore:    {workspace.store.url}")
    campaign = planning.plan(workspace, root, budget=budget, name="demo")
    tick = follow(workspace, campaign.id)
    campaign = waking.wait(workspace, campaign.id, _planned, tick)
    if campaign.state is not CampaignState.DRAFTED:
        raise ReaError(f"the demo has no plan: {campaign.reason}")
    record, plan = governance.latest_plan(workspace, campaign)
    tell("\n" + render(plan, record, campaign))
    governance.approve(workspace, campaign.title, key, "engineer@demo")
    steering.start(workspace, campaign.title)
    campaign = waking.wait(workspace, campaign.id, waking.done, tick)
    tell(f"\nlook around: cd {root}; export REA_HOME={home}; rea report C-1; rea insights")
    return _figures(workspace, campaign)


def _planned(campaign: Campaign) -> bool:
    return campaign.state is not CampaignState.PROFILING


def _figures(workspace: Workspace, campaign: Campaign) -> dict[str, Any]:
    claim = campaign.claim
    if campaign.state is not CampaignState.FINISHED or claim is None:
        raise ReaError(f"the demo's campaign is {campaign.state.value} without a claim: {campaign.reason}")
    balance = workspace.store.balance(campaign.id)
    return {
        "gain": claim.gain,
        "ci_low": claim.ci_low,
        "ci_high": claim.ci_high,
        "gap_closed": claim.gap_closed,
        "spent": balance.spent,
        "approved": balance.approved,
        "unit": "device-seconds",
        "report": str(proposal.report_path(workspace, campaign.id)),
    }


def _example() -> Path:
    """The reference codebase: inside the installed package, or beside the sources."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "_examples" / "ads_ranker", package.parents[1] / "examples" / "ads_ranker"):
        if (candidate / "rea.toml").is_file():
            return candidate
    raise NotFoundError("the embedded codebase is not part of this installation", hint="run the demo from a checkout")


def _check_torch(python: str) -> None:
    try:
        probe = subprocess.run([python, "-c", "import torch, yaml, numpy"], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReaError(f"{python} does not run: {error}", hint="give --python PATH") from error
    if probe.returncode:
        last = (probe.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ReaError(
            f"{python} cannot train the embedded codebase: {last}",
            hint="pip install torch numpy pyyaml there, or give --python a Python that has them",
        )


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
