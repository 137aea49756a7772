import json
import time

import pytest

from scheduling.run import JobResult
from sites import fetching
from sites.models import MonitoredSite, SyncLog
from sites.selection import Selection
from tests.sites.conftest import AddSite, RunSync
from tests.sites.website import Website, after

pytestmark = pytest.mark.django_db


def last_log() -> SyncLog:
    return SyncLog.objects.order_by("pk").last() or SyncLog()


def continue_with(result: JobResult) -> Selection:
    """What the next message asks for, after its way through JSON."""
    return Selection.from_payload(json.loads(json.dumps(result.continuation)))


@pytest.fixture
def slow_sites(add_site: AddSite, website: Website, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Eleven sites, of which two are fetched at a time, each within a tenth of a second."""
    monkeypatch.setattr(fetching, "CONCURRENCY", 2)
    names = [f"site-{number}" for number in range(11)]
    for name in names:
        add_site(name)
        website.pages[f"/{name}"] = after(0.1)
    return names


def test_slow_sites_are_carried_over_and_none_is_lost_or_fetched_twice(
    slow_sites: list[str], website: Website, run_sync: RunSync
) -> None:
    result = run_sync(time_s=0.5)
    logs = [last_log()]
    assert result.counts["carried_over"] > 0
    while result.continuation is not None:
        assert result.message == "Site data sync stopped in time; the rest follows"
        result = run_sync(continue_with(result), time_s=0.5)
        logs.append(last_log())
        assert len(logs) <= len(slow_sites)
    assert sorted(website.paths) == sorted(f"/{name}" for name in slow_sites)
    assert not MonitoredSite.objects.filter(last_sync_at=None).exists()
    left = len(slow_sites)
    for log in logs:
        assert log.sites_total == left
        assert log.sites_total == log.sites_synced + log.sites_failed + log.sites_carried_over
        left = log.sites_carried_over
    assert left == 0


def test_a_sync_stops_before_its_time_is_over(slow_sites: list[str], run_sync: RunSync) -> None:
    started = time.monotonic()
    run_sync(time_s=1.0)
    # Without a limit it would be the same, so the margin is for a busy machine, not for the code.
    assert time.monotonic() - started < 10
    assert last_log().sites_carried_over > 0


def test_a_lost_continuation_is_made_up_for_by_the_next_run(
    slow_sites: list[str], website: Website, run_sync: RunSync
) -> None:
    run_sync(time_s=0.5)
    reached = len(website.paths)
    assert 0 < reached < len(slow_sites)
    result = run_sync(time_s=60)
    assert result.counts["total"] == len(slow_sites)
    # Those that were not reached come first.
    missed = {f"/{name}" for name in slow_sites} - set(website.paths[:reached])
    assert set(website.paths[reached : reached + len(missed)]) == missed


def test_a_continuation_keeps_to_what_was_asked_for(
    slow_sites: list[str], website: Website, run_sync: RunSync
) -> None:
    chosen = slow_sites[:7]
    result = run_sync(Selection(sites=tuple(chosen), platform="uptime"), time_s=0.5)
    MonitoredSite.objects.get(name=chosen[-1]).delete()
    while result.continuation is not None:
        result = run_sync(continue_with(result), time_s=0.5)
    assert set(website.paths) <= {f"/{name}" for name in chosen}
    assert len(website.paths) == len(set(website.paths)) >= len(chosen) - 1
