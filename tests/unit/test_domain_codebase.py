"""What one run takes, and how long it may be silent."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rea.domain.codebase import LEAST_IDLE_S, MOST_IDLE_S, Resources

SOME = Resources(1, 0, None, 3600.0)


@given(st.floats(0, 1e6))
def test_a_run_that_goes_as_predicted_is_never_silent_for_too_long(predicted_s: float) -> None:
    limit = SOME.idle_limit(predicted_s)
    assert LEAST_IDLE_S <= limit <= MOST_IDLE_S
    assert limit >= min(predicted_s, MOST_IDLE_S)


@given(st.floats(0, 1e6), st.floats(1e-3, 1e6))
def test_what_the_codebase_says_of_silence_holds_for_every_run(predicted_s: float, idle_s: float) -> None:
    assert replace(SOME, idle_s=idle_s).idle_limit(predicted_s) == idle_s
