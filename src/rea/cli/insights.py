"""What experiments have shown so far, and taking it from store to store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from rea.cli import output
from rea.cli.common import Json, new_file, open_workspace
from rea.report import text


class _Questions(typer.core.TyperGroup):
    """A group whose first word may be a question: whatever is no command of its own is asked."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        if args and "--help" not in args and not (words and words[0] in self.commands):
            args = ["ask", *args]
        return super().parse_args(ctx, args)


insights_app = typer.Typer(
    cls=_Questions,
    invoke_without_command=True,
    help="What experiments have shown so far: `rea insights [QUERY]`; export and import carry it between stores.",
)


@insights_app.callback(invoke_without_command=True)
def insights(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        _ask(None, None, None, False)


@insights_app.command("ask")
def insights_ask(
    query: Annotated[
        list[str] | None, typer.Argument(help="A technique, a role, a symptom or words (default: an overview).")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--codebase", "-C", help="For whom, and whose own cards count, too (default: here or above)."),
    ] = None,
    config: Annotated[str | None, typer.Option(help="The model's config, where it is not the one of rea.toml.")] = None,
    as_json: Json = False,
) -> None:
    """What experiments have shown so far, of the techniques a campaign here is planned with. `ask` may be left out."""
    _ask(" ".join(query or ()), root, config, as_json)


def _ask(query: str | None, root: Path | None, config: str | None, as_json: bool) -> None:
    from rea.workspace.insights import ask

    answer = ask(open_workspace(), query or "", root, config)
    output.data(answer, answer.words, as_json)


@insights_app.command("export")
def insights_export(
    file: Annotated[Path, typer.Argument(help="Ending in .jsonl or .parquet.", metavar="FILE")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    as_json: Json = False,
) -> None:
    """Write every experiment to a file that another store can import."""
    from rea.insights.exchange import export_file

    workspace = open_workspace()
    new_file(workspace, file, force)
    count = export_file(workspace.store.each_experiment(), file)
    output.data({"file": str(file), "experiments": count}, f"{file}: {text.plural(count, 'experiment')}", as_json)


@insights_app.command("import")
def insights_import(
    file: Annotated[Path, typer.Argument(help="Written by `rea insights export`.", metavar="FILE")],
    trust: Annotated[float, typer.Option(help="Share of its evidence that counts here, above 0 up to 1.")] = 1.0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out lines that are no experiments.")] = False,
    as_json: Json = False,
) -> None:
    """Take in the experiments of another store. One that is known already is not taken in twice."""
    from rea.workspace.insights import take_in

    done = take_in(open_workspace(), file, trust=trust, skip_bad=skip_bad)
    for line in done.skipped:
        output.note(f"rea: skipped {line}")
    skipped = f", {len(done.skipped)} lines skipped" if done.skipped else ""
    output.data(
        done,
        f"{done.file}: {text.plural(done.added, 'experiment')} added, {done.known} known already{skipped}",
        as_json,
    )
    if done.known and trust != 1.0:
        import shlex

        output.note(
            "rea: what was known already keeps the trust it was taken in with; to change that of an import, "
            f"`rea insights forget {shlex.quote(file.name)}` and import it again"
        )


@insights_app.command("forget")
def insights_forget(
    file: Annotated[str, typer.Argument(help="The name of a file that was imported, without its folder.")],
    as_json: Json = False,
) -> None:
    """Take back what an import brought. What campaigns of this store showed is never forgotten."""
    from rea.workspace.insights import forget

    count = forget(open_workspace(), file)
    output.data({"file": file, "experiments": count}, f"{file}: {text.plural(count, 'experiment')} forgotten", as_json)
