"""The commands. Each opens the workspace late, so that `rea --help` stays quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from rea.cli import output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rea.cli.views import Follower
    from rea.domain.campaign import Campaign
    from rea.workspace import Workspace

app = typer.Typer(
    name="rea",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="REA, the Ranking Engineer Agent: runs the whole experiment loop of an ads-ranking model.\n\n"
    "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 approval needed, 5 budget or guardrail stop, "
    "6 launcher unreachable, 130 interrupted, 141 the output's reader has gone. "
    "Data goes to stdout, the rest to stderr.",
)
plan_app = typer.Typer(no_args_is_help=False, help="Measure the baseline and draft a plan; show or edit it.")
hypothesis_app = typer.Typer(no_args_is_help=True, help="List hypotheses, add your own, veto.")
app.add_typer(plan_app, name="plan", rich_help_panel=None)
app.add_typer(hypothesis_app, name="hypothesis")

Ref = Annotated[str, typer.Argument(help="Campaign: C-3, 3 or its name.", metavar="CAMPAIGN")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
All = Annotated[bool, typer.Option("--all", help="In full what the budget does not fund, too.")]
Root = Annotated[Path, typer.Option("--codebase", "-C", help="Folder of rea.toml (default: here or above).")]


def _tell_version(wanted: bool) -> None:
    if wanted:
        from rea import __version__

        print(f"rea {__version__}")
        raise typer.Exit


@app.callback()
def rea(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _workspace() -> Workspace:
    from rea.workspace import open_workspace

    return open_workspace()


def _root(given: Path) -> Path:
    from rea.codebase.config import find

    return find(given)


def _brief(campaign: Campaign) -> dict[str, object]:
    from rea.cli.views import brief

    return brief(campaign)


def _said(campaign: Campaign) -> str:
    from rea.cli.views import lines_of

    words = f"{campaign.title} {campaign.name}: {campaign.state.value}"
    return f"{words}\n  {lines_of(campaign.reason)}" if campaign.reason else words


# ---------------------------------------------------------------- setting up


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The ranking codebase.")] = Path(),
    key: Annotated[Path | None, typer.Option(help="SSH key to approve plans with (default: yours, or new).")] = None,
    as_json: Json = False,
) -> None:
    """Draft rea.toml from the repository, and let your SSH key approve plans."""
    from rea.workspace.setup import set_up

    done = set_up(path, key)
    output.data(done, done.text(), as_json)


@app.command()
def doctor(
    path: Annotated[Path, typer.Argument(help="The ranking codebase.")] = Path(),
    as_json: Json = False,
) -> None:
    """Say what a codebase still lacks before REA can work on it."""
    from rea.codebase.doctor import examine
    from rea.launchers import KINDS
    from rea.launchers.host import look

    checks = examine(path, launchers=KINDS, host=look())
    output.data(checks, _checklist(checks), as_json)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def _checklist(checks: object) -> str:
    from rea.cli.views import checklist

    return checklist(checks)  # type: ignore[arg-type]


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option(help="Where to work (default: a temporary folder).")] = None,
    python: Annotated[str | None, typer.Option(help="A Python with PyTorch (default: this one).")] = None,
    budget: Annotated[str, typer.Option(help="Budget of the demo's campaign.")] = "80r",
) -> None:
    """Run a whole campaign on the embedded codebase: plan, approve, start, report. Ends with one line of JSON."""
    import json

    from rea.cli.views import Follower
    from rea.workspace.demo import run_demo

    print(json.dumps(run_demo(folder, python, budget, output.note, Follower)))


# ---------------------------------------------------------------- planning


@plan_app.callback(invoke_without_command=True)
def plan(
    context: typer.Context,
    budget: Annotated[str, typer.Option(help="20r (baseline runs), 90m or 3h of devices.")] = "20r",
    root: Root = Path(),
    config: Annotated[str | None, typer.Option(help="The model's config, where it is not the one of rea.toml.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the campaign.")] = None,
    profile_runs: Annotated[int, typer.Option(help="Baseline trainings that measure noise and cost.")] = 3,
    rounds: Annotated[int | None, typer.Option(help="Rounds (default: by budget).")] = None,
    seed: Annotated[int, typer.Option(help="First of the seeds that the search trains on.")] = 1,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Do without a part of the planner, to measure what it is worth: insights, techniques, diagnosis, "
            "stop-rule, combination or confirmation. Repeatable."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the profile and print the plan.")] = True,
    whole: All = False,
    as_json: Json = False,
) -> None:
    """Measure the baseline (a few runs, allowed by this command), then draft a plan with its price."""
    if context.invoked_subcommand is not None:
        return
    from rea.domain.states import CampaignState
    from rea.workspace import campaigns, waking

    workspace = _workspace()
    campaign = campaigns.plan(
        workspace,
        _root(root),
        budget=budget,
        config=config,
        name=name,
        profile_runs=profile_runs,
        rounds=rounds,
        seed=seed,
        without=without or (),
    )
    output.note(f"{campaign.title} {campaign.name}: measuring the baseline, {profile_runs} runs")
    if wait:
        follower = _follower(workspace, campaign)
        with _told_of_interrupts(workspace, campaign):
            campaign = waking.wait(workspace, campaign.id, lambda c: c.state is not CampaignState.PROFILING, follower)
    if campaign.state is CampaignState.DRAFTED:
        _show_plan(workspace, campaign, as_json, whole)
        return
    output.data(_brief(campaign), _said(campaign), as_json)
    _exit_for(campaign)


@plan_app.command("show")
def plan_show(ref: Ref, whole: All = False, as_json: Json = False) -> None:
    """Print the latest plan of a campaign."""
    workspace = _workspace()
    _show_plan(workspace, workspace.store.campaign(ref), as_json, whole)


@plan_app.command("edit")
def plan_edit(
    ref: Ref,
    drop: Annotated[list[str] | None, typer.Option(help="H-3: do not test it. Repeatable.")] = None,
    weight: Annotated[list[str] | None, typer.Option(help="H-5=2: twice as interesting. Repeatable.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="'knob=value knob=value': your own idea. Repeatable.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="validation=0.5,combination=0.2,exploitation=0.3: shares of the search. A phase that is not named "
            "keeps its proportion of the rest; one named 0 gets nothing."
        ),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Another budget.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Another number of rounds.")] = None,
    whole: All = False,
    as_json: Json = False,
) -> None:
    """Shape a plan before it is signed; it is estimated anew, and an earlier signature is void."""
    import shlex

    from rea.cli.parse import hypothesis_id, named_numbers
    from rea.workspace import campaigns

    workspace = _workspace()
    change = campaigns.Edit(
        drop=tuple(hypothesis_id(text) for text in drop or ()),
        weights={hypothesis_id(k): v for k, v in named_numbers(weight or (), "--weight").items()},
        additions=tuple(tuple(shlex.split(text)) for text in add or ()),
        split=named_numbers(split.split(","), "--split") if split else None,
        budget=budget,
        rounds=rounds,
    )
    campaigns.edit(workspace, ref, change)
    _show_plan(workspace, workspace.store.campaign(ref), as_json, whole)


def _show_plan(workspace: Workspace, campaign: Campaign, as_json: bool, whole: bool) -> None:
    import json

    from rea.cli.views import digest_warning
    from rea.report.plan_text import render
    from rea.workspace.campaigns import latest_plan, next_step

    record, found = latest_plan(workspace, campaign)
    warning = digest_warning(record)
    if warning:
        output.note(f"rea: {warning}")
    if as_json:
        head = {"campaign": campaign.title, "digest": record.digest, "version": record.version, "state": record.state}
        output.data({**head, "plan": json.loads(record.text)}, "", True)
        return
    output.markdown(render(found, record, campaign, whole=whole))
    step = next_step(workspace, campaign)
    if step:
        output.note(f"next: {step}")


# ---------------------------------------------------------------- governance


@app.command()
def preflight(
    ref: Ref,
    grant: Annotated[list[str] | None, typer.Option(help="Grant an item by name. Repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """The checklist before a campaign may spend; grant what only an engineer can."""
    from rea.workspace import campaigns

    listed, blocked = campaigns.preflight(_workspace(), ref, tuple(grant or ()))
    output.data({"checks": listed, "blocking": [check.name for check in blocked]}, _checklist(listed), as_json)
    if blocked:
        output.note(f"open: {', '.join(check.name for check in blocked)}")
        raise typer.Exit(4)


@app.command()
def approve(
    ref: Ref,
    key: Annotated[Path | None, typer.Option(help="SSH key to sign with (default: one the codebase lists).")] = None,
    signer: Annotated[str | None, typer.Option("--as", help="Signer's name (default: git's user.email).")] = None,
    as_json: Json = False,
) -> None:
    """Sign the latest plan of a campaign with your SSH key."""
    from rea.domain.errors import ApprovalNeededError
    from rea.guard.signing import find_key, principal, read_signers
    from rea.workspace import campaigns

    workspace = _workspace()
    root = Path(workspace.store.campaign(ref).codebase.root)
    who = signer or principal(root)
    chosen = key or find_key(who, allowed_signers=read_signers(root), root=root)
    if chosen is None:
        raise ApprovalNeededError(f"no SSH key of {who} was found", hint="rea init sets one up, or give --key")
    approval = campaigns.approve(workspace, ref, chosen, signer)
    output.data(approval, f"{approval.signer} signed {approval.digest[:12]} with {chosen}", as_json)


@app.command()
def reject(
    ref: Ref, why: Annotated[str, typer.Option(help="The reason, for the record.")] = "", as_json: Json = False
) -> None:
    """Turn a plan down; the campaign ends."""
    from rea.workspace import campaigns

    campaign = campaigns.reject(_workspace(), ref, why)
    output.data(_brief(campaign), _said(campaign), as_json)


# ---------------------------------------------------------------- running


@app.command()
def start(
    ref: Ref,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it ends, showing progress.")] = False,
    as_json: Json = False,
) -> None:
    """Start an approved campaign. Without --wait nothing of REA stays behind; each job's end wakes it."""
    from rea.workspace import campaigns, waking

    workspace = _workspace()
    follower = _follower(workspace, workspace.store.campaign(ref))
    campaign = campaigns.start(workspace, ref)
    if wait:
        with _told_of_interrupts(workspace, campaign):
            campaign = waking.wait(workspace, campaign.id, waking.done, follower)
    output.data(_brief(campaign), _said(campaign), as_json)
    _exit_for(campaign)


