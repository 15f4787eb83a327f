"""Asking the insights of a store from where somebody works, and taking in those of another."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from rea.domain.errors import ConfigError, UsageError
from rea.guard.policy import Effect
from rea.insights.exchange import Imported, import_file
from rea.insights.retrieve import Answer, about
from rea.workspace.compose import Workspace, techniques_here

if TYPE_CHECKING:
    from rea.domain.insight import Context


def ask(workspace: Workspace, query: str, root: Path | None, config: str | None) -> Answer:
    """What is known about `query` for the codebase at or above `root`, or in general where there is none.

    The context is the last one that an experiment of this codebase with this config's model family was made in, without
    experiments that of its newest plan; a codebase without either is known by its name and the family alone. Raises
    ConfigError where `root` or `config` name what is not there.
    """
    return about(query, workspace.store, techniques_here(root), context_here(workspace, root, config))


def context_here(workspace: Workspace, root: Path | None, config: str | None) -> Context:
    """The context of the codebase at or above `root` (with None: of the working directory); empty outside of any."""
    from rea.codebase.config import find, load
    from rea.codebase.overrides import baseline_values

    try:
        folder = find(root or Path())
    except ConfigError as error:
        if root is not None:
            raise
        if config is not None:
            hint = "go to the codebase, or name it with -C"
            raise UsageError("--config names a config of a codebase, and there is none here", hint=hint) from error
        return {}
    codebase = load(folder, config=config)
    values = baseline_values(codebase, folder)
    context: dict[str, object] = {"codebase": codebase.name}
    knob = codebase.by_role("interaction")
    family = values.get(knob.name) if knob is not None else None
    if family is not None:
        context["model_family"] = str(family)
    last = workspace.store.last_context(codebase.name, None if family is None else str(family))
    return {**(last or _planned(workspace, codebase.name, family)), **context}  # type: ignore[dict-item]


def _planned(workspace: Workspace, codebase: str, family: object) -> Context:
    """Where the newest plan of this codebase (with this model family) is to take place; empty without one."""
    from rea.domain.plan import read_plan
    from rea.planner.compose import context_of

    for campaign in reversed(workspace.store.readable_campaigns()[0]):
        if campaign.codebase.name != codebase:
            continue
        record = workspace.store.latest_plan(campaign.id)
        if record is not None:
            plan = read_plan(record)
            runs = [run for run in workspace.store.runs(campaign.id) if run.draft.treatment.empty]
            results = [run.result for run in runs if run.result is not None]
            found = context_of(plan.codebase, plan.baseline_values, plan.symptoms, results, plan.baseline.data)
            if found.get("model_family") == (None if family is None else str(family)):
                return found
    return {}


def take_in(workspace: Workspace, file: Path, *, trust: float, skip_bad: bool) -> Imported:
    """Import a file's experiments under the name of who does it. Raises GuardrailError for a caller that may not."""
    workspace.require(Effect.MANAGE)
    try:
        by = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        by = "somebody"
    return import_file(workspace.store, file, by=by, at=workspace.clock(), trust=trust, skip_bad=skip_bad)


def forget(workspace: Workspace, file: str) -> int:
    """Take back the experiments of an import by the file's name; how many. Raises GuardrailError as `take_in` does."""
    workspace.require(Effect.MANAGE)
    return workspace.store.forget_imports(file)
