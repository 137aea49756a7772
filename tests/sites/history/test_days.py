import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from sites.attempts import PAST_WAIT, State
from sites.models import MonitoredSite, SiteDay, SiteSnapshot
from sites.outbound import Client
from sites.platforms import PLATFORMS
from sites.platforms.base import (
    BadResponse,
    CredentialsRefused,
    FetchRequest,
    Figures,
    Health,
    Metric,
    PlatformUnavailable,
    Snapshot,
)
from tests.sites.conftest import RunSync
from tests.sites.history.shops import WithPast, add_shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> WithPast:
    return use(WithPast(), monkeypatch)


def use(platform: WithPast, monkeypatch: pytest.MonkeyPatch) -> WithPast:
    monkeypatch.setitem(PLATFORMS, platform.key, platform)
    return platform


def test_the_first_sync_of_a_site_brings_its_past_and_later_ones_a_few_days(
    platform: WithPast, run_sync: RunSync
) -> None:
    site = add_shop()
    run_sync()
    run_sync()
    assert platform.asked == [60, 3]
    site.refresh_from_db()
    assert site.past_due_at is None
    today = timezone.now().date()
    days = SiteDay.objects.filter(site=site).order_by("-day")
    assert [day.day for day in days] == [today - timedelta(days=n) for n in range(1, 61)]
    assert [day.sales for day in days] == [*range(1, 61)]
    assert all(day.settled and day.attempts == 0 and day.visitors is None for day in days)
    assert days[0].revenue_minor == {"EUR": 100}


def test_past_days_are_kept_in_their_rows_alone(platform: WithPast, run_sync: RunSync) -> None:
    site = add_shop()
    run_sync()
    site.refresh_from_db()
    assert site.last_snapshot is not None
    assert "days" not in site.last_snapshot
    assert SiteSnapshot.objects.get().data == site.last_snapshot


@pytest.mark.parametrize("error", [PlatformUnavailable("too much"), BadResponse("not JSON")])
def test_a_past_that_cannot_be_had_does_not_cost_the_figures_of_today(
    error: Any, run_sync: RunSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(WithPast(error, longest_answered=30), monkeypatch)
    site = add_shop()
    run_sync()
    site.refresh_from_db()
    assert (site.state, platform.asked, SiteDay.objects.count()) == (State.UP, [60, 3], 3)
    assert site.past_due_at is not None
    assert site.last_attempt_at is not None
    assert site.past_due_at == site.last_attempt_at + PAST_WAIT
    run_sync()
    assert platform.asked == [60, 3, 3]
    platform.error = None
    with time_machine.travel(site.past_due_at + timedelta(seconds=1)):
        run_sync()
    assert platform.asked == [60, 3, 3, 60]
    assert SiteDay.objects.count() >= 60


def test_a_past_that_takes_too_long_does_not_cost_the_figures_of_today(
    run_sync: RunSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(WithPast):
        async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
            if request.past_days > 3:
                await asyncio.sleep(60)
            return await super().fetch(request, client)

    use(Slow(), monkeypatch)
    site = add_shop()
    run_sync(time_s=4)
    site.refresh_from_db()
    assert (site.state, SiteDay.objects.count()) == (State.UP, 3)
    assert site.past_due_at is not None


def test_a_site_that_fails_altogether_asks_for_its_past_with_the_next_sync(
    run_sync: RunSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(WithPast(CredentialsRefused("401"), longest_answered=-1), monkeypatch)
    site = add_shop()
    run_sync()
    site.refresh_from_db()
    assert (site.state, platform.asked) == (State.CREDENTIALS_REFUSED, [60])
    platform.error = None
    MonitoredSite.objects.update(not_before=None)
    run_sync()
    assert platform.asked == [60, 60]
    assert SiteDay.objects.count() == 60


def test_a_platform_without_a_past_is_asked_for_none(
    run_sync: RunSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pastless(WithPast):
        longest_past_days = 0

    platform = use(Pastless(), monkeypatch)
    add_shop()
    run_sync()
    assert platform.asked == [3]


def test_what_is_told_later_replaces_the_figures_and_keeps_what_was_measured(
    platform: WithPast, run_sync: RunSync
) -> None:
    site = add_shop()
    yesterday = timezone.now().date() - timedelta(days=1)
    SiteDay.objects.create(site=site, day=yesterday, sales=7, attempts=96, good=95, down=1)
    run_sync()
    day = SiteDay.objects.get(site=site, day=yesterday)
    assert (day.sales, day.attempts, day.good, day.down, day.settled) == (1, 96, 95, 1, True)


def test_today_is_not_settled_yet(run_sync: RunSync, monkeypatch: pytest.MonkeyPatch) -> None:
    use(WithPast(), monkeypatch)
    add_shop(timezone="Pacific/Kiritimati")
    now = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    with time_machine.travel(now):
        run_sync()
    # There it is already the fifth.
    assert str(SiteDay.objects.latest("day").day) == "2026-03-04"


@pytest.mark.parametrize(
    ("figures", "revenue_minor"),
    [
        (Figures(visitors=3), None),
        (Figures(sales=0), {}),
        (Figures(sales=1, revenue_minor={"EUR": 5}), {"EUR": 5}),
    ],
)
def test_no_revenue_is_not_the_same_as_an_unknown_one(
    figures: Figures, revenue_minor: Any, script: Any, run_sync: RunSync
) -> None:
    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        days = {request.first_day: figures}
        return Snapshot(taken_at=request.now, health=Health.UP, days=days)

    script(it=fetch)
    MonitoredSite.objects.create(name="shop", platform="scripted", options={"fetch": "it"})
    run_sync()
    assert SiteDay.objects.get().revenue_minor == revenue_minor


@pytest.mark.parametrize(
    "figures",
    [
        Figures(visitors=1.5),  # type: ignore[arg-type]
        Figures(sales=2**63),
        Figures(revenue_minor={"EUR": "5"}),  # type: ignore[dict-item]
    ],
)
def test_a_platform_whose_days_cannot_be_stored_fails_alone(
    figures: Figures, script: Any, run_sync: RunSync
) -> None:
    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        days = {request.first_day: figures}
        return Snapshot(taken_at=request.now, health=Health.UP, days=days)

    async def good(request: FetchRequest, client: Client) -> Snapshot:
        days = {request.first_day: Figures(visitors=1, metrics={"a\0": Metric(value=1)})}
        return Snapshot(taken_at=request.now, health=Health.UP, days=days)

    script(bad=fetch, good=good)
    for name in ("bad", "good"):
        MonitoredSite.objects.create(name=name, platform="scripted", options={"fetch": name})
    assert run_sync().counts["success"] == 1
    assert SiteDay.objects.get().metrics == {"a": {"value": 1, "unit": ""}}
