from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import DjangoAssertNumQueries

from sites.attempts import State
from sites.history.latency import count
from sites.history.rollup import behind, roll_up
from sites.models import MonitoredSite, SiteDay, SiteHour, SiteSnapshot
from tests.sites.history.points import (
    QUARTER,
    at,
    day,
    failed,
    hour,
    point,
    roll_up_all,
    rows,
    shop,
)

pytestmark = pytest.mark.django_db


def counts_of(period: SiteHour | SiteDay) -> tuple[int, int, int]:
    return (period.attempts, period.good, period.down)


# --- What was measured ----------------------------------------------------------------------------


def test_attempts_are_counted_as_good_down_or_not_measured() -> None:
    site = shop()
    point(site, at("2026-03-04 12:05"), latency_ms=100)
    failed(site, at("2026-03-04 12:20"), State.DOWN)
    failed(site, at("2026-03-04 12:35"), State.UNAVAILABLE)
    failed(site, at("2026-03-04 12:50"), State.OFFLINE)
    SiteSnapshot.objects.filter(taken_at=at("2026-03-04 12:05")).update(state=State.SLOW)
    roll_up_all()
    # While our own network was away nothing was learned of the site.
    assert counts_of(hour(site, "2026-03-04 12:00")) == (3, 1, 1)
    assert counts_of(day(site, "2026-03-04")) == (3, 1, 1)


def test_latencies_of_good_attempts_become_a_histogram() -> None:
    site = shop()
    for minute, latency_ms in ((0, 100), (15, 103), (30, 900), (45, None)):
        point(site, at(f"2026-03-04 12:{minute:02}"), latency_ms=latency_ms)
    quick_refusal = point(site, at("2026-03-04 12:50"), latency_ms=3)
    SiteSnapshot.objects.filter(pk=quick_refusal.pk).update(state=State.DOWN)
    point(site, at("2026-03-04 13:00"), latency_ms=100)
    roll_up_all()
    assert hour(site, "2026-03-04 12:00").latency_counts == count([100, 103, 900])
    assert day(site, "2026-03-04").latency_counts == count([100, 103, 900, 100])


def test_an_hour_without_points_has_no_row() -> None:
    site = shop()
    point(site, at("2026-03-04 12:05"))
    point(site, at("2026-03-06 14:05"))
    roll_up_all()
    assert SiteHour.objects.count() == 2
    assert SiteDay.objects.count() == 2


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("UTC", ["2026-03-04", "2026-03-04"]),
        ("Asia/Kathmandu", ["2026-03-04", "2026-03-05"]),
        ("Mars/Phobos", ["2026-03-04", "2026-03-04"]),
    ],
)
def test_days_are_those_of_the_sites_own_time_zone(zone: str, days: list[str]) -> None:
    site = shop(timezone=zone)
    for taken_at in ("2026-03-04 18:10", "2026-03-04 18:20"):  # 23:55 and 00:05 in Kathmandu.
        point(site, at(taken_at))
    roll_up_all()
    assert SiteHour.objects.get().attempts == 2
    found = SiteDay.objects.values_list("day", "attempts")
    assert [str(day) for day, attempts in found for _ in range(attempts)] == days


