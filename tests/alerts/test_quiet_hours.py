from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alerts.quiet_hours import QuietHours

ZONES = st.sampled_from(["UTC", "Europe/Vienna", "Asia/Kolkata", "Australia/Lord_Howe"])
MOMENTS = st.integers(0, 2 * 365 * 24 * 60).map(
    lambda minute: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
)
CLOCKS = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))


def night(zone: str = "Europe/Vienna") -> QuietHours:
    return QuietHours(begin=time(22), end=time(7), timezone=zone)


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        (datetime(2026, 6, 1, 20, 0, tzinfo=UTC), datetime(2026, 6, 2, 5, 0, tzinfo=UTC)),
        (datetime(2026, 6, 1, 19, 59, tzinfo=UTC), None),
        (datetime(2026, 6, 2, 4, 59, tzinfo=UTC), datetime(2026, 6, 2, 5, 0, tzinfo=UTC)),
        (datetime(2026, 6, 2, 5, 0, tzinfo=UTC), None),
        # The clocks go forward and back in these nights.
        (datetime(2026, 3, 28, 22, 0, tzinfo=UTC), datetime(2026, 3, 29, 5, 0, tzinfo=UTC)),
        (datetime(2026, 10, 24, 22, 0, tzinfo=UTC), datetime(2026, 10, 25, 6, 0, tzinfo=UTC)),
    ],
)
def test_the_night_ends_at_seven_by_the_clocks_of_its_zone(
    moment: datetime, end: datetime | None
) -> None:
    assert night().end_after(moment) == end


def test_hours_within_a_day_do_not_reach_over_midnight() -> None:
    siesta = QuietHours(begin=time(13), end=time(15), timezone="UTC")
    assert siesta.end_after(datetime(2026, 6, 1, 14, tzinfo=UTC)) == datetime(
        2026, 6, 1, 15, tzinfo=UTC
    )
    assert siesta.end_after(datetime(2026, 6, 1, 23, tzinfo=UTC)) is None


@given(moment=MOMENTS, begin=CLOCKS, end=CLOCKS, zone=ZONES)
def test_the_end_is_later_at_most_a_day_away_and_shows_the_time_of_the_end(
    moment: datetime, begin: time, end: time, zone: str
) -> None:
    assume(begin != end)
    found = QuietHours(begin=begin, end=end, timezone=zone).end_after(moment)
    if found is None:
        return
    assert moment < found <= moment + timedelta(hours=25)
    local = found.astimezone(ZoneInfo(zone))
    # In a gap no clock shows the end; it is then the instant that takes its place.
    before = (found - timedelta(hours=3)).astimezone(ZoneInfo(zone))
    assert local.time() == end or local.utcoffset() != before.utcoffset()


@given(moment=MOMENTS, begin=CLOCKS, end=CLOCKS)
def test_of_two_complementary_times_one_is_quiet(moment: datetime, begin: time, end: time) -> None:
    assume(begin != end)
    one = QuietHours(begin=begin, end=end, timezone="Europe/Vienna").end_after(moment)
    other = QuietHours(begin=end, end=begin, timezone="Europe/Vienna").end_after(moment)
    assert (one is None) != (other is None)
