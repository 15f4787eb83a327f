"""Ten thousand ways out: hostile paths, patches, overrides, logs, run directories and edits of the store.

    .venv/bin/python -m benchmarks.escape [--seed 1] [--scale 1.0]

Each family draws its attempts from a seed and throws them at the code that a campaign uses. What counts as a way out:

paths        one that may be edited and, once resolved, lies outside of `editable`, or inside of `protected`
patches      a diff (links, renames, submodules, modes, `..`, absolute and `.git` paths, case), applied to a real
             worktree, by which anything changes that is not editable, or anything at all outside of the worktree
overrides    a value that reaches a trainer and that its knob does not allow
logs         a secret of the job's environment, or one in a form that services use, in what triage hands to the store;
             or more memory than MOST_MIB for a log of any size
directories  a link, pipe or folder in the place of a file of a run's directory by which something outside is read into
             the store or written, or on which reading hangs
trail        an edit, addition, deletion or truncation of a real store that `rea audit verify` does not find

Prints a table and writes benchmarks/results/escape.json. Exit code 1 where there was a way out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import sqlite3
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.simulation.__main__ import ROOT, _machine

sys.path.insert(0, str(ROOT / "tests"))

from rea.codebase.config import load
from rea.codebase.git import repository
from rea.codebase.overrides import checked
from rea.domain.codebase import Codebase
from rea.domain.errors import ReaError
from rea.domain.jobs import JobState, Observation, Outcome
from rea.domain.paths import check_editable, is_protected, matches
from rea.domain.run import Run, RunDraft
from rea.domain.states import CampaignState, Phase, RunState
from rea.domain.treatment import Treatment
from rea.executor.harvest import harvest
from rea.executor.triage import Around, assess
from rea.guard.redact import secrets_of
from rea.job import rundir
from rea.job.logs import CappedLog
from rea.knowledge.cards import load_runbooks
from rea.workspace import auditing
from support.desk import Desk, opened, settle

RESULTS = ROOT / "benchmarks" / "results" / "escape.json"
COUNTS = {"paths": 4000, "patches": 600, "overrides": 2000, "logs": 2500, "directories": 600, "trail": 1000}
MOST_MIB = 64
EDITABLE = ("models/**", "losses.py")
TOML = {'protected = ["evaluate.py", "metrics.py", "data.py"]': 'editable = ["models/**", "losses.py"]\n'
        'protected = ["evaluate.py", "metrics.py", "data.py", "models/secret/**"]'}  # fmt: skip
Family = Callable[[random.Random, int, Desk], Iterator[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of attempts")
    chosen = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="rea-escape-") as name, opened(Path(name) / "desk", toml=TOML) as desk:
        prepare(desk)
        for family, attempt in FAMILIES.items():
            count = max(1, round(COUNTS[family] * chosen.scale))
            began = time.process_time()
            ways = list(attempt(random.Random(f"{family}/{chosen.seed}"), count, desk))
            rows[family] = {"attempts": count, "ways_out": len(ways), "cpu_s": time.process_time() - began}
            for way in ways[:10]:
                print(f"{family}: {way}", file=sys.stderr)
    found = {
        "attempts": sum(row["attempts"] for row in rows.values()),
        "ways_out": sum(row["ways_out"] for row in rows.values()),
        "families": rows,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **_machine(),
    }
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    for family, row in rows.items():
        print(f"{family:14}{row['attempts']:>8,}{row['ways_out']:>6} ways out{row['cpu_s']:>9.1f} s")
    print(f"{'together':14}{found['attempts']:>8,}{found['ways_out']:>6} ways out, {found['peak_mib']:.0f} MiB at most")
    if found["ways_out"]:
        raise SystemExit(1)


def prepare(desk: Desk) -> None:
    for path, text in (("models/net.py", "x = 1\n"), ("models/secret/key.py", "s\n"), ("losses.py", "loss = 0\n")):
        (desk.root / path).parent.mkdir(parents=True, exist_ok=True)
        (desk.root / path).write_text(text)
    desk.commit("Something that may be edited, and something in it that may not")


# ---------------------------------------------------------------- paths


PARTS = ("models", "losses.py", "evaluate.py", "Evaluate.py", "EVALUATE.PY", "data.py", "..", ".", "", "secret", "a.py",
         ".git", ".GIT", ".rea", "rea.toml", "REA.TOML", "allowed_signers", "hooks", "models\\..", "~", "$HOME", "*",
         "x\0y", "x\ny", "\u202e.py", "\u2024\u2024", "ﬁle.py", "con", "a b", "-rf", "modelſ", "models/", ".gitmodules",
         ".gitattributes", "CON", "%2e%2e", "....", "a" * 300)  # fmt: skip


def hostile_path(chance: random.Random) -> str:
    parts = [chance.choice(PARTS) for _ in range(chance.randint(1, 5))]
    between = chance.choice(("/", "/", "/", "//", "\\"))
    text = chance.choice(("", "", "", "/", "//", "./", "../", "\\")) + between.join(parts)
    return text if chance.random() < 0.9 else text + chance.choice(string.printable)


def paths(chance: random.Random, count: int, desk: Desk) -> Iterator[str]:
    codebase = load(desk.root)
    root = desk.root.resolve()
    for _ in range(count):
        path = hostile_path(chance)
        try:
            check_editable(codebase, path)
        except ReaError:
            continue
        real = Path(os.path.normpath(root / path))
        inside = real.is_relative_to(root) and "\0" not in path
        if not inside or not matches(path, EDITABLE) or is_protected(codebase, os.path.relpath(real, root)):
            yield f"{path!r} may be edited"


# ---------------------------------------------------------------- patches


TARGETS = (
    *("models/net.py", "losses.py", "evaluate.py", "models/../evaluate.py", "../outside.py", "models/new.py"),
    *("/tmp/rea-escape-outside", ".git/hooks/post-checkout", ".rea/allowed_signers", "rea.toml", "EVALUATE.PY"),
    *("models/secret/key.py", "models/Secret/key.py", ".gitmodules", "models/.gitattributes", "models/link/x.py"),
)


def patch(chance: random.Random) -> str:
    """A diff that git might take; `path` is where it means to write."""
    path = chance.choice(TARGETS)
    kind = chance.randrange(9)
    if kind == 0:  # a new file
        return (
            f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+evil\n"
        )
    if kind == 1:  # a link
        target = chance.choice(("/etc/passwd", "../..", "../evaluate.py", "../../.git"))
        head = f"diff --git a/{path} b/{path}\nnew file mode 120000\n--- /dev/null\n+++ b/{path}\n"
        return f"{head}@@ -0,0 +1 @@\n+{target}\n\\ No newline at end of file\n"
    if kind == 2:  # a rename out of, or into, what is editable
        other = chance.choice(("evaluate.py", "models/net.py", "losses.py", "models/secret/key.py"))
        return f"diff --git a/{other} b/{path}\nsimilarity index 100%\nrename from {other}\nrename to {path}\n"
    if kind == 3:  # a mode
        return f"diff --git a/{path} b/{path}\nold mode 100644\nnew mode 100755\n"
    if kind == 4:  # a submodule
        head = f"diff --git a/{path} b/{path}\nnew file mode 160000\n--- /dev/null\n+++ b/{path}\n"
        return f"{head}@@ -0,0 +1 @@\n+Subproject commit {'a' * 40}\n"
    if kind == 5:  # a deletion
        text = {"models/net.py": "x = 1", "losses.py": "loss = 0"}.get(path, "s")
        head = f"diff --git a/{path} b/{path}\ndeleted file mode 100644\n--- a/{path}\n+++ /dev/null\n"
        return f"{head}@@ -1 +0,0 @@\n-{text}\n"
    if kind == 6:  # names that disagree
        return f"diff --git a/losses.py b/losses.py\n--- a/losses.py\n+++ b/{path}\n@@ -1 +1 @@\n-loss = 0\n+evil\n"
    if kind == 7:  # a good change first, a bad one behind
        good = "--- a/losses.py\n+++ b/losses.py\n@@ -1 +1 @@\n-loss = 0\n+loss = 1\n"
        return f"{good}--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+evil\n"
    return "".join(chance.choice(string.printable) for _ in range(chance.randrange(400)))


def tree(root: Path, leave_out: tuple[str, ...] = ()) -> str:
    """A digest of every file, link and mode below a folder."""
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] in leave_out or "__pycache__" in name:
            continue
        mode = path.lstat().st_mode
        body = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found.update(f"{name}\0{mode}\0".encode("utf-8", "surrogateescape") + body)
    return found.hexdigest()


def patches(chance: random.Random, count: int, desk: Desk) -> Iterator[str]:
    codebase, repo = load(desk.root), repository(desk.root)
    folder = repo.worktree(repo.head(), desk.home / "worktrees" / "patched")
    outside = Path("/tmp/rea-escape-outside")
    before, pinned = tree(desk.root, (".git",)), repo.head()
    for number in range(count):
        diff = patch(chance)
        try:
            changed = repo.apply_patch(codebase, folder, diff)
        except ReaError:
            changed = ()
        status = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain", "-z", "--untracked-files=all"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        touched = {entry[3:] for entry in status.split("\0") if len(entry) > 3}
        wrong = [path for path in touched if not matches(path, EDITABLE) or is_protected(codebase, path)]
        links = [path for path in touched if (folder / path).is_symlink()]
        if wrong or links or outside.exists() or touched - set(changed):
            yield f"patch {number} touched {wrong or links or 'something outside'}: {diff[:200]!r}"
        if number % 50 == 0 and (tree(desk.root, (".git",)) != before or repo.head() != pinned):
            yield f"by patch {number} the engineer's checkout was changed"
        subprocess.run(["git", "-C", str(folder), "reset", "-q", "--hard"], check=True)
        subprocess.run(["git", "-C", str(folder), "clean", "-qfdx"], check=True)
    hooks = [path.name for path in (desk.root / ".git" / "hooks").glob("*") if path.suffix != ".sample"]
    if hooks or tree(desk.root, (".git",)) != before:
        yield f"the engineer's checkout or its hooks were changed: {hooks}"


# ---------------------------------------------------------------- overrides


def overrides(chance: random.Random, count: int, desk: Desk) -> Iterator[str]:
    codebase = load(desk.root)
    names = [knob.name for knob in codebase.knobs]
    values: list[Any] = [1e308, -1e308, float("nan"), float("inf"), 10**400, -1, 0, "", "'; rm -rf /", "$(id)", "`id`",
                         "../../etc", "a\nb: c", "a\0b", True, None, "0.01; x", "1e-3 ", "0x10", "NaN", "--flag",
                         "cosine\nevil = 1", "\u0661"]  # fmt: skip
    for _ in range(count):
        name = chance.choice([*names, "optim", "seed", "train.epochs", "__class__", "fault.plan", "optim.lr\nevil", ""])
        value = chance.choice([*values, chance.uniform(-2, 2), chance.randint(-10, 10**6)])
        try:
            reached = checked(codebase, Treatment({name: value}))
        except ReaError:
            continue
        for knob_name, given in reached.items():
            knob = codebase.knob(knob_name)
            if knob is None or not knob.allows(given):
                yield f"{name!r} = {value!r} reaches the trainer as {given!r}"


# ---------------------------------------------------------------- logs


def secret(chance: random.Random) -> str:
    letters = string.ascii_letters + string.digits
    tail = "".join(chance.choice(letters) for _ in range(36))
    forms = (f"AKIA{tail[:16].upper()}", f"ghp_{tail}", f"hf_{tail}", f"sk-ant-{tail}", f"xoxb-{tail}")
    more = (f"glpat-{tail[:20]}", f"eyJ{tail}.eyJ{tail}.{tail}", f"-----BEGIN OPENSSH PRIVATE KEY-----{tail}{tail}")
    return chance.choice((*forms, *more))


def logs(chance: random.Random, count: int, desk: Desk) -> Iterator[str]:
    books, codebase = load_runbooks(), load(desk.root)
    folder = desk.home / "logs"
    for number in range(count):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        own = "".join(chance.choice(string.ascii_letters) for _ in range(24))
        env = {"WAREHOUSE_TOKEN": own, "DB_PASSWORD": own[::-1], "PATH": "/bin"}
        shown = secret(chance)
        line = chance.choice(
            (
                f"KeyError: {own}",
                f"RuntimeError: {shown}",
                f"OSError: https://user:{own}@host/x",
                f"Error: password={own}",
                f"ValueError: Authorization: Bearer {shown}",
                f"torch.OutOfMemoryError: CUDA out of memory {own[::-1]} {shown}",
                f"\x1b[31mFatalError\x1b[0m: token: {own}",
                f"PermissionError: secret_key is {own}",
            )
        )
        noise = chance.choice((b"", b"\0" * 1000, os.urandom(2000), b"\xff\xfe" * 500, b"x" * 100_000, b"\r" * 5000))
        with (folder / "train.log").open("wb") as file:
            for _ in range(200 if number % 100 == 0 else 0):  # of a log without a cap
                file.write(b"y" * 2**20)
            file.write(noise + b"\nTraceback (most recent call last):\n  File 'x'\n")
            file.write(line.encode("utf-8", "replace") + b"\n")
        if chance.random() < 0.3:
            (folder / "metrics.jsonl").write_bytes(noise[:5000] + b'\n{"epoch": 1, "ne": ' + own.encode() + b"}\n")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report = judged(folder, codebase, books, secrets_of(env))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        told = json.dumps(asdict(report.failure) if report.failure else None)
        if own in told or own[::-1] in told or shown in told:
            yield f"log {number} gave away a secret: {told[:300]}"
        if grown > MOST_MIB:
            yield f"log {number} took {grown:.0f} MiB"


def judged(folder: Path, codebase: Codebase, books: Any, secrets: tuple[str, ...] = ()) -> Any:
    draft = RunDraft("key", 1, 1, Phase.VALIDATION, Treatment({"optim.lr": 0.01}), 1, 1.0, 60.0, 60.0)
    seen = Observation(JobState.ENDED, Outcome.FAILED, {"step": "train", "exit_code": 1, "wall_s": 1.0}, "", 1.0, 2.0)
    around = Around(ended_attempts=1, reserved_s=60.0, secrets=secrets)
    return assess(
        Run(1, 1, draft, RunState.ACTIVE), seen, harvest(folder, "train"), codebase, dict, lambda: books, around
    )


# ---------------------------------------------------------------- run directories

NAMES = ("train.log", "evaluate.log", "metrics.jsonl", "step-evaluate.jsonl", "wrapper.log", "wake.log", "exit.reserve",
         "resolved.json", "resolved.yaml", "heartbeat", "pgid")  # fmt: skip
WRITES = ("train.log", "evaluate.log", "step-evaluate.jsonl", "wake.log", "exit.reserve")


def directories(chance: random.Random, count: int, desk: Desk) -> Iterator[str]:
    books, codebase = load_runbooks(), load(desk.root)
    victim, folder = desk.home / "victim", desk.home / "run"
    text = '{"final": true, "ne": 0.1, "word": "sesame"}\nRuntimeError: sesame\n'
    for number in range(count):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        victim.write_text(text)
        name = chance.choice(NAMES)
        how = chance.choice(("link", "pipe", "folder", "dangling", "chain"))
        place = folder / name
        if how == "link":
            place.symlink_to(victim)
        elif how == "pipe":
            os.mkfifo(place)
        elif how == "folder":
            place.mkdir()
        elif how == "dangling":
            place.symlink_to(desk.home / "made-by-escape")
        else:
            (folder / "middle").symlink_to(victim)
            place.symlink_to(folder / "middle")
        began = time.monotonic()
        report = judged(folder, codebase, books)
        if name in WRITES:
            written(folder, name)
        if time.monotonic() - began > 5.0:
            yield f"directory {number}: {name} as {how} kept it for {time.monotonic() - began:.0f} s"
        told = json.dumps([asdict(report.failure) if report.failure else None, str(report.result)])
        if "sesame" in told:
            yield f"directory {number}: {name} as {how} was read: {told[:200]}"
        if victim.read_text() != text or (desk.home / "made-by-escape").exists():
            yield f"directory {number}: {name} as {how} was written through"


def written(folder: Path, name: str) -> None:
    """What the wrapper writes under this name, into whatever lies there."""
    try:
        if name == "exit.reserve":
            rundir.reserve_exit(folder)
            rundir.write_exit(folder, {"outcome": "failed"})
        elif name == "wake.log":
            os.close(rundir.open_own(folder / name, os.O_CREAT | os.O_APPEND | os.O_WRONLY))
        else:
            log = CappedLog(folder / name, 4096)
            log.write(b"z" * 10_000)
            log.close()
    except OSError:
        pass  # refused


# ---------------------------------------------------------------- the trail


def trail(chance: random.Random, count: int, desk: Desk) -> Iterator[str]:
    workspace = desk.workspace()
    campaign = desk.plan(workspace, budget="40r", profile_runs=2)
    desk.approve(workspace, campaign)
    ended = desk.run(workspace, campaign)
    assert ended.state is CampaignState.FINISHED, f"{ended.state.value}: {ended.reason}"
    workspace.store.close()
    settle(desk.home)
    whole, store = desk.home / "whole.db", desk.home / "rea.db"
    with sqlite3.connect(store) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(store, whole)
    tables = (
        "campaigns",
        "hypotheses",
        "runs",
        "attempts",
        "entries",
        "events",
        "plans",
        "approvals",
        "trail",
        "heads",
    )
    for number in range(count):
        for path in desk.home.glob("rea.db*"):
            path.unlink()
        shutil.copy(whole, store)
        statement = ""
        with sqlite3.connect(store) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            while True:
                table = chance.choice(tables)
                rows = [key for (key,) in connection.execute(f"SELECT rowid FROM {table}")]
                row = chance.choice(rows)
                columns = [c for _, c, *_ in connection.execute(f"PRAGMA table_info({table})")]
                column = chance.choice([c for c in columns if c not in PASSING])
                statement = chance.choice(
                    (
                        f"DELETE FROM {table} WHERE rowid = {row}",
                        f"DELETE FROM {table} WHERE rowid >= {row}",
                        f'UPDATE {table} SET "{column}" = {chance.choice(("7", "NULL", "7.5"))} WHERE rowid = {row}',
                        f"""UPDATE {table} SET "{column}" = coalesce("{column}", '') || 'x' WHERE rowid = {row}""",
                    )
                )
                if table == "campaigns" and statement.startswith("DELETE"):
                    continue
                before = list(connection.execute(f"SELECT * FROM {table}"))
                try:
                    connection.execute(statement)
                except sqlite3.Error:
                    continue
                if list(connection.execute(f"SELECT * FROM {table}")) != before:
                    break
        # A store that cannot even be read hides nothing.
        fresh = replace(desk).workspace()
        try:
            if auditing.verify(fresh, campaign.id).whole:
                yield f"edit {number} was not found: {statement}"
        except (ReaError, ValueError, TypeError):
            pass
        finally:
            fresh.store.close()


PASSING = ("fence", "lease_owner", "lease_until", "next_wake_at", "rowid")
FAMILIES: dict[str, Family] = {
    "paths": paths,
    "patches": patches,
    "overrides": overrides,
    "logs": logs,
    "directories": directories,
    "trail": trail,
}


if __name__ == "__main__":
    main()
