from datetime import timedelta

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries

from sites.history.latency import count, percentile
from sites.history.reading import last_days, summarise, uptime_percent
from sites.models import SiteDay
from tests.sites.history.points import at, shop

pytestmark = pytest.mark.django_db

NOW = at("2026-03-10 23:30")


def test_days_go_up_to_today_in_the_sites_zone_and_gaps_stay_gaps(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    site = shop(timezone="Europe/Vienna")  # There it is the eleventh.
    SiteDay.objects.create(site=site, day="2026-03-09", visitors=5)
    SiteDay.objects.create(site=shop(name="other"), day="2026-03-10", visitors=6)
    with django_assert_num_queries(1):
        entries = last_days(site, 3, NOW)
    assert [(str(entry.day), entry.found and entry.found.visitors) for entry in entries] == [
        ("2026-03-09", 5),
        ("2026-03-10", None),
        ("2026-03-11", None),
    ]
    assert entries[1].uptime_percent is None
    assert entries[1].latency_ms(50) is None


def test_a_zone_that_has_gone_is_utc() -> None:
    (entry,) = last_days(shop(timezone="Mars/Phobos"), 1, NOW)
    assert str(entry.day) == "2026-03-10"


def test_revenue_is_zero_where_it_is_known_and_unknown_where_it_is_not() -> None:
    site = shop()
    for number, revenue_minor in enumerate([{"EUR": 5}, {}, None]):
        SiteDay.objects.create(
            site=site, day=NOW.date() - timedelta(days=number), revenue_minor=revenue_minor
        )
    entries = last_days(site, 4, NOW)
    assert [entry.revenue_minor("EUR") for entry in entries] == [None, None, 0, 5]


def test_a_summary_adds_up_and_reads_percentiles_of_everything() -> None:
    days = [
        SiteDay(good=95, down=1, latency_counts=count([100] * 95), visitors=5, sales=None,
                revenue_minor={"EUR": 100, "JPY": 7}),
        SiteDay(good=4, down=0, latency_counts=count([900] * 5), visitors=None,
                revenue_minor={"EUR": -30}),
        SiteDay(),
    ]  # fmt: skip
    found = summarise(days)
    assert found.uptime_percent == 99.0
    assert found.latency_ms == {
        percent: percentile(count([100] * 95 + [900] * 5), percent) for percent in (50, 95, 99)
    }
    assert (found.visitors, found.sales) == (5, None)
    assert found.revenue_minor == {"EUR": 70, "JPY": 7}


@pytest.mark.parametrize(
    ("good", "down", "percent"),
    [(0, 0, None), (0, 5, 0.0), (99_999, 1, 99.999), (10**7, 1, 99.999)],
)
def test_uptime_is_not_rounded_up_to_all(good: int, down: int, percent: float | None) -> None:
    assert uptime_percent(good, down) == percent
