"""Numbers, units and scales as reports write them."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import sample_codebase

from rea.domain.plaintext import clean
from rea.report import text
from rea.report.charts import Scale, ticks


def test_a_share_carries_its_sign_and_never_shows_a_negative_nothing() -> None:
    assert text.percent(0.00421) == "+0.421\u00a0%"
    assert text.percent(-0.00421) == "−0.421\u00a0%"
    assert text.percent(-0.0000001) == text.percent(0.0) == "0.000\u00a0%"
    assert text.percent(math.nan) == text.percent(None) == "—"
    assert text.spread(0.004, 0.001) == "+0.400 ± 0.100\u00a0%"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.147, "0.15 s"), (2.34, "2.3 s"), (89, "89 s"),
     (90, "2 min"), (3599, "1 h"), (12000, "3 h 20 min"), (86400, "1 d"), (187200, "2 d 4 h"),
     (-30, "−30 s")],
)  # fmt: skip
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


def test_device_time_is_in_minutes_when_small_and_names_its_device() -> None:
    cores = sample_codebase()
    gpus = replace(cores, resources=replace(cores.resources, gpus=2))
    assert text.device_time(852, cores) == "14.2 core-minutes"
    assert text.device_time(0.6, cores) == "0.60 core-seconds"
    assert text.device_time(18900, gpus) == "5.25 GPU-hours"
    assert text.device_range(-50.0, 18000.0, cores) == "0.0 to 5.0 core-hours"


@given(st.text())
def test_cleaned_text_is_one_line_that_utf8_and_xml_can_hold(words: str) -> None:
    cleaned = clean(words)
    cleaned.encode("utf-8")
    assert len(cleaned.splitlines()) <= 1
    assert all(ord(character) >= 32 for character in cleaned)
    assert clean(cleaned) == cleaned


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_few_even_and_inside(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    assert len(found) <= 7
    assert all(low - 1e-6 * span - 1e-6 <= tick <= high + 1e-6 * span + 1e-6 for tick in found)


@given(st.floats(allow_nan=False))
def test_a_scale_never_leaves_its_frame(value: float) -> None:
    assert 10 <= Scale(-1.0, 1.0, 10, 20)(value) <= 20


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1024, "1.0 KiB"), (10137, "9.9 KiB"), (10240, "10 KiB"),
     (1023 * 1024, "1.0 MiB"), (5 * 2**30, "5.0 GiB"), (3 * 2**40, "3.0 TiB")],
)  # fmt: skip
def test_sizes_of_files_read_as_people_say_them(size: float, words: str) -> None:
    assert text.disk(size) == words
