"""The arithmetic of silence: what is usual, how likely none is, and when too little is known."""

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from statistics import fmean
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from alerts.rules.base import Finding, Target, Verdict
from alerts.rules.no_sales import HOUR, NoSales, SalesHours
from sites.models import SiteHour
from tests.alerts.conftest import NOW, AddSite

WEEK = timedelta(weeks=1)
VIENNA = ZoneInfo("Europe/Vienna")
KIND = NoSales()
OPTIONS = KIND.options({})

Hours = list[tuple[datetime, int]]


def shop(weeks: int, by_hour: dict[int, int], until: datetime = NOW) -> Hours:
    """Hours of a shop that sells so much in these hours of each day (UTC), and nothing in others."""
    begin = until - weeks * WEEK
    times = [begin + number * HOUR for number in range(int((until - begin) / HOUR))]
    return [(moment, by_hour.get(moment.hour, 0)) for moment in times]


def silence(hours: int, since: datetime = NOW) -> Hours:
    return [(since + number * HOUR, 0) for number in range(hours)]


def judge(hours: Hours, now: datetime, zone: ZoneInfo = VIENNA, **options: float) -> Verdict:
    return KIND.judge({**OPTIONS, **options}, SalesHours(zone, hours), now)


def test_the_probability_of_a_silence_is_exp_of_minus_what_is_usual_in_it() -> None:
    # Three a day at 9, 10 and 11; the last sale is at 11. Silent until 11 of the next day: 9 and 10.
    hours = shop(8, {9: 3, 10: 3, 11: 3}) + silence(23)
    verdict = judge(hours, NOW + 23 * HOUR)
    assert f"probability of that is {math.exp(-6):.2g}" in verdict.reason
    assert "6.0 are usual" in verdict.reason
    assert verdict.finding is Finding.CLEAR
    assert judge(hours, NOW + 23 * HOUR, probability=0.0025).finding is Finding.FIRING


def test_a_night_without_sales_is_no_alarm_where_a_flat_mean_would_raise_one() -> None:
    by_day = dict.fromkeys(range(8, 12), 30)
    night = shop(8, by_day) + silence(20)
    flat_mean = 4 * 30 / 24
    assert math.exp(-20 * flat_mean) < OPTIONS["probability"]
    assert judge(night, NOW + 20 * HOUR).finding is Finding.CLEAR
    morning = shop(8, by_day) + silence(21)
    assert judge(morning, NOW + 21 * HOUR).finding is Finding.FIRING


def test_the_week_is_that_of_the_sites_time_zone_across_a_change_of_its_clocks() -> None:
    # Sales at 9 o'clock in Vienna, which is 8 UTC until 29 March 2026 and 7 UTC from then on.
    begin, change = datetime(2026, 2, 2, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)
    times = [begin + number * HOUR for number in range(int((change - begin) / HOUR))]
    hours = [(it, 10 if it.astimezone(VIENNA).hour == 9 else 0) for it in times]
    silent = [(change + number * HOUR, 0) for number in range(9)]
    # On the day of the change 8 UTC is an hour too late, and nothing is missing.
    sunday = change - 15 * HOUR
    assert judge(hours, sunday, VIENNA).finding is Finding.CLEAR
    assert judge(hours, sunday, ZoneInfo("UTC")).finding is Finding.FIRING
    monday = change + 8 * HOUR  # The hour from 7 UTC is over, and had no sale.
    assert judge(hours + silent, monday, VIENNA).finding is Finding.FIRING