@contextmanager
def _told_of_interrupts(workspace: Workspace, campaign: Campaign) -> Iterator[None]:
    """Whoever stops waiting for a campaign is told that it goes on, by what, and how to come back to it."""
    try:
        yield
    except KeyboardInterrupt:
        from rea.workspace import waking

        output.note(f"\nrea: interrupted. {waking.goes_on(workspace, campaign.id)}")
        raise typer.Exit(130) from None


def _exit_for(campaign: Campaign) -> None:
    from rea.cli.views import exit_code

    code = exit_code(campaign)
    if code:
        raise typer.Exit(code)


def _follower(workspace: Workspace, campaign: Campaign) -> Follower:
    """Tells what is new in the record from now on, on stderr."""
    from rea.cli.views import Follower

    return Follower(workspace, campaign.id)


def _change(name: str, ref: str, as_json: bool, **options: str) -> None:
    from rea.workspace import campaigns

    campaign = getattr(campaigns, name)(_workspace(), ref, **options)
    output.data(_brief(campaign), _said(campaign), as_json)


@app.command()
def pause(ref: Ref, as_json: Json = False) -> None:
    """Start nothing new; jobs in flight end and are recorded."""
    _change("pause", ref, as_json)


@app.command()
def resume(ref: Ref, as_json: Json = False) -> None:
    """Go on with a paused campaign. Its limits are as they were."""
    _change("resume", ref, as_json)


