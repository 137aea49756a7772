import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from scheduling.models import JobRun
from scheduling.run import JobResult, Run
from sites import sync as sync_module
from sites.attempts import Attempt, State
from sites.chunks import SYNC_CHUNK
from sites.models import MonitoredSite, SiteSnapshot, SyncLog
from sites.outbound import Client
from sites.platforms.base import (
    FetchRequest,
    Health,
    Snapshot,
)
from sites.selection import Selection
from sites.writing import write
from tests.sites.conftest import AddSite, InThreads, RunSync
from tests.sites.loopback import Answer, Request, http
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


def test_two_syncs_at_once_share_the_sites(script: Any, in_threads: InThreads) -> None:
    both_have_begun = threading.Event()

    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        await asyncio.get_running_loop().run_in_executor(None, both_have_begun.wait)
        return await at_once(request, client)

    script(it=fetch)
    MonitoredSite.objects.bulk_create(
        MonitoredSite(name=str(number), platform="scripted", options={"fetch": "it"})
        for number in range(300)
    )
    counts: list[Any] = []

    def watch() -> None:
        while SyncLog.objects.count() < 2:
            time.sleep(0.01)
        both_have_begun.set()

    in_threads(
        *(lambda: counts.append(dict(run_sync_of(live_run()).counts)) for _ in range(2)), watch
    )
    assert sum(made["success"] for made in counts) == 300
    assert all(made["total"] == made["success"] for made in counts)
    assert SiteSnapshot.objects.count() == 300
    assert MonitoredSite.objects.filter(state=State.UP, claimed_by=None).count() == 300


def test_a_run_whose_sites_were_taken_over_leaves_them_and_counts_nothing(
    add_site: AddSite, website: Website
) -> None:
    add_site("shop")
    slow, quick = live_run(), live_run()

    def take_over() -> None:
        JobRun.objects.filter(pk=slow.pk).update(lease_expires_at=timezone.now())
        assert dict(run_sync_of(quick).counts) == {"total": 1, "success": 1, "failed": 0}

    meanwhile = during(take_over, status=500)

    def page(request: Request) -> Answer:
        website.pages["/shop"] = http("fine")
        return meanwhile(request)

    website.pages["/shop"] = page
    assert dict(run_sync_of(slow).counts) == {"total": 1, "success": 0, "failed": 0}
    assert MonitoredSite.objects.get().state == State.UP
    assert SiteSnapshot.objects.count() == 1
    logs = SyncLog.objects.values_list("sites_synced", "sites_failed", "sites_carried_over")
    assert sorted(logs) == [(0, 0, 1), (1, 0, 0)]


def live_run() -> JobRun:
    """As a runner would open it; the constraint against two at once is of the job's key."""
    return JobRun.objects.create(
        job_key=SYNC_CHUNK,
        concurrent=True,
        trigger="message",
        lease_expires_at=timezone.now() + timedelta(minutes=1),
    )


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
