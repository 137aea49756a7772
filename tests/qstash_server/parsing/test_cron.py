from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstash_server.errors import BadRequest
from qstash_server.parsing.cron import Cron, parse_cron

MINUTE_MS = 60_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1000


def firings(cron: str, start: str, count: int) -> list[str]:
    """Return the next firings after `start` as UTC times to the minute."""
    schedule, at_ms, found = parse_cron(cron), ms(start), []
    for _ in range(count):
        at = schedule.next_after(at_ms)
        assert at is not None
        at_ms = at
        found.append(datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        ("*/15 * * * *", "2026-02-07T10:00:00Z", ["2026-02-07 10:15", "2026-02-07 10:30"]),
        ("5-59/15 * * * *", "2026-02-07T10:40:00Z", ["2026-02-07 10:50", "2026-02-07 11:05"]),
        ("50/5 * * * *", "2026-02-07T10:40:00Z", ["2026-02-07 10:50", "2026-02-07 10:55"]),
        ("0 9 * * MON-fri", "2026-02-06T09:00:00Z", ["2026-02-09 09:00", "2026-02-10 09:00"]),
        ("0 0 1,15 jan,DEC *", "2026-01-02T00:00:00Z", ["2026-01-15 00:00", "2026-12-01 00:00"]),
        ("0 0 ? * ?", "2026-02-07T10:00:00Z", ["2026-02-08 00:00", "2026-02-09 00:00"]),
        ("@hourly", "2026-02-07T10:00:00Z", ["2026-02-07 11:00", "2026-02-07 12:00"]),
        ("@weekly", "2026-02-07T10:00:00Z", ["2026-02-08 00:00", "2026-02-15 00:00"]),
        ("@yearly", "2026-02-07T10:00:00Z", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("@every 1h30m", "2026-02-07T10:00:00Z", ["2026-02-07 11:30", "2026-02-07 13:00"]),
        ("0 0 29 2 *", "2096-03-01T00:00:00Z", ["2104-02-29 00:00"]),
        ("  1 1 1 1 1  ", "2026-01-02T00:00:00Z", ["2026-01-05 01:01", "2026-01-12 01:01"]),
        # Both days restricted: either one is enough.
        ("0 0 13 * 5", "2026-02-01T00:00:00Z", ["2026-02-06 00:00", "2026-02-13 00:00"]),
        # "*/2" is no star for that rule (its step takes the star away), "*/1" is.
        ("0 0 */2 * 1", "2026-02-01T00:00:00Z", ["2026-02-02 00:00", "2026-02-03 00:00"]),
        ("0 0 */1 * 1", "2026-02-01T00:00:00Z", ["2026-02-02 00:00", "2026-02-09 00:00"]),
        ("0 0 *,1 * 1", "2026-02-01T00:00:00Z", ["2026-02-02 00:00", "2026-02-09 00:00"]),
    ],
)
def test_fields_mean_what_robfig_cron_makes_of_them(
    cron: str, start: str, expected: list[str]
) -> None:
    assert firings(cron, start, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        # New York 2026: 02:00 to 03:00 is missing on March 8th, 01:00 to 02:00 comes twice on
        # November 1st.
        (
            "CRON_TZ=America/New_York 30 2 * * *",
            "2026-03-07T12:00:00Z",
            ["2026-03-09 06:30", "2026-03-10 06:30"],
        ),
        (
            "CRON_TZ=America/New_York 30 1 * * *",
            "2026-10-31T12:00:00Z",
            ["2026-11-01 05:30", "2026-11-01 06:30", "2026-11-02 06:30"],
        ),
        (
            "TZ=America/New_York */30 1-3 8 3 *",
            "2026-03-07T12:00:00Z",
            ["2026-03-08 06:00", "2026-03-08 06:30", "2026-03-08 07:00", "2026-03-08 07:30"],
        ),
        (
            "CRON_TZ=America/New_York 0 9 * * *",
            "2026-03-07T00:00:00Z",
            ["2026-03-07 14:00", "2026-03-08 13:00"],
        ),
        (
            "CRON_TZ=America/New_York 0 9 * * *",
            "2026-10-31T00:00:00Z",
            ["2026-10-31 13:00", "2026-11-01 14:00"],
        ),
        # London 2026: 01:00 to 02:00 is missing on March 29th, and comes twice on October 25th.
        (
            "CRON_TZ=Europe/London 0 1 * * *",
            "2026-03-28T12:00:00Z",
            ["2026-03-30 00:00", "2026-03-31 00:00"],
        ),
        (
            "CRON_TZ=Europe/London 59 1 * * *",
            "2026-10-24T12:00:00Z",
            ["2026-10-25 00:59", "2026-10-25 01:59", "2026-10-26 01:59"],
        ),
        # Lord Howe moves by half an hour. 2026: 01:30 to 02:00 comes twice on April 5th, 02:00 to
        # 02:30 is missing on October 4th.
        (
            "CRON_TZ=Australia/Lord_Howe 45 1 * * *",
            "2026-04-04T12:00:00Z",
            ["2026-04-04 14:45", "2026-04-04 15:15", "2026-04-05 15:15"],
        ),
        (
            "CRON_TZ=Australia/Lord_Howe 15 2 * * *",
            "2026-10-03T12:00:00Z",
            ["2026-10-04 15:15"],
        ),
        (
            "CRON_TZ=Australia/Lord_Howe 45 2 * * *",
            "2026-10-03T12:00:00Z",
            ["2026-10-03 15:45", "2026-10-04 15:45"],
        ),
        # Kathmandu is at +05:45 all the year.
        (
            "CRON_TZ=Asia/Kathmandu 0 0 * * *",
            "2026-03-28T12:00:00Z",
            ["2026-03-28 18:15", "2026-03-29 18:15"],
        ),
        (
            "CRON_TZ=Asia/Kathmandu 30 1 * * *",
            "2026-10-31T12:00:00Z",
            ["2026-10-31 19:45", "2026-11-01 19:45"],
        ),
        # Beirut skips the hour after midnight: the day itself still fires.
        (
            "CRON_TZ=Asia/Beirut 0 0,1 29 3 *",
            "2026-03-28T12:00:00Z",
            ["2026-03-28 22:00", "2027-03-28 21:00"],
        ),
        # Samoa had no December 30th in 2011.
        ("CRON_TZ=Pacific/Apia 0 12 30 12 *", "2011-12-01T00:00:00Z", ["2012-12-29 22:00"]),
    ],
)
def test_missing_local_times_do_not_fire_and_repeated_ones_fire_twice(
    cron: str, start: str, expected: list[str]
) -> None:
    assert firings(cron, start, len(expected)) == expected