@app.command()
def stop(ref: Ref, why: Annotated[str, typer.Option(help="The reason.")] = "", as_json: Json = False) -> None:
    """End a campaign for good; its jobs are cancelled."""
    _change("stop", ref, as_json, why=why)


@app.command()
def wake(
    ref: Annotated[str | None, typer.Argument(help="One campaign (default: all due).", metavar="CAMPAIGN")] = None,
    as_json: Json = False,
) -> None:
    """One pass of the executor: look at what ended, decide, start what is next, exit."""
    from rea.workspace import waking

    workspace = _workspace()
    ids = [workspace.store.campaign(ref).id] if ref is not None else waking.woken(workspace)
    done, failed = waking.wake_each(workspace, ids)
    lines = [f"C-{id_}: {'busy' if w.busy else f'{w.actions} actions'}" for id_, w in done.items()]
    lines += [f"C-{id_}: failed" for id_ in failed]
    told: dict[str, object] = {f"C-{id_}": woken for id_, woken in done.items()}
    told |= {f"C-{id_}": {"error": str(error)} for id_, error in failed.items()}
    output.data(told, "\n".join(lines) or "nothing to do", as_json)
    _exit_for_failures(failed)


def _exit_for_failures(failed: Mapping[int, Exception]) -> None:
    """Say what stood in the way of each campaign; a mistake of the program itself is raised as it is."""
    from rea.domain.errors import ReaError

    for id_, error in failed.items():
        output.note(f"rea: C-{id_}: {error}")
    for error in failed.values():
        if not isinstance(error, ReaError | OSError):
            raise error
    codes = {getattr(error, "exit_code", 1) for error in failed.values()}
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else 1)


