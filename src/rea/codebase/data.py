"""Asking a codebase about its data: the `profile` command, its time limit, and what its answer must look like."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from rea.codebase.overrides import Command, profile_command
from rea.domain.codebase import Codebase
from rea.domain.data import DataField, DataProfile, FieldPair
from rea.domain.errors import ReaError

if TYPE_CHECKING:
    from rea.codebase.schema import DataTable

ANSWER_BYTES: Final = 4 * 2**20
_SAID: Final = 300  # characters of what a failed command said


def data_profile(codebase: Codebase, worktree: Path, *, env: Mapping[str, str], limit_s: float) -> DataProfile | None:
    """What the codebase's `profile` command tells about its data; None if rea.toml has none.

    `worktree` is the codebase's folder at the pinned commit, `env` the whole environment of the command. It and all
    that it started are ended after `limit_s` seconds. Raises ReaError, saying what came instead of an answer.
    """
    command = profile_command(codebase, worktree, env=env)
    if command is None:
        return None
    return read_profile(_answer(command, limit_s))


def read_profile(text: str) -> DataProfile:
    """The profile in the last line of a command's output. Raises ReaError naming the key and what was expected."""
    from pydantic import ValidationError

    from rea.codebase.schema import DataTable

    line = next((one for one in reversed(text.splitlines()) if one.strip()), "")
    hint = "docs/rea-toml.md says what a data profile holds"
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        shown = f": {line.strip()[:80]!r}" if line.strip() else ", it printed nothing"
        raise ReaError(f"the profile command's last line is no JSON object{shown}", hint=hint) from None
    try:
        return _profile(DataTable.model_validate(raw))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        found = "" if first["type"] == "missing" else f", found {json.dumps(first['input'], default=str)[:60]}"
        raise ReaError(f"the data profile's {place}: {first['msg'].lower()}{found}{more}", hint=hint) from None


def _profile(table: DataTable) -> DataProfile:
    return DataProfile(
        rows=dict(table.rows),
        positive_rate=table.positive_rate,
        seen_rows=table.seen_rows,
        fields=tuple(DataField(**one.model_dump()) for one in table.fields),
        pairs=None
        if table.pairs is None
        else tuple(FieldPair((one.fields[0], one.fields[1]), one.information) for one in table.pairs),
    )


def _answer(command: Command, limit_s: float) -> str:
    """The command's standard output. Both outputs go to files, so that nothing it prints can fill our memory."""
    shown = shlex.join(command.argv[:3])
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                command.argv,
                cwd=command.cwd,
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except OSError as error:
            said = error.strerror or str(error)
            raise ReaError(f"the profile command does not start: {said}", hint=f"try `{shown} …` by hand") from error
        try:
            code = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise ReaError(
                f"the profile command did not end within {limit_s:g} s",
                hint="let it look at a sample of the rows; a data profile should take seconds",
            ) from None
        finally:
            # All of its session, whether it ended or not: nothing of it may outlive the answer.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if code:
            lines = _text(err).strip().splitlines()
            said = f": {lines[-1].strip()[:_SAID]}" if lines else ""
            raise ReaError(f"the profile command ended with {code}{said}", hint=f"try `{shown} …` by hand")
        if os.fstat(out.fileno()).st_size > ANSWER_BYTES:
            raise ReaError(
                f"the profile command printed more than {ANSWER_BYTES // 2**20} MiB",
                hint="print one JSON object on standard output, everything else on standard error",
            )
        return _text(out)


def _text(file: IO[bytes]) -> str:
    """The last bytes of a file that still is open for writing."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - ANSWER_BYTES))
    return file.read().decode("utf-8", "replace")
