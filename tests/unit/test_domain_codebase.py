"""What one run takes, and how long it may be silent."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rea.domain.codebase import LEAST_IDLE_S, LEAST_SEEN_IDLE, MOST_IDLE_S, Resources

SOME = Resources(1, 0, None, 3600.0)


@given(st.floats(0, 1e6), st.floats(0, 1e5))
def test_what_the_baseline_did_without_a_word_a_run_may_do_for_several_times_as_long(
    predicted_s: float, silent_s: float
) -> None:
    limit = SOME.idle_limit(predicted_s, silent_s)
    assert limit >= max(LEAST_IDLE_S, LEAST_SEEN_IDLE * silent_s)
    assert limit <= max(MOST_IDLE_S, LEAST_SEEN_IDLE * silent_s)
    assert SOME.idle_limit(predicted_s, None) == MOST_IDLE_S  # nothing is known of it


@given(st.floats(0, 1e6), st.floats(1e-3, 1e6), st.none() | st.floats(0, 1e5))
def test_what_the_codebase_says_of_silence_holds_for_every_run(
    predicted_s: float, idle_s: float, silent_s: float | None
) -> None:
    assert replace(SOME, idle_s=idle_s).idle_limit(predicted_s, silent_s) == idle_s