@app.command()
def daemon(
    sweep: Annotated[float, typer.Option(help="Seconds between sweeps for lost wake-ups.")] = 30.0,
) -> None:
    """Watch for ended jobs and due timers, and start `rea wake`. It holds no state and may die at any time."""
    import math
    import os
    import sys

    from rea.domain.errors import UsageError

    if not 1 <= sweep < math.inf:
        raise UsageError(f"--sweep {sweep:g} is no time between sweeps", hint="give seconds, 1 or more, such as 30")
    workspace = _workspace()
    environment = {**os.environ, "REA_STORE": workspace.store.url, "REA_RUNS": str(workspace.runs)}
    # A fresh interpreter without this one's imports: what waits for weeks should weigh nothing.
    command = [sys.executable, "-m", "rea.daemon", str(workspace.runs / "wake"), str(sweep)]
    os.execve(sys.executable, command, environment)


# ---------------------------------------------------------------- looking


@app.command()
def status(
    ref: Annotated[str | None, typer.Argument(help="One campaign (default: a line each).", metavar="CAMPAIGN")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Live, until it ends.")] = False,
    as_json: Json = False,
) -> None:
    """Where campaigns stand."""
    from rea.cli import views

    workspace = _workspace()
    if ref is None:
        found = workspace.store.campaigns()
        output.data([_brief(c) for c in found], views.campaign_table(workspace, found), as_json)
        return
    campaign = workspace.store.campaign(ref)
    if watch:
        views.watch(workspace, campaign.id)
        campaign = workspace.store.campaign(ref)
    whole = views.status(workspace, campaign)
    output.data(whole, views.status_text(whole), as_json)
    if watch:
        _exit_for(campaign)


@app.command()
def show(what: Annotated[str, typer.Argument(help="C-3, H-12 or R-40.", metavar="ID")], as_json: Json = False) -> None:
    """Everything about one campaign, hypothesis or run."""
    from rea.cli import views

    value, text = views.show(_workspace(), what)
    output.data(value, text, as_json)


@app.command()
def logs(
    what: Annotated[str, typer.Argument(help="R-40: the run's output. C-3: the campaign's record.", metavar="ID")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="At most so many, from the end.")] = 200,
    as_json: Json = False,
) -> None:
    """A run's output, or a campaign's record."""
    from rea.cli import views

    value, text = views.logs(_workspace(), what, lines)
    output.data(value, text, as_json)


@app.command()
def report(
    ref: Ref,
    markdown: Annotated[bool, typer.Option("--md", help="Markdown for a pull request, on stdout.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the HTML file here.")] = None,
    as_json: Json = False,
) -> None:
    """The launch proposal: a self-contained HTML file, or Markdown for a pull request."""
    from rea.domain.errors import UsageError
    from rea.workspace import proposal

    workspace = _workspace()
    seen = proposal.view(workspace, ref)
    if markdown:
        from rea.report.markdown import render

        text = render(seen)
        output.data({"campaign": seen.campaign.title, "markdown": text}, text, as_json)
        return
    proposal.publish(workspace, seen.campaign.id)
    path = proposal.report_path(workspace, seen.campaign.id)
    if out is not None:
        page = path.read_bytes()
        try:
            out.write_bytes(page)
        except OSError as error:
            hint = "give -o a file in a folder that is there and may be written to"
            raise UsageError(f"{out} cannot be written: {error.strerror}", hint=hint) from error
        path = out
    output.data({"campaign": seen.campaign.title, "report": str(path)}, str(path), as_json)


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
app.add_typer(insights_app, name="insights", rich_help_panel=None)


