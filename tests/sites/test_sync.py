import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from scheduling.models import JobRun
from sites import sync as sync_module
from sites.attempts import State
from sites.models import MonitoredSite, SiteSnapshot, SyncLog
from sites.outbound import Client
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    Figures,
    Health,
    Metric,
    PlatformUnavailable,
    Snapshot,
)
from tests.sites.conftest import AddSite, RunSync
from tests.sites.loopback import http
from tests.sites.website import Website, during

pytestmark = pytest.mark.django_db

NASTY = "nul \0 half \ud83d quote ' \" \\u0000 backslash \\ emoji \U0001f984 line\nend"
NASTY_AS_STORED = "nul  half ? quote ' \" \\u0000 backslash \\ emoji \U0001f984 line\nend"


def last_log() -> SyncLog:
    return SyncLog.objects.order_by("pk").last() or SyncLog()


# --- One run --------------------------------------------------------------------------------------


def test_a_sync_fills_the_site_the_history_and_the_log(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    site = add_site("shop")
    before = timezone.now()
    result = run_sync()
    assert result.message == "Site data sync completed"
    assert dict(result.counts) == {"total": 1, "success": 1, "failed": 0}
    assert result.continuation is None
    site.refresh_from_db()
    assert site.state == State.UP
    assert site.last_sync_at == site.last_attempt_at == site.state_since
    assert site.last_sync_at
    assert before <= site.last_sync_at <= timezone.now()
    assert site.last_snapshot
    assert site.last_snapshot["http_status"] == 200
    updated_at = datetime.fromisoformat(site.last_snapshot["updatedAt"])
    assert abs(updated_at - site.last_sync_at) < timedelta(milliseconds=1)
    entry = SiteSnapshot.objects.get()
    log = SyncLog.objects.get()
    assert (entry.site, entry.sync_log, entry.data) == (site, log, site.last_snapshot)
    assert (log.status, log.sites_total, log.sites_synced) == ("success", 1, 1)
    assert (log.sites_failed, log.sites_carried_over, log.errors) == (0, 0, {})
    assert log.run is not None
    assert (log.duration or -1) >= 0
    assert website.paths == ["/shop"]


def test_the_state_keeps_the_time_since_when_it_holds(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    site = add_site("shop")
    run_sync()
    site.refresh_from_db()
    up_since, first_synced_at = site.state_since, site.last_sync_at
    run_sync()
    site.refresh_from_db()
    assert site.state_since == up_since
    assert site.last_sync_at != first_synced_at
    website.pages["/shop"] = http(status=500)
    run_sync()
    site.refresh_from_db()
    assert (site.state, site.state_since) == (State.DOWN, site.last_attempt_at)
    assert site.state_reason == "answered 500 Internal Server Error; expected 200-399"


def test_a_failed_attempt_keeps_the_last_snapshot(
    add_site: AddSite, script: Any, run_sync: RunSync
) -> None:
    site = add_site("shop")
    run_sync()
    site.refresh_from_db()
    snapshot, synced_at = site.last_snapshot, site.last_sync_at

    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        raise PlatformUnavailable("away")

    script(it=fetch)
    MonitoredSite.objects.update(platform="scripted", options={"fetch": "it"})
    run_sync()
    site.refresh_from_db()
    assert (site.state, site.state_reason, site.failures) == (State.UNAVAILABLE, "away", 1)
    assert (site.last_snapshot, site.last_sync_at) == (snapshot, synced_at)
    assert site.last_attempt_at != synced_at
    latest = SiteSnapshot.objects.filter(site=site)[0]
    assert (latest.state, latest.reason, latest.data) == (State.UNAVAILABLE, "away", None)


def test_a_site_that_waits_is_passed_over_until_its_time_and_then_forgiven(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    site = add_site("shop")
    website.pages["/shop"] = http(status=500)
    for failures in (1, 2, 3):
        run_sync()
        site.refresh_from_db()
        assert site.failures == failures
        assert run_sync().counts["total"] == 0
        MonitoredSite.objects.update(not_before=timezone.now())
    del website.pages["/shop"]
    run_sync()
    site.refresh_from_db()
    assert (site.state, site.failures, site.not_before) == (State.UP, 0, None)
    assert website.paths == ["/shop"] * 4


def test_no_sites_are_a_success(run_sync: RunSync) -> None:
    assert dict(run_sync().counts) == {"total": 0, "success": 0, "failed": 0}
    assert last_log().status == SyncLog.Status.SUCCESS


def test_progress_is_reported_up_to_the_end(
    add_site: AddSite, run_sync: RunSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "WRITTEN_AT_ONCE", 2)
    for number in range(5):
        add_site(f"site-{number}")
    told: list[tuple[int, int]] = []
    run_sync(report=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


# --- One bad site never stops the others ----------------------------------------------------------


def raising(error: Exception) -> Any:
    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        raise error

    return fetch


async def without_figures(request: FetchRequest, client: Client) -> Any:
    return None


async def endless_figure(request: FetchRequest, client: Client) -> Snapshot:
    figures = Figures(metrics={"rate": Metric(value=float("inf"))})
    return Snapshot(taken_at=request.now, health=Health.UP, figures=figures)


def test_bad_sites_of_every_kind_are_counted_and_all_others_are_synced(
    add_site: AddSite, script: Any, run_sync: RunSync, settings: Settings, website: Website
) -> None:
    script(
        unavailable=raising(PlatformUnavailable("503", retry_after_s=float("inf"))),
        credentials=raising(CredentialsRefused("401")),
        configuration=raising(ConfigurationRefused("no such host")),
        response=raising(BadResponse("not JSON")),
        crash=raising(RuntimeError("a bug")),
        nothing=without_figures,
        endless=endless_figure,
    )
    fetches = "unavailable credentials configuration response crash nothing endless".split()
    for name in fetches:
        MonitoredSite.objects.create(name=name, platform="scripted", options={"fetch": name})
    MonitoredSite.objects.create(name="platform gone", platform="gone")
    add_site("zone gone", timezone="Mars/Phobos")
    add_site("key gone", credentials={"token": "made-up"})
    MonitoredSite.objects.create(name="no options", platform="uptime", options=[])
    add_site("down")
    website.pages["/down"] = http(status=503)
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    for number in range(4):
        add_site(f"good-{number}")
    result = run_sync()
    log = last_log()
    bad = {*fetches, "platform gone", "zone gone", "key gone", "no options", "down"}
    assert dict(result.counts) == {"total": 16, "success": 4, "failed": 12}
    assert log.status == SyncLog.Status.PARTIAL
    assert set(log.errors) == bad
    assert all(log.errors.values())
    sealed = MonitoredSite.objects.sealed()
    assert {site.name for site in sealed.exclude(failures=0)} == bad
    assert all(site.not_before for site in sealed.exclude(failures=0))
    assert sealed.filter(state=State.UP).count() == 4


def test_when_every_site_fails_the_log_says_failed(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    add_site("shop")
    website.pages["/shop"] = http(status=500)
    assert dict(run_sync().counts) == {"total": 1, "success": 0, "failed": 1}
    assert last_log().status == SyncLog.Status.FAILED


def test_what_postgresql_cannot_store_is_left_out_and_all_else_kept(
    script: Any, run_sync: RunSync
) -> None:
    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        return Snapshot(
            taken_at=request.now,
            health=Health.UP,
            reason=NASTY,
            figures=Figures(metrics={NASTY: Metric(value=2**60, unit=NASTY)}),
        )

    script(good=fetch, bad=raising(BadResponse(NASTY)))
    for name in ("good", "bad"):
        MonitoredSite.objects.create(name=name, platform="scripted", options={"fetch": name})
    run_sync()
    good, bad = MonitoredSite.objects.get(name="good"), MonitoredSite.objects.get(name="bad")
    assert good.state_reason == bad.state_reason == NASTY_AS_STORED
    assert good.last_snapshot
    figure = {"value": 2**60, "unit": NASTY_AS_STORED}
    assert good.last_snapshot["metrics"] == {NASTY_AS_STORED: figure}
    assert last_log().errors == {"bad": NASTY_AS_STORED}


# --- Queries --------------------------------------------------------------------------------------


def queries_of(run_sync: RunSync, count: int) -> int:
    MonitoredSite.objects.all().delete()
    MonitoredSite.objects.bulk_create(
        MonitoredSite(name=str(number), platform="scripted", options={"fetch": "it"})
        for number in range(count)
    )
    with CaptureQueriesContext(connection) as queries:
        assert run_sync().counts["success"] == count
    return len(queries)


async def at_once(request: FetchRequest, client: Client) -> Snapshot:
    return Snapshot(taken_at=request.now, health=Health.UP)


def test_the_number_of_queries_depends_on_chunks_and_not_on_sites(
    script: Any, run_sync: RunSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "WRITE_PERIOD_S", 1000)
    script(it=at_once)
    in_one_chunk = queries_of(run_sync, 20)
    assert queries_of(run_sync, 200) == in_one_chunk
    monkeypatch.setattr(sync_module, "WRITTEN_AT_ONCE", 50)
    in_four_chunks = queries_of(run_sync, 200)
    monkeypatch.setattr(sync_module, "WRITTEN_AT_ONCE", 20)
    in_ten_chunks = queries_of(run_sync, 200)
    per_chunk, rest = divmod(in_four_chunks - in_one_chunk, 3)
    assert rest == 0
    assert in_ten_chunks == in_one_chunk + 9 * per_chunk


def test_attempts_that_trickle_in_are_written_after_a_while(
    script: Any, run_sync: RunSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed loses no more than the last seconds."""
    monkeypatch.setattr(sync_module, "WRITE_PERIOD_S", 0)
    script(it=at_once)
    told: list[int] = []
    MonitoredSite.objects.bulk_create(
        MonitoredSite(name=str(number), platform="scripted", options={"fetch": "it"})
        for number in range(3)
    )
    run_sync(report=lambda done, total: told.append(done))
    assert told == [1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_sites_are_waited_for(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    seen: list[list[tuple[Any, ...]]] = []
    alone = threading.Lock()

    def look() -> None:
        # One at a time, for a look and its connecting are statements as well.
        with alone, connection.cursor() as cursor:
            cursor.execute(
                "SELECT state, query FROM pg_stat_activity WHERE xact_start IS NOT NULL"
                " AND datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            seen.append(cursor.fetchall())

    for number in range(3):
        add_site(f"site-{number}")
        website.pages[f"/site-{number}"] = during(look)
    assert run_sync().counts["success"] == 3
    assert seen == [[], [], []]


# --- The log --------------------------------------------------------------------------------------


def test_the_log_of_a_run_whose_process_died_is_closed_by_the_next(run_sync: RunSync) -> None:
    now = timezone.now()

    def log_of(status: JobRun.Status) -> SyncLog:
        run = JobRun.objects.create(
            job_key=f"its run is {status}", trigger="schedule", status=status, lease_expires_at=now
        )
        return SyncLog.objects.create(run=run)

    dead = [log_of(status) for status in (JobRun.Status.ABANDONED, JobRun.Status.FAILED)]
    dead.append(SyncLog.objects.create(run=None))
    alive = log_of(JobRun.Status.RUNNING)
    done = SyncLog.objects.create(status=SyncLog.Status.SUCCESS)
    run_sync()
    for log in [*dead, alive, done]:
        log.refresh_from_db()
    assert {log.status for log in dead} == {SyncLog.Status.FAILED}
    assert (alive.status, done.status) == (SyncLog.Status.RUNNING, SyncLog.Status.SUCCESS)


def rows_of(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_the_documented_queries_work_as_typed(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    add_site("shop")
    add_site("blog")
    website.pages["/blog"] = http(status=500)
    run_sync()
    ((_, status, duration, synced, created_at),) = rows_of(
        "SELECT id, status, duration, sites_synced, created_at FROM sync_logs "
        "ORDER BY created_at DESC LIMIT 10;"
    )
    assert (status, synced) == ("partial", 1)
    assert duration >= 0
    assert created_at <= timezone.now()
    sites = rows_of(
        "SELECT id, name, platform, last_sync_at, (last_snapshot->>'updatedAt') "
        "FROM monitored_sites ORDER BY last_sync_at DESC;"
    )
    assert {(name, platform) for _, name, platform, *_ in sites} == {
        ("shop", "uptime"),
        ("blog", "uptime"),
    }
    for *_, last_sync_at, updated_at in sites:
        assert updated_at.endswith("Z")
        assert abs(datetime.fromisoformat(updated_at) - last_sync_at) < timedelta(milliseconds=1)
    ages = rows_of("SELECT EXTRACT(EPOCH FROM (NOW() - last_sync_at))/60 FROM monitored_sites;")
    assert all(0 <= float(age) < 15 or abs(float(age)) < 1 for (age,) in ages)
