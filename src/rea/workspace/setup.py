"""Making a codebase ready: a first rea.toml, and a key that may approve its plans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rea.codebase.doctor import Check, examine
from rea.codebase.git import GitError, repository
from rea.codebase.init import draft
from rea.domain.errors import ReaError
from rea.guard.policy import Effect, Request, require
from rea.guard.signing import SIGNERS_FILE, allow, create_key, find_key, own_key, principal, public_key, read_signers
from rea.store import data_home
from rea.store.address import check_disk, check_path, default_url, parse
from rea.workspace.compose import actor, place_of_runs


@dataclass(frozen=True, slots=True)
class SetUp:
    """What was written, under whose name, and what the engineer should know."""

    root: Path
    written: tuple[str, ...]
    signer: str
    key: Path
    notes: tuple[str, ...]
    uncommitted: tuple[str, ...]  # of the files that were written now or before

    def text(self) -> str:
        lines = [f"{self.root}:"]
        lines += [f"  wrote {name}" for name in self.written] or ["  nothing to write: it is set up already"]
        lines.append(f"  {self.signer} approves plans with {self.key}")
        lines += [f"  note: {note}" for note in self.notes]
        if self.uncommitted:
            files = " ".join(self.uncommitted)
            lines.append(f"next: read rea.toml, then `git add {files} && git commit`, then `rea doctor`")
        else:
            lines.append("next: `rea plan --budget 20r`")
        return "\n".join(lines)


def set_up(root: Path, key: Path | None = None) -> SetUp:
    """Draft `rea.toml` where there is none, and list this engineer's public key in `.rea/allowed_signers`.

    An existing rea.toml is left alone. Without an SSH key of their own the engineer gets one made for approvals.
    Raises GuardrailError for a caller that may not say who signs.
    """
    require(Request(actor(), Effect.MANAGE), None)
    root = root.resolve()
    written: list[str] = []
    notes: list[str] = []
    if not (root / "rea.toml").exists():
        made = draft(root)
        (root / "rea.toml").write_text(made.text, encoding="utf-8")
        written.append("rea.toml")
        notes += made.notes
    who = principal(root)
    chosen = key or find_key(who, allowed_signers=read_signers(root), root=root)
    if chosen is None:
        chosen = own_key()
        create_key(chosen, who)
        notes.append(f"you had no SSH key; this one, without a passphrase, is for approvals only: {chosen}")
    if allow(root, who, public_key(chosen)):
        written.append(str(SIGNERS_FILE))
    return SetUp(root, tuple(written), who, chosen, tuple(notes), _uncommitted(root, tuple(written)))


def _uncommitted(root: Path, written: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return repository(root).is_clean(("rea.toml", str(SIGNERS_FILE)))
    except GitError:  # in no repository yet, which `rea doctor` explains
        return written


def examine_all(path: Path) -> tuple[Check, ...]:
    """What a codebase still lacks, and whether the store that the environment names can be where it is.

    Nothing is changed; no store is made.
    """
    from rea.launchers import KINDS
    from rea.launchers.host import look

    runs, store = None, Check("store", True, "")
    try:
        address = parse(default_url())
        kind = "PostgreSQL" if address.path is None else _disk_of(address.path)
        runs = place_of_runs(address.path)
        store = Check("store", True, f"{address.where}{f', {kind}' if kind else ''}")
    except ReaError as error:
        store = Check("store", False, error.message, error.hint)
    return (*examine(path, launchers=KINDS, runs=runs, host=look()), store)


def _disk_of(store: Path) -> str:
    if store.parent.is_dir() or store.parent != data_home().resolve():  # that one is made at the first opening
        check_path(store)
    return check_disk(store)