@insights_app.callback(invoke_without_command=True)
def insights(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        _ask(None, None, None, False)


@insights_app.command("ask")
def insights_ask(
    query: Annotated[str | None, typer.Argument(help="A technique, a role or words (default: an overview).")] = None,
    root: Annotated[
        Path | None,
        typer.Option("--codebase", "-C", help="For whom, and whose own cards count, too (default: here or above)."),
    ] = None,
    config: Annotated[str | None, typer.Option(help="The model's config, where it is not the one of rea.toml.")] = None,
    as_json: Json = False,
) -> None:
    """What experiments have shown so far, of the techniques a campaign here is planned with. `ask` may be left out."""
    _ask(query, root, config, as_json)


def _ask(query: str | None, root: Path | None, config: str | None, as_json: bool) -> None:
    from rea.workspace.insights import ask

    answer = ask(_workspace(), query or "", root, config)
    output.data(answer, answer.words, as_json)


@insights_app.command("export")
def insights_export(
    file: Annotated[Path, typer.Argument(help="Ending in .jsonl or .parquet.", metavar="FILE")], as_json: Json = False
) -> None:
    """Write every experiment to a file that another store can import."""
    from rea.insights.exchange import export_file

    count = export_file(_workspace().store.each_experiment(), file)
    output.data({"file": str(file), "experiments": count}, f"{file}: {count} experiments", as_json)


@insights_app.command("import")
def insights_import(
    file: Annotated[Path, typer.Argument(help="Written by `rea insights export`.", metavar="FILE")],
    trust: Annotated[float, typer.Option(help="Share of its evidence that counts here, above 0 up to 1.")] = 1.0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out lines that are no experiments.")] = False,
    as_json: Json = False,
) -> None:
    """Take in the experiments of another store. One that is known already is not taken in twice."""
    from rea.workspace.insights import take_in

    done = take_in(_workspace(), file, trust=trust, skip_bad=skip_bad)
    for line in done.skipped:
        output.note(f"rea: skipped {line}")
    skipped = f", {len(done.skipped)} lines skipped" if done.skipped else ""
    output.data(done, f"{done.file}: {done.added} experiments added, {done.known} known already{skipped}", as_json)


@app.command()
def budget(ref: Ref, as_json: Json = False) -> None:
    """What is approved, reserved and spent, entry by entry."""
    from rea.cli import views

    workspace = _workspace()
    value, text = views.budget(workspace, workspace.store.campaign(ref))
    output.data(value, text, as_json)


# ---------------------------------------------------------------- hypotheses


@hypothesis_app.command("list")
def hypothesis_list(ref: Ref, as_json: Json = False) -> None:
    """Hypotheses of a campaign with what became of them."""
    from rea.cli import views

    workspace = _workspace()
    found = workspace.store.hypotheses(workspace.store.campaign(ref).id)
    output.data(found, views.hypothesis_table(found), as_json)


@hypothesis_app.command("add")
def hypothesis_add(
    ref: Ref,
    settings: Annotated[list[str], typer.Argument(help="knob=value …", metavar="SETTING...")],
    gain: Annotated[float | None, typer.Option(help="Expected relative gain, such as 0.004.")] = None,
    because: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: Json = False,
) -> None:
    """Add your own hypothesis to a running campaign."""
    from rea.workspace import campaigns

    found = campaigns.add_hypothesis(_workspace(), ref, settings, gain=gain, because=because)
    output.data(found, f"{found.name}: {found.draft.title}", as_json)


@hypothesis_app.command("veto")
def hypothesis_veto(
    hypothesis: Annotated[str, typer.Argument(help="H-12", metavar="HYPOTHESIS")],
    why: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    as_json: Json = False,
) -> None:
    """Rule a hypothesis out. Before a campaign starts, this makes a new version of its plan, to be signed anew."""
    from rea.domain.states import CampaignState
    from rea.workspace import campaigns

    workspace = _workspace()
    found = campaigns.veto(workspace, hypothesis, why)
    output.data(found, f"{found.name}: {found.state.value}", as_json)
    campaign = workspace.store.campaign(found.campaign)
    if campaign.state is CampaignState.DRAFTED:
        version = campaigns.latest_plan(workspace, campaign)[0].version
        output.note(f"the plan is now version {version}, without it; next: rea approve {campaign.title}")
