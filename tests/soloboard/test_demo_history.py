from datetime import UTC, datetime, timedelta

import pytest

from sites.models import MonitoredSite, SiteDay, SiteHour
from soloboard import demo_history
from soloboard.demo_history import DAYS, GAPS, MADE_UP, OUTAGES
from soloboard.management.commands.init_local import demo_sites
from tests.sites.history.points import roll_up_all

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)


@pytest.fixture
def written() -> tuple[MonitoredSite, MonitoredSite]:
    page, shop = demo_sites()
    page.save()
    shop.save()
    demo_history.write(page, shop, NOW)
    return page, shop


def test_the_shop_has_a_year_with_a_weekly_rhythm_growth_and_two_currencies(
    written: tuple[MonitoredSite, MonitoredSite],
) -> None:
    days = list(SiteDay.objects.filter(site=written[1]).order_by("day"))
    assert len(days) == DAYS - len(GAPS)
    assert days[0].day == NOW.date() - timedelta(days=DAYS)
    assert days[-1].day == NOW.date() - timedelta(days=1)
    weekdays = [day.visitors or 0 for day in days[-60:] if day.day.isoweekday() < 6]
    weekends = [day.visitors or 0 for day in days[-60:] if day.day.isoweekday() >= 6]
    assert sum(weekdays) / len(weekdays) > 1.5 * sum(weekends) / len(weekends)
    assert sum(day.visitors or 0 for day in days[-30:]) > 1.5 * sum(
        day.visitors or 0 for day in days[:30]
    )
    assert all(set(day.revenue_minor or {}) == {"EUR", "USD"} for day in days)
    assert all(day.metrics == {MADE_UP: {"value": 1, "unit": ""}} for day in days)


def test_its_days_are_what_its_hours_come_to(
    written: tuple[MonitoredSite, MonitoredSite],
) -> None:
    day = SiteDay.objects.get(site=written[1], day=NOW.date() - timedelta(days=3))
    begin = NOW.replace(hour=0, minute=0) - timedelta(days=3)
    hours = SiteHour.objects.filter(
        site=written[1], begins_at__gte=begin, begins_at__lt=begin + timedelta(days=1)
    )
    assert sum(hour.sales or 0 for hour in hours) == day.sales
    assert all(hour.visitors is not None and hour.visitors >= 0 for hour in hours)
    assert sum(hour.attempts for hour in hours) == day.attempts == 96


def test_the_page_was_down_once_in_a_while(written: tuple[MonitoredSite, MonitoredSite]) -> None:
    down = SiteDay.objects.filter(site=written[0], down__gt=0).values_list("day", flat=True)
    assert {(NOW.date() - day).days for day in down} == set(OUTAGES)


def test_hours_end_with_the_last_that_is_over(
    written: tuple[MonitoredSite, MonitoredSite],
) -> None:
    assert SiteHour.objects.latest("begins_at").begins_at == NOW.replace(hour=11, minute=0)


def test_writing_it_again_and_rolling_up_change_nothing(
    written: tuple[MonitoredSite, MonitoredSite],
) -> None:
    before = list(SiteDay.objects.values()), list(SiteHour.objects.values())
    demo_history.write(*written, NOW)
    roll_up_all()
    assert (list(SiteDay.objects.values()), list(SiteHour.objects.values())) == before
