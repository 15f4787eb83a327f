"""Is this codebase ready for a campaign? Each check says what was found and what to do about it."""

from __future__ import annotations

import difflib
import errno
import shlex
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from rea.codebase import edits, hydra, overrides, trainer
from rea.codebase.config import FILE_NAME, FILE_STYLES, load
from rea.codebase.git import repository
from rea.codebase.trees import is_leaf, locate, nearest, value_at
from rea.domain.codebase import Codebase, ConfigStyle
from rea.domain.errors import ReaError
from rea.domain.host import LOCAL, Host, fits, lacks
from rea.domain.paths import matches
from rea.domain.plainfile import shut
from rea.knowledge.cards import TEAM_FOLDER, runbooks_of, techniques_of
from rea.knowledge.frontmatter import card_files
from rea.knowledge.roles import guess, load_roles

LAUNCHERS: Final = ("local",)
SIGNERS: Final = ".rea/allowed_signers"
_LEAST_FREE: Final = 2**30  # bytes; below it a run would fail for want of space
_GOOD_FREE: Final = 10 * 2**30
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `ok` is None where it is advice, or could not be told."""

    name: str
    ok: bool | None
    message: str
    hint: str | None = None


def examine(
    root: Path,
    *,
    config: str | None = None,
    launchers: Collection[str] = LAUNCHERS,
    runs: Path | None = None,
    host: Host | None = None,
) -> tuple[Check, ...]:
    """Every check on the codebase at `root`. Nothing is changed; only the training Python is started.

    `config` replaces `[codebase] config` as in `load`; `launchers` are the kinds there are; `runs` is where run
    directories go (for the disk check; default: the codebase's own disk); `host` is the machine that the local launcher
    uses (default: what is asked of it is not checked).
    """
    root = root.expanduser().absolute()
    checks = list(_read("git", root, lambda: _git(root)))
    astray = _circular(root)
    if astray is not None:
        return (astray, *checks)
    try:
        codebase = load(root, config=config)
    except ReaError as error:
        return (Check("rea.toml", False, error.message, error.hint), *checks)
    except OSError as error:
        return (_unread("rea.toml", root, error), *checks)
    checks.insert(0, Check("rea.toml", True, f"describes {codebase.name}, style {codebase.style.value}"))
    folder = Path(codebase.root)
    examiners: tuple[tuple[str, Callable[[Codebase, Path], Iterator[Check]]], ...] = (
        ("python", _python),
        ("train", _train),
        ("smoke run", _smoke),
        ("config", _config),
        ("baseline values", _baseline),
        ("evaluator", _evaluate),
        ("data profile", _profile),
        ("roles", _roles),
        ("metrics", _metrics),
        ("approvals", _signers),
        ("cards", _cards),
    )
    for name, examiner in examiners:
        checks += _read(name, folder, partial(examiner, codebase, folder))
    checks += _launcher(codebase, launchers)
    if host is not None:
        checks += _resources(codebase, host)
    checks += _disk(runs or folder)
    return tuple(checks)


def _read(name: str, root: Path, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The findings of one examiner; what could not be read for it is one of them, and takes no other away."""
    try:
        yield from look()
    except ReaError as error:
        yield Check(name, False, error.message, error.hint)
    except OSError as error:
        yield _unread(name, root, error)


def _unread(name: str, root: Path, error: OSError) -> Check:
    place = Path(error.filename or root)
    hint = None
    if isinstance(error, PermissionError):
        hint = f"let this user read it: `ls -ld {shlex.quote(str(shut(place) or place))}` shows who may"
    return Check(name, False, f"{place} cannot be read: {error.strerror or error}", hint)


def _circular(root: Path) -> Check | None:
    """What is wrong with a rea.toml whose symbolic links lead back to it."""
    path = root / FILE_NAME
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            hint = f"`ls -l {shlex.quote(str(path))}`; put the file itself, or a link to it, in its place"
            return Check("rea.toml", False, f"{path}: its symbolic links lead in a circle", hint)
    return None


def _git(root: Path) -> Iterator[Check]:
    try:
        repo = repository(root)
        head = repo.head()
        repo.require_clean()
    except ReaError as error:
        yield Check("git", False, error.message, error.hint)
        return
    yield Check("git", True, f"clean at {head[:12]}")


def _python(codebase: Codebase, folder: Path) -> Iterator[Check]:
    name = "python"
    program = overrides.python_of(codebase)
    if "/" not in program and shutil.which(program) is None:
        yield Check(name, False, f"{program} is not on PATH", "set [codebase] python, for example .venv/bin/python")
        return
    try:
        done = subprocess.run(
            [program, "-c", "import sys; print('.'.join(map(str, sys.version_info[:3])))"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            cwd=folder,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it did not answer"
        yield Check(
            name, False, f"{program} does not start: {reason}", "create the environment, or correct [codebase] python"
        )
        return
    if done.returncode:
        yield Check(name, False, f"{program} fails: {done.stderr.strip()[-200:]}", "correct [codebase] python")
    else:
        yield Check(name, True, f"{program} is Python {done.stdout.strip()}")


def _train(codebase: Codebase, folder: Path) -> Iterator[Check]:
    script = trainer.script_of(codebase.train, folder)
    if script is not None:
        yield Check("train", True, f"starts {script.relative_to(folder)}")
        return
    missing = [word for word in shlex.split(codebase.train) if word.endswith(".py")]
    if missing:
        yield Check("train", False, f"{missing[0]} is not in {folder}", "correct [codebase] train")
    else:
        yield Check("train", None, "the command names no Python script of the codebase, so it was not read")


def _config(codebase: Codebase, folder: Path) -> Iterator[Check]:
    if codebase.style in FILE_STYLES:
        path = folder / (codebase.config or "")
        try:
            tree = edits.parse(path.read_text(encoding="utf-8"), codebase.style, where=str(codebase.config))
        except (ReaError, OSError, UnicodeDecodeError) as error:
            message, hint = (error.message, error.hint) if isinstance(error, ReaError) else (str(error), None)
            yield Check("config", False, message, hint or "save it as UTF-8 text")
            return
        yield Check("config", True, f"{codebase.config} is valid {codebase.style.name}")
        absent = [knob.name for knob in codebase.knobs if _absent(tree, knob.name)]
        yield _paths(absent, tree, str(codebase.config))
    elif codebase.style is ConfigStyle.HYDRA:
        try:
            found = hydra.compose(codebase.train, codebase.config, folder)
        except ReaError as error:
            yield Check("config", False, error.message, error.hint)
            return
        if found is None:
            yield Check(
                "config", None, "the primary Hydra config was not found", 'name it: config = "conf/config.yaml"'
            )
            return
        where = found.primary.relative_to(folder.resolve()).as_posix()
        if not found.complete:
            yield Check("config", None, f"{where} composes parts that are made in Python; REA cannot see those")
            return
        yield Check("config", True, f"{where} composes")
        groups = {group.replace("/", ".") for group in found.groups}
        yield _paths(
            [knob.name for knob in codebase.knobs if knob.name not in groups and _absent(found.values, knob.name)],
            found.values,
            where,
            adds=True,
        )
    elif codebase.style is ConfigStyle.ARGPARSE:
        script = trainer.script_of(codebase.train, folder)
        known = trainer.arguments(script, folder) if script else ()
        if not known:
            yield Check("config", None, "no add_argument call was found, so flags could not be checked")
            return
        absent = [knob.name for knob in codebase.knobs if overrides.argument_of(knob.name, known) is None]
        flags = {argument.flag.lstrip("-"): 0 for argument in known}
        yield _paths(absent, flags, "the training script")
    else:
        script = trainer.script_of(codebase.train, folder)
        read = trainer.variables(script, folder) if script else {}
        yield _paths([knob.name for knob in codebase.knobs if knob.name not in read], read, "the training script")


def _absent(tree: object, name: str) -> bool:
    path = locate(tree, name)
    return path is None or not is_leaf(value_at(tree, path))


def _paths(absent: list[str], tree: object, where: str, *, adds: bool = False) -> Check:
    if not absent:
        return Check("knob names", True, f"every knob is in {where}")
    near = nearest(tree, absent[0])
    message = f"{where} does not have {', '.join(absent[:5])}" + (
        f" and {len(absent) - 5} more" if len(absent) > 5 else ""
    )
    hint = f"did you mean {near!r}? " if near else ""
    if adds:
        return Check("knob names", None, message, f"{hint}Hydra will add it with +, which the trainer may ignore")
    return Check("knob names", False, message, f"{hint}Correct [knobs] in rea.toml")


def _baseline(codebase: Codebase, folder: Path) -> Iterator[Check]:
    name = "baseline values"
    if not codebase.knobs:
        yield Check(name, None, "there are no knobs: only code can be changed", "add settings to [knobs]")
        return
    try:
        values = overrides.baseline_values(codebase, folder)
    except ReaError as error:
        yield Check(name, False, error.message, error.hint)
        return
    outside = [knob for knob in codebase.knobs if knob.name in values and not knob.allows(values[knob.name])]
    unknown = [knob.name for knob in codebase.knobs if knob.name not in values]
    for knob in outside:
        yield Check(
            name,
            False,
            f"{knob.name} is {values[knob.name]!r} in the baseline; rea.toml allows {overrides.allowed(knob)}",
            "widen the knob in rea.toml, or correct the baseline",
        )
    if unknown:
        yield Check(name, None, f"not known for {', '.join(unknown)}", "give those knobs a default in rea.toml")
    if not outside and not unknown:
        yield Check(name, True, "all known and allowed")


def _evaluate(codebase: Codebase, folder: Path) -> Iterator[Check]:
    name = "evaluator"
    if codebase.evaluate is None:
        yield Check(name, None, "there is none: the trainer's own metric is believed", "set [codebase] evaluate")
        return
    script = trainer.script_of(codebase.evaluate, folder)
    if script is None:
        named = [word for word in shlex.split(codebase.evaluate) if word.endswith(".py")]
        if named:
            yield Check(name, False, f"{named[0]} is not in {folder}", "correct [codebase] evaluate")
        else:
            yield Check(name, None, "the command names no Python script of the codebase, so it was not checked")
        return
    path = script.relative_to(folder).as_posix()
    if matches(path, codebase.protected, ignore_case=True):
        yield Check(name, True, f"{path} is protected")
    elif matches(path, codebase.editable):
        yield Check(
            name, False, f"{path} is editable: a treatment could change its own judge", f"add {path!r} to protected"
        )
    else:
        yield Check(name, None, f"{path} is not listed as protected", f"add {path!r} to [codebase] protected")


def _profile(codebase: Codebase, folder: Path) -> Iterator[Check]:
    """A codebase that describes no data is told nothing: REA then diagnoses curves alone."""
    if codebase.profile is not None:
        yield _script("data profile", "profile", "printed by", codebase.profile, folder)


def _smoke(codebase: Codebase, folder: Path) -> Iterator[Check]:
    """A codebase without a smoke run is told nothing: its profile then shows whether it trains."""
    if codebase.smoke is not None:
        yield _script("smoke run", "smoke", "starts", codebase.smoke, folder)


def _script(name: str, key: str, does: str, command: str, folder: Path) -> Check:
    """Whether the script of a command that a codebase may do without is there."""
    script = trainer.script_of(command, folder)
    if script is not None:
        return Check(name, True, f"{does} {script.relative_to(folder).as_posix()}")
    named = [word for word in shlex.split(command) if word.endswith(".py")]
    if named:
        return Check(name, False, f"{named[0]} is not in {folder}", f"correct [codebase] {key}, or leave it out")
    return Check(name, None, "the command names no Python script of the codebase, so it was not checked")


def _roles(codebase: Codebase, folder: Path) -> Iterator[Check]:
    if not codebase.knobs:
        return
    known = load_roles()
    strange = [knob for knob in codebase.knobs if knob.role is not None and knob.role not in known]
    for knob in strange:
        close = difflib.get_close_matches(str(knob.role), list(known), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "a role of your own is known to your own techniques only"
        yield Check(
            "roles", False if close else None, f"{knob.name} has the role {knob.role!r}, which REA does not know", hint
        )
    without = [knob.name for knob in codebase.knobs if knob.role is None]
    if without:
        suggested = [f'"{name}" → {role}' for name in without if (role := guess(name))]
        hint = f"perhaps {', '.join(suggested)}" if suggested else "knowledge and insights reach a knob by its role"
        yield Check("roles", None, f"without a role: {', '.join(without)}", hint)
    if not strange and not without:
        yield Check("roles", True, "every knob has a role that REA knows")


def _metrics(codebase: Codebase, folder: Path) -> Iterator[Check]:
    script = trainer.script_of(codebase.train, folder)
    if script is None:
        yield Check("metrics", None, "the training script was not found, so its metrics could not be checked")
        return
    words = trainer.strings(script, folder)
    if "REA_METRICS" not in words:
        yield Check(
            "metrics",
            None,
            "the trainer does not mention REA_METRICS",
            'append JSON lines to the file it names, such as {"epoch": 1, "split": "valid", "ne": 0.86}',
        )
    elif not words & {"epoch", "step"}:
        yield Check(
            "metrics",
            None,
            "no epoch or step is reported: runs cannot be stopped early nor diagnosed",
            'add "epoch" or "step" to every metrics line',
        )
    else:
        yield Check("metrics", True, "reported to REA_METRICS along the way")


def _signers(codebase: Codebase, folder: Path) -> Iterator[Check]:
    path = folder / SIGNERS
    try:
        lines = [
            line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")
        ]
    except (FileNotFoundError, NotADirectoryError):
        lines = []
    except UnicodeDecodeError:
        yield Check("approvals", False, f"{SIGNERS} is not UTF-8", "save it as UTF-8 text, one signer per line")
        return
    if lines:
        yield Check(
            "approvals", True, f"{len(lines)} signers in {SIGNERS}" if len(lines) > 1 else f"one signer in {SIGNERS}"
        )
    else:
        yield Check(
            "approvals",
            False,
            f"{SIGNERS} lists nobody, so no plan can be approved",
            f'mkdir -p .rea; echo "$(git config user.email) $(cat ~/.ssh/id_ed25519.pub)" >> {SIGNERS}, and commit it',
        )


def _cards(codebase: Codebase, folder: Path) -> Iterator[Check]:
    """Of the team's own techniques and runbooks; a team without any is told nothing."""
    name, own = "cards", folder / TEAM_FOLDER
    if not own.is_dir():
        return
    astray = card_files([own])
    for path in astray:
        where = path.relative_to(folder).as_posix()
        hint = f"move it to {TEAM_FOLDER}/techniques/ or {TEAM_FOLDER}/runbooks/"
        yield Check(name, False, f"{where} is no card REA reads", hint)
    try:
        techniques_of(folder)
        runbooks_of(folder)
    except ReaError as error:
        yield Check(name, False, error.message, error.hint)
        return
    if not astray:
        counts = (f"{kind}: {len(card_files([own / kind]))}" for kind in ("techniques", "runbooks"))
        yield Check(name, True, f"the team's own can be read; {', '.join(counts)}")


def _launcher(codebase: Codebase, known: Collection[str]) -> Iterator[Check]:
    kind = codebase.launcher.kind
    if kind in known:
        yield Check("launcher", True, f"{kind}, {codebase.launcher.slots} at once")
        return
    close = difflib.get_close_matches(kind, sorted(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(sorted(known))}"
    yield Check("launcher", False, f"{kind!r} is no launcher REA has", hint)


def _resources(codebase: Codebase, host: Host) -> Iterator[Check]:
    if codebase.launcher.kind != LOCAL:
        return
    found = lacks(codebase, host)
    yield from (Check("resources", False if lack.fatal else None, lack.words, lack.hint) for lack in found)
    if not found:
        yield Check("resources", True, fits(codebase, host))


def _disk(runs: Path) -> Iterator[Check]:
    there = next(folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    message = f"{free / 2**30:.1f} GiB free under {there}"
    hint = None if free >= _GOOD_FREE else "make room, or set REA_RUNS to a larger disk"
    yield Check("disk", False if free < _LEAST_FREE else True if free >= _GOOD_FREE else None, message, hint)