@pytest.mark.parametrize(("date", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_of_a_clock_change_has_its_hours(date: str, hours: int) -> None:
    site = shop(timezone="Europe/Vienna")
    begin = at(f"{date} 00:00") - timedelta(days=1)
    for number in range(24 * 4):
        point(site, begin + number * timedelta(minutes=30))
    roll_up_all()
    assert day(site, date).attempts == 2 * hours


# --- Figures of an hour ---------------------------------------------------------------------------


def quarters(site: MonitoredSite, begin: str, name: str, values: list[int | None]) -> None:
    """One point each quarter of an hour, of the figures so far."""
    for number, value in enumerate(values):
        data: dict[str, Any] = {name: value}
        point(site, at(begin) + number * QUARTER, **data)


def test_figures_of_an_hour_are_what_was_added_in_it() -> None:
    site = shop()
    quarters(site, "2026-03-04 11:05", "visitors", [100, 103, 103, 104, 110, 111, 111, 115, 116])
    roll_up_all()
    # The step from 11:50 to 12:05 lies mostly in the hour before.
    assert hour(site, "2026-03-04 11:00").visitors == 10
    assert hour(site, "2026-03-04 12:00").visitors == 6


def test_figures_of_a_sync_at_the_full_hour_belong_to_the_hour_before() -> None:
    site = shop()
    for number, sales in enumerate([5, 7, 7, 8]):
        taken_at = at("2026-03-04 10:00") + timedelta(hours=number, seconds=3 - number % 2)
        point(site, taken_at, sales=sales)
    roll_up_all()
    found = {entry.begins_at.hour: entry.sales for entry in SiteHour.objects.all()}
    assert found == {10: 2, 11: 0, 12: 1, 13: None}


def test_a_day_begins_at_zero() -> None:
    site = shop()
    quarters(site, "2026-03-04 23:05", "sales", [7, 8, 8, 9, 0, 1, 1, 3, 3])
    roll_up_all()
    assert hour(site, "2026-03-04 23:00").sales == 2
    assert hour(site, "2026-03-05 00:00").sales == 3


def test_the_first_figure_of_a_day_seen_late_is_of_no_hour() -> None:
    site = shop()
    quarters(site, "2026-03-04 10:05", "sales", [40, 41, 41, 42, 42])
    roll_up_all()
    assert hour(site, "2026-03-04 10:00").sales == 2


def test_an_hour_of_which_little_was_seen_is_not_known() -> None:
    site = shop()
    quarters(site, "2026-03-04 10:05", "sales", [1, 1, 1, 1, 1])
    quarters(site, "2026-03-04 15:35", "sales", [60, 61, 61, 62, 63, 63])
    roll_up_all()
    assert hour(site, "2026-03-04 10:00").sales == 0
    assert hour(site, "2026-03-04 15:00").sales is None
    assert hour(site, "2026-03-04 16:00").sales == 2


def test_unknown_figures_stay_unknown() -> None:
    site = shop()
    quarters(site, "2026-03-04 10:05", "sales", [None] * 5)
    roll_up_all()
    found = hour(site, "2026-03-04 10:00")
    assert (found.visitors, found.sales, found.revenue_minor) == (None, None, None)
    known = day(site, "2026-03-04")
    assert (known.visitors, known.sales, known.revenue_minor) == (None, None, None)


def test_a_count_that_is_corrected_is_neither_negative_nor_counted_twice() -> None:
    site = shop()
    quarters(site, "2026-03-04 10:05", "sales", [5, 6, 4, 6, 7, 7, 7, 7, 7])
    roll_up_all()
    assert hour(site, "2026-03-04 10:00").sales == 2
    assert hour(site, "2026-03-04 11:00").sales == 0


def test_revenue_is_kept_by_currency_and_a_refund_takes_it_back() -> None:
    site = shop()
    so_far: list[dict[str, int]] = [
        {}, {"EUR": 1900}, {"EUR": 1900, "JPY": 500}, {"EUR": 900, "JPY": 500}, {"EUR": 900},
    ]  # fmt: skip
    for number, revenue_minor in enumerate(so_far):
        point(site, at("2026-03-04 10:05") + number * QUARTER, sales=0, revenue_minor=revenue_minor)
    roll_up_all()
    assert hour(site, "2026-03-04 10:00").revenue_minor == {"EUR": 900, "JPY": 0}
    assert day(site, "2026-03-04").revenue_minor == {"EUR": 900}


def test_no_revenue_is_not_the_same_as_an_unknown_one() -> None:
    shops = {"sells": shop(), "counts": shop(name="counter")}
    for number in range(5):
        taken_at = at("2026-03-04 10:05") + number * QUARTER
        point(shops["sells"], taken_at, sales=0)
        point(shops["counts"], taken_at, visitors=0)
    roll_up_all()
    assert hour(shops["sells"], "2026-03-04 10:00").revenue_minor == {}
    assert hour(shops["counts"], "2026-03-04 10:00").revenue_minor is None


def test_figures_that_are_no_numbers_are_unknown_and_harm_no_other_site() -> None:
    bad, good = shop(), shop(name="good")
    for number in range(5):
        taken_at = at("2026-03-04 10:05") + number * QUARTER
        point(
            bad, taken_at, visitors="many", sales=1e30, revenue_minor={"EUR": "free"}, latency_ms=[]
        )
        point(good, taken_at, visitors=number)
    SiteSnapshot.objects.filter(pk=SiteSnapshot.objects.earliest("pk").pk).update(data=[1])
    roll_up_all()
    found = hour(bad, "2026-03-04 10:00")
    assert (found.visitors, found.sales, found.latency_counts) == (None, None, {})
    assert hour(good, "2026-03-04 10:00").visitors == 4


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(-5000, 5000), min_size=1, max_size=40))
def test_the_hours_of_a_day_add_up_to_what_was_seen_of_it(db: None, steps: list[int]) -> None:
    MonitoredSite.objects.all().delete()
    site = shop()
    so_far = 0
    for number, step in enumerate(steps):
        so_far += step
        point(site, at("2026-03-04 00:15") + number * QUARTER, revenue_minor={"EUR": so_far})
    # The end of an hour that is known.
    for number in range(len(steps), -(-len(steps) // 4) * 4):
        point(site, at("2026-03-04 00:15") + number * QUARTER, revenue_minor={"EUR": so_far})
    roll_up_all()
    hours = [(entry.revenue_minor or {}).get("EUR", 0) for entry in SiteHour.objects.all()]
    assert sum(hours) == so_far
    assert SiteDay.objects.get().revenue_minor == {"EUR": so_far}


# --- Figures of a day -----------------------------------------------------------------------------


def test_figures_of_a_day_are_the_last_that_were_seen_in_it() -> None:
    site = shop()
    point(site, at("2026-03-04 10:05"), visitors=5, metrics={"mrr": {"value": 1, "unit": "EUR"}})
    point(site, at("2026-03-04 12:05"), visitors=9, sales=0)
    failed(site, at("2026-03-04 23:50"))
    roll_up_all()
    found = day(site, "2026-03-04")
    assert (found.visitors, found.sales) == (9, 0)
    assert found.metrics == {"mrr": {"value": 1, "unit": "EUR"}}
    assert not found.settled


def test_what_the_platform_said_of_a_day_afterwards_is_left_alone() -> None:
    site = shop()
    SiteDay.objects.create(site=site, day="2026-03-04", visitors=500, settled=True)
    point(site, at("2026-03-04 23:05"), visitors=480, latency_ms=100)
    roll_up_all()
    found = day(site, "2026-03-04")
    assert (found.visitors, found.attempts, found.latency_counts) == (500, 1, count([100]))


# --- Repeating ------------------------------------------------------------------------------------


def test_rolling_up_twice_changes_nothing() -> None:
    site = shop(timezone="Asia/Kolkata")
    quarters(site, "2026-03-04 09:05", "sales", [*range(90)])
    roll_up_all()
    first = rows()
    roll_up_all()
    assert rows() == first


def test_rolling_up_each_hour_gives_what_rolling_up_once_does() -> None:
    site = shop(timezone="America/St_Johns")
    for number in range(120):
        taken_at = at("2026-03-03 20:05") + number * QUARTER
        point(site, taken_at, sales=number % 50, revenue_minor={"EUR": number}, latency_ms=number)
        if number % 4 == 0:
            roll_up_all()
    roll_up_all()
    by_the_hour = rows()
    SiteHour.objects.all().delete()
    SiteDay.objects.all().delete()
    roll_up_all()
    at_once = rows()
    assert sorted(map(str, by_the_hour)) == sorted(map(str, at_once))


def test_a_point_that_comes_late_is_counted() -> None:
    site = shop()
    point(site, at("2026-03-04 10:50"))
    point(site, at("2026-03-04 11:05"))
    roll_up_all()
    point(site, at("2026-03-04 10:55"))
    roll_up_all()
    assert hour(site, "2026-03-04 10:00").attempts == 2


def test_a_long_past_is_rolled_up_in_stretches() -> None:
    site = shop()
    for number in range(10):
        point(site, at("2026-03-01 10:05") + number * timedelta(days=1))
    point(site, at("2026-06-01 10:05"))
    ids = [site.pk]
    stretches = 0
    while behind(ids):
        roll_up(ids)
        stretches += 1
    assert stretches == 5
    assert SiteDay.objects.count() == SiteHour.objects.count() == 11


def test_the_number_of_queries_does_not_depend_on_the_sites(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        point(shop(name=str(number)), at("2026-03-04 10:50"), visitors=3)
    ids = list(MonitoredSite.objects.values_list("pk", flat=True))
    # The savepoint of a test, the zones, days and hours.
    with django_assert_num_queries(5):
        roll_up(ids)
    assert SiteHour.objects.count() == 20
