import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from scheduling.models import JobRun
from scheduling.run import JobResult, Run
from sites import sync as sync_module
from sites.attempts import Attempt, State
from sites.models import MonitoredSite, SiteSnapshot, SyncLog
from sites.outbound import Client
from sites.platforms.base import (
    FetchRequest,
    Health,
    Snapshot,
)
from sites.selection import Selection
from sites.writing import write
from tests.sites.conftest import AddSite, RunSync
from tests.sites.website import Website, during

pytestmark = pytest.mark.django_db(transaction=True)


async def at_once(request: FetchRequest, client: Client) -> Snapshot:
    return Snapshot(taken_at=request.now, health=Health.UP)


def test_what_somebody_edits_in_mid_sync_stays(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    site = add_site("shop")

    def edit() -> None:
        edited = MonitoredSite.objects.get()
        edited.name, edited.enabled, edited.credentials = "Store", False, {"token": "made-up"}
        edited.save_settings()

    website.pages["/shop"] = during(edit)
    run_sync()
    site.refresh_from_db()
    assert (site.name, site.enabled, site.credentials) == ("Store", False, {"token": "made-up"})
    assert (site.state, site.snapshots.count()) == (State.UP, 1)


def test_a_failure_of_old_settings_does_not_make_the_new_ones_wait(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    site = add_site("shop", failures=9)

    def edit() -> None:
        MonitoredSite.objects.get().save_settings()

    website.pages["/shop"] = during(edit, status=500)
    run_sync()
    site.refresh_from_db()
    assert (site.state, site.failures, site.not_before) == (State.DOWN, 10, None)


def test_a_save_of_stale_settings_does_not_undo_what_the_sync_wrote(
    add_site: AddSite, run_sync: RunSync
) -> None:
    add_site("shop")
    opened = MonitoredSite.objects.get()
    run_sync()
    opened.enabled = False
    opened.save_settings()
    site = MonitoredSite.objects.get()
    assert (site.enabled, site.state) == (False, State.UP)
    assert site.last_snapshot is not None


def test_a_site_deleted_in_mid_sync_leaves_nothing_behind(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    add_site("kept")
    gone = add_site("gone")
    website.pages["/gone"] = during(lambda: MonitoredSite.objects.filter(pk=gone.pk).delete())
    assert run_sync().counts["total"] == 2
    assert [site.name for site in MonitoredSite.objects.all()] == ["kept"]
    assert SiteSnapshot.objects.count() == 1


def test_two_syncs_at_once_both_end_and_leave_one_consistent_state(
    script: Any, run_sync: RunSync
) -> None:
    """No two should, but a run whose lease has ended may still be going."""
    script(it=at_once)
    MonitoredSite.objects.bulk_create(
        MonitoredSite(name=str(number), platform="scripted", options={"fetch": "it"})
        for number in range(300)
    )
    counts: list[Any] = []

    def run() -> None:
        counts.append(dict(run_sync_of(record).counts))
        connections.close_all()

    record = JobRun.objects.create(
        job_key="sync-sites", trigger="schedule", lease_expires_at=timezone.now()
    )
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [{"total": 300, "success": 300, "failed": 0}] * 2
    assert SiteSnapshot.objects.count() == 600
    assert MonitoredSite.objects.filter(state=State.UP, failures=0).count() == 300


def run_sync_of(record: JobRun) -> JobResult:
    deadline = time.monotonic() + 60
    return sync_module.sync(
        Run(id=record.pk, payload={}, deadline=deadline, report=lambda done, total: None),
        Selection(),
    )


def test_two_writers_in_opposite_order_do_not_deadlock() -> None:
    sites = MonitoredSite.objects.bulk_create(
        MonitoredSite(name=str(number), platform="uptime") for number in range(200)
    )
    now = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
    attempts = [Attempt(site=site, made_at=now, state=State.UP, snapshot="{}") for site in sites]
    errors: list[Exception] = []

    def run(chunk: list[Attempt]) -> None:
        try:
            for _ in range(10):
                write(chunk, SyncLog.objects.create())
        except Exception as error:
            errors.append(error)
        connections.close_all()

    threads = [threading.Thread(target=run, args=(chunk,)) for chunk in (attempts, attempts[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert SiteSnapshot.objects.count() == 200 * 20
