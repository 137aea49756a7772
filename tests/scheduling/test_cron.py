from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstash_server.parsing.cron import parse_cron
from scheduling.cron import Cron, CronError, in_words, parse, without_seconds

UTC_ZONE = ZoneInfo("UTC")


def local_times(expression: str, zone_name: str, after: str, count: int) -> list[str]:
    zone = ZoneInfo(zone_name)
    start = datetime.fromisoformat(after).replace(tzinfo=zone)
    instants = parse(expression).next(zone, start, count)
    return [instant.astimezone(zone).strftime("%m-%d %H:%M %z") for instant in instants]


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [
        ("*/15 * * * *", {0, 15, 30, 45}),
        ("5-59/15 * * * *", {5, 20, 35, 50}),
        ("5/15 * * * *", {5, 20, 35, 50}),
        ("1,2,40-42 * * * *", {1, 2, 40, 41, 42}),
        ("? * * * *", set(range(60))),
    ],
)
def test_minutes_are_lists_ranges_and_steps(expression: str, minutes: set[int]) -> None:
    assert parse(expression).minutes == minutes


@pytest.mark.parametrize(
    ("expression", "seconds", "minutes"),
    [
        ("*/15 * * * *", {0}, "*/15 * * * *"),
        ("*/15 * * * * *", {0, 15, 30, 45}, "* * * * *"),
        ("0,30 * 9-17 * * 1-5", {0, 30}, "* 9-17 * * 1-5"),
        (" 5  0 7 * *  MON ", {5}, "0 7 * * MON"),
        ("@hourly", {0}, "@hourly"),
    ],
)
def test_six_fields_begin_with_the_seconds(
    expression: str, seconds: set[int], minutes: str
) -> None:
    assert parse(expression).seconds == seconds
    assert without_seconds(expression) == minutes
    assert parse(expression).fires_within_minutes is (seconds != {0})


@pytest.mark.parametrize(
    ("expression", "zone", "after", "fires"),
    [
        ("*/5 * * * * *", "UTC", "2026-05-01T12:00:03", ["12:00:05", "12:00:10", "12:00:15"]),
        ("*/20 * * * * *", "UTC", "2026-12-31T23:59:45", ["00:00:00", "00:00:20", "00:00:40"]),
        ("0,30 59 17 * * FRI", "Europe/Vienna", "2026-05-01T17:58", ["17:59:00", "17:59:30"]),
        # From 01:59:30 the clocks of New York jump to 03:00, and back from 01:59:30 to 01:00.
        ("30 * * * * *", "America/New_York", "2026-03-08T01:58:31", ["01:59:30", "03:00:30"]),
        ("30 59 1 * * *", "America/New_York", "2026-11-01", ["01:59:30", "01:59:30"]),
    ],
)
def test_six_fields_fire_within_minutes(
    expression: str, zone: str, after: str, fires: list[str]
) -> None:
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone))
    instants = parse(expression).next(ZoneInfo(zone), start, len(fires))
    assert [f"{at.astimezone(ZoneInfo(zone)):%H:%M:%S}" for at in instants] == fires


def test_names_are_read_in_any_case() -> None:
    cron = parse("0 7 * jan-Mar MON-fri")
    assert cron.months == {1, 2, 3}
    assert cron.weekdays == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "has 0"),
        ("* * * *", "has 4"),
        ("0 */5 * * * * *", "has 7"),
        ("60 * * * * *", "second field cannot be '60': 60 is out of range"),
        ("*/5 60 * * * *", "minute field"),
        ("60 * * * *", "minute field cannot be '60': 60 is out of range"),
        ("* 24 * * *", "hour field"),
        ("* * 0 * *", "day of month field"),
        ("* * * 13 *", "month field"),
        ("* * * * 7", "weekday field"),
        ("*/0 * * * *", "a step must be 1 or more"),
        ("9-3 * * * *", "the start of a range lies after its end"),
        ("1, * * * *", "a number is missing"),
        ("L * * * *", "'L' is not a number"),
        ("* * * * MON#2", "not a number"),
        ("٣ * * * *", "not a number"),
        ("-5 * * * *", "a number is missing"),
        ("@reboot", "is not one of"),
    ],
)
def test_what_qstash_refuses_is_refused_with_the_reason(expression: str, complaint: str) -> None:
    with pytest.raises(CronError, match=complaint.replace("(", r"\(")):
        parse(expression)


