"""What is written for systemd and cron means what was meant, whatever stands in a path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.domain.errors import ReaError, UsageError
from rea.workspace.service import LONGEST_LINE, cron_line, unit, with_line

# Paths and values as they may be: printable, with all that systemd, cron or a shell could take for its own.
WORDS = st.text(st.sampled_from("ab /%$\\\"'`;&|<>*?~#!(){}=é"), min_size=1, max_size=20)


@given(value=WORDS, folder=WORDS)
def test_cron_hands_a_shell_exactly_the_values_that_were_meant(value: str, folder: str) -> None:
    line = cron_line("/usr/bin/printenv", {"REA_STORE": value, "REA_RUNS": folder}, 5)
    fields = line.split(" ", 5)
    assert fields[:5] == ["*/5", "*", "*", "*", "*"] and "\n" not in line
    # As crontab(5) has it: an escaped per cent sign is one, any other ends the command.
    command = fields[5].replace("\\%", "\0")
    assert "%" not in command
    command = command.replace("\0", "%").replace(" -P -m rea wake >/dev/null", " -0 REA_STORE REA_RUNS")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, env={}, check=True)
    assert done.stdout.decode() == f"{value}\0{folder}\0"


def test_a_line_too_long_for_some_crons_and_a_value_none_can_hold_are_refused() -> None:
    with pytest.raises(UsageError, match=r"characters(.|\n)*PATH"):
        cron_line(sys.executable, {"PATH": "/x" * LONGEST_LINE, "LANG": "C"}, 5)
    for value in ("a\nb", "a\x1bb"):
        with pytest.raises(UsageError, match="control characters"):
            cron_line(sys.executable, {"REA_RUNS": value}, 5)
        with pytest.raises(UsageError, match="control characters"):
            unit("abcdef", sys.executable, {"REA_RUNS": value})


LINES = st.lists(st.sampled_from(["0 5 * * * backup", "MAILTO=me", "", "# mine"]), max_size=5)


@given(others=LINES, later=LINES)
def test_an_entry_is_replaced_and_taken_away_and_nothing_else_is_touched(others: list[str], later: list[str]) -> None:
    text = "".join(f"{line}\n" for line in others)
    once = with_line(text, "aaaaaa", "one")
    assert once.startswith(text) and once.count("one") == 1
    grown = with_line(once, "bbbbbb", "other") + "".join(f"{line}\n" for line in later)
    twice = with_line(grown, "aaaaaa", "two")
    assert twice.count("two") == 1 and "one" not in twice and twice.count("other") == 1
    assert with_line(with_line(twice, "aaaaaa", None), "bbbbbb", None).splitlines() == others + later
    assert with_line(text.rstrip("\n"), "aaaaaa", None).splitlines() == text.rstrip("\n").splitlines()


def test_an_entry_whose_marks_do_not_match_is_left_to_its_owner() -> None:
    whole = with_line("", "aaaaaa", "one")
    for torn in (whole.splitlines()[0], "\n".join(reversed(whole.splitlines())), whole + whole.splitlines()[-1]):
        with pytest.raises(ReaError, match="do not match"):
            with_line(torn, "aaaaaa", None)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", ["a b%h $HOME é", 'it\'s \\d "%%"'])
def test_systemd_reads_the_unit_as_it_was_meant(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    python = folder / "python"
    python.symlink_to(sys.executable)

    def verify(text: str) -> str:
        path = tmp_path / "rea-abcdef.service"
        path.write_text(text)
        command = ["systemd-analyze", "--user", "--man=no", "verify", str(path)]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
        if "Failed to initialize manager" in done.stderr:
            pytest.skip(done.stderr.strip())
        return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if "abcdef" in line)

    good = unit("abcdef", str(python), {"REA_RUNS": str(folder), "PATH": '/usr/bin:/a "b"%i \\'})
    assert verify(good) == ""
    assert verify(good.replace("Restart=always", "Restart=now and then")), "it says what it cannot read"
    if "/usr/bin/env" not in good:
        assert "not executable" in verify(good.replace("%%h", "%h")), "it looks for the program by its name"
    assert "KillMode=process" in good and "OOMPolicy=continue" in good, "jobs outlive the daemon"
