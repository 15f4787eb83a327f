"""Logs keep their head and tail under a hard cap; metrics are read line by line as they grow."""

import re
import resource
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from rea.job.logs import CappedLog, LineReader

NOTE = re.compile(rb"\n\[rea: (\d+) bytes cut here\]\n")


@settings(deadline=None)
@given(chunks=st.lists(st.binary(max_size=300), max_size=40), cap=st.integers(200, 1500))
def test_a_log_never_exceeds_its_cap_and_keeps_head_and_tail(tmp_path_factory, chunks, cap):
    path = tmp_path_factory.mktemp("log") / "train.log"
    log, everything = CappedLog(path, cap), b"".join(chunks)
    for chunk in chunks:
        log.write(chunk)
        assert path.stat().st_size <= cap
    log.close()
    content = path.read_bytes()
    assert len(content) == min(cap, len(everything))
    if len(everything) <= cap:
        assert content == everything and log.cut == 0
        return
    head = cap // 2
    note = NOTE.match(content, head)
    assert note is not None
    assert int(note[1]) == log.cut
    assert content[:head] == everything[:head]
    tail = content[note.end() :]
    assert everything.endswith(tail)
    assert head + log.cut + len(tail) == len(everything)


def test_one_write_far_larger_than_the_cap_keeps_its_very_end(tmp_path):
    log = CappedLog(tmp_path / "log", 4096)
    log.write(b"a" * 100_000 + b"the end")
    log.close()
    assert (tmp_path / "log").read_bytes().endswith(b"athe end")


def test_a_disk_that_fills_up_keeps_head_and_tail_of_what_fits(tmp_path):
    # A file size limit stands in for a full disk: writes fall short and then fail, in a process of its own.
    code = """
import resource, signal, sys
from pathlib import Path
from rea.job.logs import CappedLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
log = CappedLog(Path(sys.argv[1]), 100_000)
for number in range(2000):
    log.write(b"%05d\\n" % number)
log.close()
print(log.cut)
"""
    path = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    content = path.read_bytes()
    assert len(content) == 1000
    assert content.startswith(b"00000\n00001\n") and content.endswith(b"01998\n01999\n")
    assert int(done.stdout) == int(NOTE.search(content)[1])


def test_a_log_that_cannot_be_opened_swallows_everything_and_says_so(tmp_path):
    log = CappedLog(tmp_path / "missing" / "log", 4096)
    log.write(b"x" * 10_000)
    log.close()
    assert log.cut == 10_000


def test_a_flood_is_not_held_in_memory(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log, block = CappedLog(tmp_path / "log", 8 * 2**20), b"x" * 65536
    for _ in range(2000):
        log.write(block)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * 1024
    log.close()
    assert (tmp_path / "log").stat().st_size == 8 * 2**20


@settings(deadline=None)
@given(lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20), data=st.data())
def test_lines_arrive_once_and_whole_however_the_writer_tears_them(tmp_path_factory, lines, data):
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    text = b"".join(line + b"\n" for line in lines) + b"torn"
    reader, seen, at = LineReader(path), [], 0
    assert reader.read() == []
    while at < len(text):
        size = data.draw(st.integers(1, len(text) - at))
        with path.open("ab") as stream:
            stream.write(text[at : at + size])
        at += size
        seen += reader.read()
    assert seen == lines


def test_a_line_without_an_end_costs_no_memory_and_hides_nothing_after_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    reader, seen = LineReader(path), []
    for _ in range(6):
        with path.open("ab") as stream:
            stream.write(b"x" * 700_000)
        seen += reader.read()
    with path.open("ab") as stream:
        stream.write(b"\ngood\n")
    assert seen + reader.read() == [b"good"]


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"one\ntwo\n")
    reader = LineReader(path)
    assert reader.read() == [b"one", b"two"]
    path.write_bytes(b"new\n")
    assert reader.read() == [b"new"]