def test_restricted_day_and_weekday_fire_on_either() -> None:
    # The 13th, and every Friday.
    fires = local_times("0 0 13 * FRI", "UTC", "2026-03-01", 4)
    assert fires == [f"03-{day} 00:00 +0000" for day in ("06", "13", "20", "27")]


def test_step_of_days_counts_as_restricted() -> None:
    cron = parse("0 0 */2 * MON")
    assert (cron.any_day, cron.any_weekday) == (False, False)


def test_leap_day_is_found_across_a_century_without_one() -> None:
    after = datetime(2096, 3, 1, tzinfo=UTC)
    assert parse("0 0 29 2 *").next(UTC_ZONE, after, 1) == [datetime(2104, 2, 29, tzinfo=UTC)]


def test_day_that_does_not_exist_never_fires() -> None:
    assert parse("0 0 31 2 *").next(UTC_ZONE, datetime(2026, 1, 1, tzinfo=UTC), 1) == []


@pytest.mark.parametrize(
    ("expression", "zone", "after", "fires"),
    [
        # Clocks jump from 02:00 to 03:00: 02:30 is skipped that day.
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07",
            ["03-07 02:30 -0500", "03-09 02:30 -0400"],
        ),
        # 01:30 comes twice.
        (
            "30 1 * * *",
            "America/New_York",
            "2026-11-01",
            ["11-01 01:30 -0400", "11-01 01:30 -0500", "11-02 01:30 -0500"],
        ),
        ("30 1 * * *", "Europe/London", "2026-03-28", ["03-28 01:30 +0000", "03-30 01:30 +0100"]),
        ("0 1 * * *", "Europe/London", "2026-10-25", ["10-25 01:00 +0100", "10-25 01:00 +0000"]),
        # Lord Howe moves by half an hour: 02:00 to 02:30 in October, 02:00 back to 01:30 in April.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03",
            ["10-03 02:15 +1030", "10-05 02:15 +1100"],
        ),
        (
            "*/15 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-05T01:20",
            ["04-05 01:30 +1100", "04-05 01:45 +1100", "04-05 01:30 +1030", "04-05 01:45 +1030"],
        ),
        ("0 9 * * *", "Asia/Kathmandu", "2026-06-01", ["06-01 09:00 +0545"]),
    ],
)
def test_clock_changes_skip_and_repeat_local_times(
    expression: str, zone: str, after: str, fires: list[str]
) -> None:
    assert local_times(expression, zone, after, len(fires)) == fires


def test_fire_times_lie_after_the_instant_even_when_it_matches() -> None:
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert parse("0 12 * * *").next(UTC_ZONE, noon, 1) == [noon + timedelta(days=1)]


