"""What wakes campaigns after a reboot: a systemd user service for `rea daemon`, or a line of cron for `rea wake`.

Each is of one store, known by its uid: installing again replaces it, and other stores keep theirs.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rea.daemon.watch import LONGEST_WAKE_S
from rea.domain.errors import ReaError, UsageError
from rea.guard.policy import Effect
from rea.workspace.compose import WAKE_ENV, Workspace

LINGER: Final = Path("/var/lib/systemd/linger")  # a file for each user whose services start with the machine
LONGEST_LINE: Final = 990  # characters; the cron of Debian refuses commands of a thousand
# What systemd and cron set themselves.
_GIVEN: Final = frozenset({"HOME", "USER"})
_PATIENCE_S: Final = 60.0
_ELSE: Final = "or have whatever starts programs on this machine run `rea daemon`"


@dataclass(frozen=True, slots=True)
class Service:
    """A unit or a crontab line as text, where it belongs, and whether it is there now."""

    kind: str
    place: str
    text: str
    written: bool
    notes: tuple[str, ...] = ()


def environment(workspace: Workspace) -> dict[str, str]:
    """What the daemon and its wakes need of this shell to find the same store, runs, programs and modules."""
    found = {name: os.environ[name] for name in WAKE_ENV if os.environ.get(name) and name not in _GIVEN}
    if "PATH" in found:
        found["PATH"] = os.pathsep.join(dict.fromkeys(found["PATH"].split(os.pathsep)))  # each folder once
    return {**found, "REA_STORE": workspace.store.url, "REA_RUNS": str(workspace.runs)}


# ---------------------------------------------------------------- systemd


def unit(uid: str, python: str, env: Mapping[str, str]) -> str:
    """The text of the user unit. Raises UsageError for a value that no unit can hold."""
    # A program's name holds no quotes nor backslashes to systemd, its arguments may.
    program = _quoted(python) if not set(python) & set("\"'\\") else f"/usr/bin/env {_quoted(python)}"
    lines = [
        f"# Written by `rea service install --systemd` for the store {uid}; `rea service remove` takes it away.",
        "[Unit]",
        f"Description=REA wakes the campaigns of the store {uid}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        # A colon keeps systemd from looking for variables in the command; releases before 244 do not know it.
        f"ExecStart={':' if '$' in python else ''}{program} -P -m rea daemon",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(env.items())),
        "Restart=always",
        "RestartSec=10",
        "# Jobs stay when the daemon goes: one that it started is in its control group, and not its own.",
        "KillMode=process",
        "OOMPolicy=continue",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A word of a unit file: systemd.syntax(7) has the quotes, systemd.unit(5) the per cent."""
    _one_line(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _one_line(text: str) -> None:
    if not text.isprintable():
        raise UsageError(f"{text!r} cannot stand in a service", hint="use a path or value without control characters")


def unit_path(uid: str) -> Path:
    home = os.environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
    return Path(home).expanduser() / "systemd" / "user" / f"rea-{uid}.service"


def install_systemd(workspace: Workspace, write: bool) -> Service:
    """The unit; with `write` it is put in place, enabled and started (again). Raises ReaError where there is no systemd
    of this user."""
    uid = workspace.store.uid
    text, path = unit(uid, sys.executable, environment(workspace)), unit_path(uid)
    if not write:
        return Service("systemd", str(path), text, False, _put_by_hand(path))
    workspace.require(Effect.MANAGE)
    _systemctl("daemon-reload")  # before anything is written: there may be no manager to speak to
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    # Readable by its owner alone: the URL of a store may hold a password.
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
    for words in (("daemon-reload",), ("enable", path.name), ("restart", path.name)):
        _systemctl(*words)
    return Service("systemd", str(path), text, True, _lingering())


def _put_by_hand(path: Path) -> tuple[str, ...]:
    there = shutil.which("systemctl") is not None
    return (f"goes to {path}; `--write` puts it there and starts it",) if there else ("no systemctl is on PATH here",)


def _lingering() -> tuple[str, ...]:
    if (LINGER / getpass.getuser()).exists():
        return ()
    return (
        "it starts when you log in and ends when you log out; to have it run all the time: `loginctl enable-linger`",
    )


def _systemctl(*words: str) -> None:
    program = shutil.which("systemctl")
    if program is None:
        raise ReaError("there is no systemctl on this machine", hint=f"use `rea service install --cron`, {_ELSE}")
    done = _run([program, "--user", *words])
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise ReaError(
            f"systemctl --user {shlex.join(words)} failed: {said}",
            hint="log in as this user (su and sudo start no user manager), or set XDG_RUNTIME_DIR=/run/user/$(id -u);"
            f" without systemd use `rea service install --cron`, {_ELSE}",
        )


# ---------------------------------------------------------------- cron


def cron_line(python: str, env: Mapping[str, str], every: int) -> str:
    """The line of a crontab that wakes what is due every so many minutes.

    What a wake has to say goes to cron, which mails or logs it. Raises UsageError for what no crontab can hold.
    """
    timeout = shutil.which("timeout")  # so that wakes that hang do not heap up
    limit = [timeout, f"{LONGEST_WAKE_S:.0f}"] if timeout else []
    command = ["/usr/bin/env", *(f"{name}={value}" for name, value in sorted(env.items())), *limit, python]
    for word in command:
        _one_line(word)
    # A per cent sign is the end of a command's line to cron: crontab(5).
    words = f"{shlex.join(command)} -P -m rea wake >/dev/null".replace("%", "\\%")
    if len(words) > LONGEST_LINE:
        longest = max(env, key=lambda name: len(env[name]))
        raise UsageError(
            f"the line for cron would have {len(words)} characters, and some crons take no more than {LONGEST_LINE}",
            hint=f"install it with a shorter {longest}, such as `PATH=$HOME/.local/bin:/usr/bin:/bin`,"
            " or use `rea service install --systemd`",
        )
    when = "*" if every == 1 else f"*/{every}"
    return f"{when} * * * * {words}"


def with_line(crontab: str, uid: str, line: str | None) -> str:
    """The crontab with this line as the one of the store `uid`, or with none. What others wrote stays as it is.

    Raises ReaError where the marks around the present line do not belong together.
    """
    first, last = f"# >>> rea {uid} >>>", f"# <<< rea {uid} <<<"
    lines = crontab.splitlines()
    starts = [n for n, text in enumerate(lines) if text.strip() == first]
    ends = [n for n, text in enumerate(lines) if text.strip() == last]
    if len(starts) != len(ends) or any(a > b for a, b in zip(starts, ends, strict=True)):
        raise ReaError(f"the crontab has a torn entry of rea: {first!r} and {last!r} do not match", hint="`crontab -e`")
    inside = {n for a, b in zip(starts, ends, strict=True) for n in range(a, b + 1)}
    kept = [text for n, text in enumerate(lines) if n not in inside]
    kept += [first, line, last] if line is not None else []
    return "".join(f"{text}\n" for text in kept)


def install_cron(workspace: Workspace, write: bool, every: int) -> Service:
    """The line; with `write` it stands in this user's crontab, in the place of an earlier one."""
    if not 1 <= every <= 59:
        raise UsageError(f"--every {every} is no number of minutes for cron", hint="give 1 to 59, such as 5")
    if re.search(r"://[^/@]*:[^/@]*@", workspace.store.url):
        raise UsageError(
            "the store's URL holds a password, which every user of this machine could read from cron's command",
            hint="keep it in ~/.pgpass and name the store without it in REA_STORE",
        )
    uid, line = workspace.store.uid, cron_line(sys.executable, environment(workspace), every)
    if not write:
        there = shutil.which("crontab") is not None
        note = "`--write` puts it into your crontab" if there else "no crontab is on PATH here"
        return Service("cron", "crontab", with_line("", uid, line), False, (note,))
    workspace.require(Effect.MANAGE)
    _set_crontab(with_line(_crontab(), uid, line))
    return Service("cron", "crontab", with_line("", uid, line), True)


def _crontab() -> str:
    """The present crontab; empty where there is none. Anything else that stands in the way is an error: what could not
    be read must not be replaced."""
    done = _run([_crontab_program(), "-l"])
    if done.returncode == 0:
        return done.stdout
    if re.search("no crontab|no such file", done.stderr, re.IGNORECASE):
        return ""
    raise ReaError(
        f"crontab -l failed: {done.stderr.strip()}", hint=f"may this user have a crontab? If not, {_ELSE[3:]}"
    )


def _set_crontab(text: str) -> None:
    done = _run([_crontab_program(), "-"], given=text)
    if done.returncode:
        raise ReaError(f"crontab refused the new entry: {done.stderr.strip()}", hint="yours is as it was")


def _crontab_program() -> str:
    program = shutil.which("crontab")
    if program is None:
        raise ReaError(
            "there is no crontab on this machine", hint=f"install cron, use `rea service install --systemd`, {_ELSE}"
        )
    return program


# ---------------------------------------------------------------- both


def remove(workspace: Workspace) -> list[str]:
    """Take away what was installed for this store; gives the places it was in. Jobs and campaigns are left alone."""
    workspace.require(Effect.MANAGE)
    uid, gone = workspace.store.uid, []
    path = unit_path(uid)
    if path.exists():
        if shutil.which("systemctl") is not None:
            _systemctl("disable", "--now", path.name)
        path.unlink()
        if shutil.which("systemctl") is not None:
            _systemctl("daemon-reload")
        gone.append(str(path))
    if shutil.which("crontab") is not None:
        before = _crontab()
        after = with_line(before, uid, None)
        if len(after.splitlines()) != len(before.splitlines()):
            _set_crontab(after)
            gone.append("crontab")
    return gone


def _run(command: Sequence[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=given or "",
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReaError(f"{command[0]} does not answer: {error}", hint="try it by hand") from error
