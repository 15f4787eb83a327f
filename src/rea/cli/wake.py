"""The command `rea wake`, without what the other commands are parsed with: it stands between the end of a job and the
start of the next, and Typer takes longer to import than a wake takes to decide."""

from __future__ import annotations

from collections.abc import Sequence

from rea.cli import output


def asked(words: Sequence[str]) -> tuple[str | None, bool] | None:
    """The campaign and whether as JSON, of the words behind `wake`; None where Typer has to read them."""
    refs = [word for word in words if word != "--json"]
    if len(refs) > 1 or any(word.startswith("-") for word in refs):
        return None
    return (refs[0] if refs else None), len(refs) < len(words)


def wake(ref: str | None, as_json: bool) -> int:
    """One pass over one campaign, or over all that are due; the exit code. Raises what no campaign is to blame for."""
    from rea.workspace import open_workspace, waking

    workspace = open_workspace()
    ids = [workspace.store.campaign(ref).id] if ref is not None else waking.woken(workspace)
    done, failed = waking.wake_each(workspace, ids)
    lines = [f"C-{id_}: {'busy' if w.busy else f'{w.actions} actions'}" for id_, w in done.items()]
    lines += [f"C-{id_}: failed" for id_ in failed]
    told: dict[str, object] = {f"C-{id_}": woken for id_, woken in done.items()}
    told |= {f"C-{id_}": {"error": str(error)} for id_, error in failed.items()}
    output.data(told, "\n".join(lines) or "nothing to do", as_json)
    return _told(failed)


def _told(failed: dict[int, Exception]) -> int:
    """Say what stood in the way of each campaign; a mistake of the program itself is raised as it is."""
    from rea.domain.errors import ReaError

    for id_, error in failed.items():
        output.note(f"rea: C-{id_}: {error}")
    for error in failed.values():
        if not isinstance(error, ReaError | OSError):
            raise error
    codes = {getattr(error, "exit_code", 1) for error in failed.values()}
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1