def _terms(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    base = st.one_of(st.just("*"), number.map(str), span)
    step = st.integers(1, high).map(lambda n: f"/{n}")
    term = st.tuples(base, st.one_of(st.just(""), step)).map("".join)
    return st.lists(term, min_size=1, max_size=3).map(",".join)


expressions = st.tuples(
    _terms(0, 59), _terms(0, 23), _terms(1, 31), _terms(1, 12), _terms(0, 6)
).map(" ".join)
zones = st.sampled_from(
    ["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu"]
)
moments = st.integers(0, 15 * 366 * 86_400).map(
    lambda seconds: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


@settings(deadline=None)
@given(expressions, zones, moments)
def test_every_fire_time_matches_and_comes_in_order(
    expression: str, zone_name: str, after: datetime
) -> None:
    zone, cron = ZoneInfo(zone_name), parse(expression)
    fires = cron.next(zone, after, 5)
    assert fires == sorted(set(fires))
    for instant in fires:
        assert instant > after
        assert _matches(cron, instant.astimezone(zone))


def _matches(cron: Cron, local: datetime) -> bool:
    by_day, by_weekday = local.day in cron.days, local.isoweekday() % 7 in cron.weekdays
    either = by_day or by_weekday
    both = by_day and by_weekday
    day = both if cron.any_day or cron.any_weekday else either
    return (
        day
        and local.month in cron.months
        and local.hour in cron.hours
        and local.minute in cron.minutes
        and local.second in cron.seconds
    )


with_seconds = st.tuples(_terms(0, 59), expressions).map(" ".join)
#: Half an hour before a clock change up to some hours after it, and any other time.
near_changes = st.tuples(
    st.sampled_from(["2026-03-08T06:30", "2026-11-01T05:30", "2026-03-29T00:30", "2026-10-25T00:30",
                     "2026-04-04T14:30", "2026-10-03T15:00", "2026-06-30T23:59"]),
    st.integers(0, 3 * 3600),
).map(lambda at: datetime.fromisoformat(f"{at[0]}+00:00") + timedelta(seconds=at[1]))  # fmt: skip


@settings(deadline=None)
@given(with_seconds, zones, near_changes)
def test_instants_of_six_fields_are_those_that_a_look_at_each_second_finds(
    expression: str, zone_name: str, after: datetime
) -> None:
    zone, cron = ZoneInfo(zone_name), parse(expression)
    until = after + timedelta(minutes=10)
    seconds = (after + timedelta(seconds=second) for second in range(1, 10 * 60 + 1))
    scanned = [instant for instant in seconds if _matches(cron, instant.astimezone(zone))]
    computed = list(takewhile(lambda at: at <= until, cron.fire_times(zone, after)))
    assert computed == scanned


@settings(deadline=None, max_examples=40)
@given(with_seconds, zones, near_changes)
def test_the_minutes_of_six_fields_are_those_in_which_qstash_calls(
    expression: str, zone_name: str, after: datetime
) -> None:
    zone = ZoneInfo(zone_name)
    minutes = parse(without_seconds(expression)).next(zone, after, 3)
    until = minutes[-1] if minutes else after
    fires = takewhile(
        lambda at: at < until, parse(expression).fire_times(zone, after.replace(second=59))
    )
    assert {at.replace(second=0) for at in fires} == set(minutes[:-1])


@settings(deadline=None)
@given(expressions, zones, moments)
def test_the_qstash_server_fires_at_the_same_instants(
    expression: str, zone_name: str, after: datetime
) -> None:
    # Written without knowledge of each other, so a mistake would have to be made twice.
    ours = parse(expression).next(ZoneInfo(zone_name), after, 3)
    schedule = parse_cron(f"CRON_TZ={zone_name} {expression}")
    theirs: list[datetime] = []
    next_ms = schedule.next_after(round(after.timestamp() * 1000))
    while next_ms is not None and len(theirs) < 3:
        theirs.append(datetime.fromtimestamp(next_ms / 1000, UTC))
        next_ms = schedule.next_after(next_ms)
    assert ours == theirs


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(CronError):
        parse(text)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("*/15 * * * *", "Every 15 minutes"),
        ("@daily", "At 00:00"),
        ("30 7 * * MON-FRI", "At 07:30, Monday through Friday"),
        ("*/5 * * * * *", "Every 5 seconds"),
        ("30 0 7 * * MON", "At 07:00:30, only on Monday"),
        ("0 4 1 * MON", "At 04:00, on day 1 of the month, or on Monday"),
    ],
)
def test_cron_is_told_in_words(cron: str, words: str) -> None:
    assert in_words(cron) == words


@settings(deadline=None)
@given(expressions | with_seconds)
def test_every_cadence_can_be_told_in_words(expression: str) -> None:
    assert in_words(expression)