def test_gaps_are_not_zeros_neither_in_what_is_usual_nor_in_the_silence() -> None:
    hours = shop(8, {9: 3, 10: 3, 11: 3})
    half = [hour for number, hour in enumerate(hours) if number // (7 * 24) % 2]
    full_silence = silence(23)
    assert "6.0 are usual" in judge(half + full_silence, NOW + 23 * HOUR).reason
    without_nine = [hour for hour in full_silence if hour[0].hour != 9]
    assert "3.0 are usual" in judge(hours + without_nine, NOW + 23 * HOUR).reason
    assert "no hour is known since" in judge(hours, NOW + 23 * HOUR).reason


@pytest.mark.parametrize("weeks", [0, 1, 2])
def test_too_little_history_is_said_and_not_judged(weeks: int) -> None:
    verdict = judge(shop(weeks, {11: 500}) + silence(48), NOW + 48 * HOUR)
    assert verdict.finding is Finding.UNKNOWN
    assert ("Too little history" if weeks else "none is usual") in verdict.reason


def test_after_a_month_of_silence_nothing_is_usual_any_more() -> None:
    weeks = 4 * 7 * 24
    hours = shop(8, {11: 5}) + silence(weeks + 24)
    assert judge(hours, NOW + weeks * HOUR - 2 * HOUR).finding is Finding.FIRING
    assert judge(hours, NOW + (weeks + 23) * HOUR).finding is Finding.UNKNOWN


def test_a_sale_in_the_hour_under_way_ends_the_silence() -> None:
    hours = shop(8, {11: 50}) + silence(24)
    now = NOW + 24 * HOUR + timedelta(minutes=20)
    assert judge(hours, now).finding is Finding.FIRING
    assert judge([*hours, (NOW + 24 * HOUR, 1)], now).finding is Finding.CLEAR


@settings(deadline=None)  # Weeks of hours are large examples for a machine with other work.
@given(
    sales=st.lists(st.integers(0, 4), min_size=7 * 24 * 3, max_size=7 * 24 * 5),
    later=st.lists(st.integers(0, 9), max_size=50),
    silent=st.integers(0, 60),
)
def test_what_comes_later_changes_no_judgement(
    sales: list[int], later: list[int], silent: int
) -> None:
    known = [(NOW + number * HOUR, it) for number, it in enumerate([*sales, *[0] * silent])]
    now = known[-1][0] + HOUR
    future = [(now + number * HOUR, it) for number, it in enumerate(later)]
    assert judge(known, now) == judge(known + future, now)


@settings(deadline=None)  # Weeks of hours are large examples for a machine with other work.
@given(
    sales=st.lists(st.integers(0, 4), min_size=7 * 24 * 3, max_size=7 * 24 * 4),
    silent=st.integers(1, 60),
)
def test_the_longer_the_silence_the_more_is_expected_and_it_is_the_sum_of_the_means(
    sales: list[int], silent: int
) -> None:
    known = [(NOW + number * HOUR, it) for number, it in enumerate(sales)]
    end = NOW + len(sales) * HOUR
    evidence = SalesHours(VIENNA, known)
    hours = [end + number * HOUR for number in range(silent)]
    expected = [evidence.expected(hours[:count], NOW, end) for count in range(silent + 1)]
    assert expected == sorted(expected)

    like = defaultdict(list)
    for moment, it in known:
        like[f"{moment.astimezone(VIENNA):%a %H}"].append(it)
    means = [fmean(like[f"{hour.astimezone(VIENNA):%a %H}"]) for hour in hours]
    assert expected[-1] == pytest.approx(sum(means))


def test_twice_the_sales_are_twice_the_expectation() -> None:
    once, twice = (SalesHours(VIENNA, shop(8, {9: number, 15: 3 * number})) for number in (2, 4))
    hours = [NOW + number * HOUR for number in range(200)]
    begin = NOW - 8 * WEEK
    assert twice.expected(hours, begin, NOW) == pytest.approx(2 * once.expected(hours, begin, NOW))


def test_more_weeks_needed_than_looked_at_are_refused() -> None:
    form = KIND.Options({**OPTIONS, "weeks": 4, "least_weeks": 5})
    assert form.errors == {"least_weeks": ["It learns from fewer weeks than that."]}


def test_any_number_of_sites_is_read_with_three_queries(
    add_site: AddSite, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    sites = [add_site(f"shop {number}", timezone="Europe/Vienna") for number in range(3)]
    SiteHour.objects.bulk_create(
        SiteHour(site=site, begins_at=moment, sales=sales if number else None)
        for number, site in enumerate(sites)
        for moment, sales in shop(4, {11: 20}) + silence(25)
    )
    SiteHour.objects.filter(site=sites[2], begins_at=NOW + 24 * HOUR).update(sales=1)
    begin = NOW + 25 * HOUR - KIND.lookback(OPTIONS)
    with django_assert_num_queries(3):
        found = KIND.read(OPTIONS, sites, begin, NOW + 25 * HOUR)
    verdicts = [
        KIND.judge(OPTIONS, found[Target(site_id=site.pk)], NOW + 25 * HOUR).finding
        for site in sites
    ]
    assert verdicts == [Finding.UNKNOWN, Finding.FIRING, Finding.CLEAR]


@pytest.mark.parametrize("ago", range(6))
def test_a_site_that_has_just_sold_is_judged_as_in_a_replay_from_less_history(
    add_site: AddSite, ago: int
) -> None:
    site = add_site("shop", timezone="UTC")
    now = NOW + 5 * HOUR + timedelta(minutes=10)
    hours = shop(8, dict.fromkeys(range(24), 20)) + silence(6)
    hours = [(it, 20 if it == NOW + (5 - ago) * HOUR else sales) for it, sales in hours]
    SiteHour.objects.bulk_create(
        SiteHour(site=site, begins_at=begins_at, sales=sales) for begins_at, sales in hours
    )
    begin = now - KIND.lookback(OPTIONS)
    live, replayed = (
        KIND.read(OPTIONS, [site], begin - earlier, now)[Target(site_id=site.pk)]
        for earlier in (timedelta(0), HOUR)
    )
    assert (len(live.times) < 5) is (ago < 2)
    assert KIND.judge(OPTIONS, live, now) == KIND.judge(OPTIONS, replayed, now)
    # Twenty an hour: one silent hour is enough.
    assert (KIND.judge(OPTIONS, live, now).finding is Finding.FIRING) is (ago >= 2)


@pytest.mark.parametrize(("weeks", "finding"), [(2, Finding.UNKNOWN), (4, Finding.CLEAR)])
def test_a_site_that_has_just_sold_is_said_to_have_too_little_history_where_it_has(
    add_site: AddSite, weeks: int, finding: Finding
) -> None:
    site = add_site("shop")
    SiteHour.objects.bulk_create(
        SiteHour(site=site, begins_at=begins_at, sales=20) for begins_at, _ in shop(weeks, {})
    )
    found = KIND.read(OPTIONS, [site], NOW - KIND.lookback(OPTIONS), NOW)
    assert KIND.judge(OPTIONS, found[Target(site_id=site.pk)], NOW).finding is finding