def test_a_date_that_never_comes_is_accepted_and_never_fires() -> None:
    assert parse_cron("0 0 31 2 *").next_after(ms("2026-01-01T00:00:00Z")) is None


@pytest.mark.parametrize(
    ("cron", "text"),
    [
        ("", "Invalid cron expression empty spec string"),
        ("   ", "empty spec string"),
        ("*/5 * * * * *", "expected exactly 5 fields, found 6: [*/5 * * * * *]"),
        ("* * * *", "expected exactly 5 fields, found 4"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("0 0 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("9-5 * * * *", "beginning of range (9) beyond end of range (5): 9-5"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens"),
        ("*/1/2 * * * *", "too many slashes"),
        ("-1 * * * *", "failed to parse int from"),
        ("1.5 * * * *", "failed to parse int from 1.5"),
        ("1_0 * * * *", "failed to parse int"),
        ("٣ * * * *", "failed to parse int"),
        ("* * L * *", "failed to parse int from L"),
        ("* * * * 1#2", "failed to parse int"),
        (", * * * *", "empty list"),
        ("@fortnightly", "unrecognized descriptor: @fortnightly"),
        ("@every soon", "failed to parse duration"),
        ("@every 5s", "at least one minute"),
        ("CRON_TZ=Mars/Olympus * * * * *", "provided bad location Mars/Olympus"),
        ("CRON_TZ=America * * * * *", "provided bad location"),
        ("CRON_TZ=../../etc/passwd * * * * *", "provided bad location"),
        ("CRON_TZ=Europe/London", "expected exactly 5 fields, found 0"),
        ("* " * 400, "longer than"),
    ],
)
def test_bad_expression_is_refused_with_the_reason(cron: str, text: str) -> None:
    with pytest.raises(BadRequest, match=r"^Invalid cron expression ") as caught:
        parse_cron(cron)
    assert text in str(caught.value)


fields = st.tuples(
    st.sampled_from(["0", "30", "*/20", "15-45/15", "7,59"]),
    st.sampled_from(["*", "1", "2", "0-3", "23"]),
    st.sampled_from(["*", "1", "*/2", "25-31", "?"]),
    st.sampled_from(["*", "3,10", "apr-nov"]),
    st.sampled_from(["*", "0", "mon-fri", "*/3"]),
)
zones = st.sampled_from(
    ["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu"]
)
# Days around the changes of these zones in 2026, and one day without any.
days = st.sampled_from(
    [
        "2026-03-08",
        "2026-03-29",
        "2026-04-04",
        "2026-10-03",
        "2026-10-25",
        "2026-11-01",
        "2026-07-01",
    ]
)


@settings(deadline=None)
@given(fields=fields, zone=zones, day=days)
def test_fires_at_exactly_the_instants_whose_local_time_matches(
    fields: tuple[str, ...], zone: str, day: str
) -> None:
    cron = parse_cron(f"CRON_TZ={zone} {' '.join(fields)}")
    assert isinstance(cron, Cron)
    start = datetime.fromisoformat(day + "T00:00:00Z") - timedelta(minutes=1)
    expected = []
    for minute in range(1, 36 * 60):
        local = (start + timedelta(minutes=minute)).astimezone(ZoneInfo(zone))
        day_in, weekday_in = (
            local.day in cron.days.values,
            (local.isoweekday() % 7) in cron.weekdays.values,
        )
        either = cron.days.star or cron.weekdays.star
        if (
            local.minute in cron.minutes
            and local.hour in cron.hours
            and local.month in cron.months
            and (day_in and weekday_in if either else day_in or weekday_in)
        ):
            expected.append(ms(local.isoformat()))
    found, at_ms = [], ms(start.isoformat())
    while (at := cron.next_after(at_ms)) is not None and at < ms(
        start.isoformat()
    ) + 36 * 60 * MINUTE_MS:
        found.append(at)
        at_ms = at
    assert found == expected


@settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[-*/?,0-9A-Za-z@= ]{0,40}", fullmatch=True))
def test_no_text_crashes_the_parser(text: str) -> None:
    with suppress(BadRequest):
        parse_cron(text).next_after(0)
