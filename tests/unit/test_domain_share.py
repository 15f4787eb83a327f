"""Days and months that shares of device time renew themselves by."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from rea.domain.share import Share, Team, day_of, month_of, shares

MOMENTS = st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(2100, 1, 1)).map(
    lambda at: at.replace(tzinfo=datetime.UTC)
)


@given(MOMENTS)
def test_every_moment_lies_in_its_own_day_and_month_of_utc(at):
    now = at.timestamp()
    for began, ends, names in (
        (*day_of(now), lambda d: (d.year, d.month, d.day)),
        (*month_of(now), lambda d: (d.year, d.month)),
    ):
        first, last = (datetime.datetime.fromtimestamp(t, datetime.UTC) for t in (began, ends - 1))
        assert began <= now < ends
        assert names(first) == names(at) == names(last)
        assert names(datetime.datetime.fromtimestamp(began - 1, datetime.UTC)) != names(at)
        assert names(datetime.datetime.fromtimestamp(ends, datetime.UTC)) != names(at)


def test_a_plan_s_day_yields_to_its_first_run_and_a_team_s_share_yields_to_none():
    assert Share("the plan's day", 5.0, 0.0, 9.0, yields=True).left_s() == float("inf")
    assert Share("the plan's day", 5.0, 0.0, 9.0, yields=True).left_s(4.0) == 1.0
    assert Share("a team's day", 5.0, 0.0, 9.0).left_s() == 5.0


def test_what_is_used_is_asked_for_by_who_used_it_and_since_when():
    asked = []

    def used(since, team):
        asked.append((since, team))
        return 1.0

    now = datetime.datetime(2026, 12, 24, 18, tzinfo=datetime.UTC).timestamp()
    found = shares(10.0, Team("ads", 20.0, 300.0), now, used)
    assert [(share.limit_s, share.yields) for share in found] == [(10.0, True), (20.0, False), (300.0, False)]
    assert asked == [(day_of(now)[0], None), (day_of(now)[0], "ads"), (month_of(now)[0], "ads")]
    assert shares(None, None, now, used) == ()
