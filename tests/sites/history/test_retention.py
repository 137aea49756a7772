from datetime import timedelta

import pytest

from sites.history import retention
from sites.history.retention import prune, prune_sync_logs
from sites.models import MonitoredSite, SiteDay, SiteHour, SiteSnapshot, SyncLog
from tests.sites.history.points import at, day, point, roll_up_all, rows, shop

pytestmark = pytest.mark.django_db

NOW = at("2026-03-10 12:07")


def prune_all() -> int:
    return prune(list(MonitoredSite.objects.values_list("pk", flat=True)), NOW)


def fill(site: MonitoredSite, first: str, hours: int) -> None:
    for number in range(hours):
        point(site, at(first) + timedelta(hours=number), visitors=number, latency_ms=100)


def test_points_are_removed_after_two_days_and_hours_and_days_stay() -> None:
    site = shop()
    fill(site, "2026-03-07 00:05", 84)
    roll_up_all()
    before = rows()
    assert prune_all() == 24 + 13
    assert all(entry.taken_at >= NOW - timedelta(days=2) for entry in SiteSnapshot.objects.all())
    assert rows() == before


def test_a_point_that_is_not_rolled_up_is_never_removed() -> None:
    site = shop()
    fill(site, "2026-01-07 00:05", 84)
    assert prune_all() == 0
    roll_up_all()
    fill(site, "2026-01-12 00:05", 5)
    prune_all()
    assert SiteSnapshot.objects.filter(taken_at__gte=at("2026-01-12 00:05")).count() == 5


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_a_site_that_comes_back_after_long_keeps_its_last_day_as_it_was(zone: str) -> None:
    site = shop(timezone=zone)
    fill(site, "2026-03-01 00:05", 60)
    roll_up_all()
    before = rows()
    while prune_all():
        pass
    roll_up_all()
    assert rows() == before
    point(site, NOW, visitors=3)
    roll_up_all()
    assert SiteDay.objects.order_by("-day")[1].attempts == before[-1]["attempts"]
    assert [row for row in rows() if row in before] == before


def test_hours_are_removed_after_ninety_days_except_the_newest() -> None:
    site, other = shop(), shop(name="other")
    for days in (200, 91, 89):
        SiteHour.objects.create(site=site, begins_at=at("2026-03-10 12:00") - timedelta(days=days))
        SiteHour.objects.create(
            site=other, begins_at=at("2026-03-10 12:00") - timedelta(days=days + 100)
        )
    assert prune_all() == 2 + 2
    assert SiteHour.objects.get(site=site).begins_at == at("2025-12-11 12:00")
    assert SiteHour.objects.get(site=other).begins_at == at("2025-09-02 12:00")


def test_a_round_removes_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROUND", 10)
    site = shop()
    fill(site, "2026-03-01 00:05", 60)
    roll_up_all()
    assert prune_all() == 10
    assert day(site, "2026-03-01").attempts == 24


def test_old_logs_of_syncs_are_removed_and_their_points_stay() -> None:
    site = shop()
    old = SyncLog.objects.create(created_at=NOW - timedelta(days=91))
    new = SyncLog.objects.create(created_at=NOW - timedelta(days=89))
    for log in (old, new):
        SiteSnapshot.objects.create(site=site, sync_log=log, taken_at=NOW, state="up")
    assert prune_sync_logs(NOW) == 1
    assert list(SyncLog.objects.all()) == [new]
    assert set(SiteSnapshot.objects.values_list("sync_log", flat=True)) == {None, new.pk}
