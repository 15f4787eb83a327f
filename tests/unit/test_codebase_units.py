"""Sizes and durations round trip, and refuse what has no unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rea.codebase.units import parse_duration, parse_size


@given(st.integers(1, 2**40))
def test_a_whole_number_of_any_unit_is_exact(count: int) -> None:
    assert parse_size(f"{count}GiB") == count * 2**30
    assert parse_size(f"{count}kb") == count * 1000


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds
    text = f"{hours}h {minutes}m {seconds}s"
    if total:
        assert parse_duration(text) == total
    else:
        with pytest.raises(ValueError, match="longer than nothing"):
            parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2 * 2**30), ("512MB", 512 * 10**6), ("1.5 kib", 1536), ("7B", 7), ("1TB", 10**12)]
)
def test_units_are_binary_or_decimal_as_written(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "2", "2 gigs", "GiB", "-1GiB", "0GiB", "1e3MB", "2G iB"])
def test_a_size_without_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="2GiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "10", "10 minutes", "1m1h", "0s", "-5m", "m", "5x"])
def test_a_duration_without_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)
