"""A small installation that has run for a day: sites in every state, schedules, runs and syncs."""

import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from scheduling.models import JobRun, ScheduledJob
from scheduling.registry import registry
from scheduling.sync import default_row
from sites.history.latency import count
from sites.history.rollup import roll_up
from sites.models import (
    Incident,
    IncidentEvent,
    MonitoredSite,
    SiteDay,
    SiteSnapshot,
    SyncLog,
)
from tests.recommendations.shop import build_shop, learn_version

State = MonitoredSite.State
ATTEMPTS = 96
DAYS = 45
RUNS = 12
STEP = timedelta(minutes=15)

REFUSED = "api.books.example answered 401 Unauthorized: it does not accept the credentials; enter them again"
LONG_REASON = (
    "The settings of this site cannot be used: line 3 of the figures, 'revenue': the expression gave a "
    "text that is not a number. "
    "https://metrics.example/v2/reports/an-address-without-any-place-to-break-it/" + "a1b2c3d4" * 12
)
LONG_ERROR = (
    "connection to the server at 10.0.0.12, port 5432 failed: server closed the connection unexpectedly; "
    "this probably means that the server terminated abnormally before or while processing the request"
)


def build_world(now: datetime | None = None) -> None:
    """Write it into the database. now: aware; what has just happened happened then."""
    now = now or timezone.now()
    _sites(now)
    _incidents(now)
    _schedules(now)
    _runs(now)
    build_shop()
    learn_version()


def _sites(now: datetime) -> None:
    site("Paperboat", now, latency_ms=118)
    site("Paperboat docs", now, latency_ms=64)
    site("Status page", now, latency_ms=2240, state=State.SLOW,
         reason="answered after 2240 ms; slow after 2000 ms")  # fmt: skip
    site("Inkwell API", now, latency_ms=96, state=State.DOWN, failures_from=88,
         reason="answered 503 Service Unavailable; expected 200-399")  # fmt: skip
    site("Paperboat shop", now, latency_ms=210, platform="custom_json", visitors=412, sales=17,
         revenue_minor={"EUR": 129_900})  # fmt: skip
    site("Inkwell subscriptions, all countries", now, latency_ms=330, platform="custom_json",
         visitors=1860, revenue_minor={"EUR": 482_050, "JPY": 91_200},
         metrics={"churn": {"value": 2.4, "unit": "%"}, "mrr": {"value": 1_249_000, "unit": "EUR minor"}},
         )  # fmt: skip
    site("Bookkeeping", now, age=timedelta(hours=5), platform="custom_json", visitors=None,
         revenue_minor={"USD": 20_400}, state=State.CREDENTIALS_REFUSED,
         reason=REFUSED, failures_from=76)  # fmt: skip
    site("A report with a very long name that somebody typed without thinking of narrow screens",
         now, state=State.MISCONFIGURED, reason=LONG_REASON, failures_from=0)  # fmt: skip
    site("Blog", now, latency_ms=92, age=timedelta(minutes=47), tls_days_left=9)
    MonitoredSite.objects.create(
        name="Newsletter", platform="uptime", options={"url": "https://n.example"}
    )
    MonitoredSite.objects.create(
        name="Old landing page", platform="uptime", options={"url": "https://old.example"}, enabled=False
    )  # fmt: skip


def _incidents(now: datetime) -> None:
    incident("Inkwell API", now - 8 * STEP)
    incident("Bookkeeping", now - 20 * STEP)
    incident("A report with a very long name that somebody typed without thinking of narrow screens",
             now - 96 * STEP)  # fmt: skip
    incident("Paperboat", now - 60 * STEP, closed_at=now - 58 * STEP)


def incident(name: str, opened_at: datetime, closed_at: datetime | None = None) -> Incident:
    """An incident of a site, in the state that the site is in, with its timeline."""
    row = MonitoredSite.objects.get(name=name)
    state = State.DOWN if closed_at else row.state
    kind = IncidentEvent.Kind
    found = Incident.objects.create(
        site=row, state=state, reason=row.state_reason, opened_at=opened_at, closed_at=closed_at
    )
    found.events.create(at=opened_at + STEP, kind=kind.OPENED, state=state, reason=row.state_reason)
    if closed_at:
        found.events.create(at=closed_at + STEP, kind=kind.CLOSED, state=State.UP)
    return found


def site(
    name: str,
    now: datetime,
    *,
    platform: str = "uptime",
    state: State = State.UP,
    reason: str = "",
    age: timedelta = timedelta(minutes=4),
    latency_ms: int | None = 120,
    failures_from: int = ATTEMPTS,
    attempts: int = ATTEMPTS,
    **data: Any,
) -> MonitoredSite:
    """A site with a day of history. failures_from: the attempt since which it has been in `state`."""
    options: dict[str, Any] = {"url": "https://site.example"}
    if platform == "custom_json":
        options["figures"] = "visitors = today.visitors"
    row = MonitoredSite.objects.create(name=name, platform=platform, options=options)
    history = []
    for number in range(attempts):
        failed = number >= failures_from
        taken_at = now - timedelta(minutes=4) - STEP * (attempts - 1 - number)
        history.append(
            SiteSnapshot(
                site=row,
                taken_at=taken_at,
                state=state if failed else State.UP,
                reason=reason if failed else "",
                data=None if failed else _data(number, latency_ms, data),
            )
        )
    SiteSnapshot.objects.bulk_create(history)
    measured = [entry for entry in history if entry.data is not None]
    MonitoredSite.objects.filter(pk=row.pk).update(
        state=state,
        state_reason=reason,
        state_since=now - age,
        last_attempt_at=now - timedelta(minutes=4),
        last_sync_at=now - age if measured else None,
        last_snapshot=_data(attempts, latency_ms, data, exact=True) if measured else None,
    )
    roll_up([row.pk])
    SiteDay.objects.bulk_create(_days(row, now, latency_ms, data), ignore_conflicts=True)
    row.refresh_from_db()
    return row


def _days(
    row: MonitoredSite, now: datetime, latency_ms: int | None, data: dict[str, Any]
) -> Iterator[SiteDay]:
    """The weeks before, with a gap of two days."""
    for number in range(2, DAYS):
        if number in (9, 10):
            continue
        found = _data(number * 7, latency_ms, data)
        yield SiteDay(
            site=row,
            day=now.date() - timedelta(days=number),
            attempts=96,
            good=96 - (number % 6 == 0),
            down=number % 6 == 0,
            latency_counts=count([found["latency_ms"]] * 95) if latency_ms else {},
            visitors=found["visitors"],
            sales=found["sales"],
            revenue_minor=found["revenue_minor"] or None,
            settled=True,
        )


def _data(
    number: int, latency_ms: int | None, data: dict[str, Any], *, exact: bool = False
) -> dict[str, Any]:
    """A snapshot of the shape that the platforms store; the numbers go up and down over the day."""
    noise = random.Random(number).uniform(-0.08, 0.08)  # noqa: S311 - not a secret
    share = 1.0 if exact else 0.62 + 0.22 * math.sin((number - 30) / 15) + noise

    def scaled(value: int | None) -> int | None:
        return None if value is None else round(value * share)

    return {
        "latency_ms": scaled(latency_ms),
        "http_status": 200,
        "tls_days_left": data.get("tls_days_left"),
        "visitors": scaled(data.get("visitors")),
        "sales": data.get("sales"),
        "revenue_minor": {
            currency: round(minor * share)
            for currency, minor in data.get("revenue_minor", {}).items()
        },
        "metrics": data.get("metrics", {}),
        "notices": data.get("notices", []),
    }


def _schedules(now: datetime) -> None:
    jobs = [default_row(job) for job in registry.scheduled]
    jobs += [
        ScheduledJob(
            key="nightly-backup", name="Nightly backup of everything that matters", cron="30 2 * * MON-FRI",
            timezone="Europe/Vienna", url="https://backup.example/run",
            push_status=ScheduledJob.Push.FAILED,
            push_error="QStash did not answer within 3 s (http://127.0.0.1:1); the schedule is kept here.",
        ),
        ScheduledJob(key="old-report", name="Old report", cron="0 8 1 * *", url="https://report.example/hook",
                     enabled=False),
    ]  # fmt: skip
    for job in ScheduledJob.objects.bulk_create(jobs):
        if job.push_status == ScheduledJob.Push.PENDING:
            ScheduledJob.objects.filter(pk=job.pk).update(
                push_status=ScheduledJob.Push.PUSHED,
                pushed_at=now - timedelta(hours=20),
                pushed_fingerprint=job.fingerprint(),
            )


def _runs(now: datetime) -> None:
    for number in range(RUNS):
        started_at = now - timedelta(minutes=4) - STEP * number
        failed = number == 9
        run = JobRun.objects.create(
            job_key="sync-sites",
            trigger=JobRun.Trigger.SCHEDULE,
            message_id=f"msg_{number:026}",
            schedule_id="soloboard-sync-sites",
            status=JobRun.Status.FAILED if failed else JobRun.Status.SUCCEEDED,
            started_at=started_at,
            lease_expires_at=started_at + timedelta(minutes=5),
            finished_at=started_at + timedelta(milliseconds=1840),
            duration_ms=1840 + 31 * number,
            counts={} if failed else {"total": 9, "success": 7, "failed": 2},
            error=LONG_ERROR if failed else "",
        )
        SyncLog.objects.create(
            status=SyncLog.Status.FAILED
            if failed
            else SyncLog.Status.PARTIAL
            if number < 5
            else SyncLog.Status.SUCCESS,
            duration=1820 + 31 * number,
            sites_total=9,
            sites_synced=0 if failed else 7 if number < 5 else 9,
            sites_failed=2 if number < 5 else 0,
            errors={"Bookkeeping": REFUSED, "Inkwell API": LONG_REASON} if number < 5 else {},
            run=run,
            created_at=started_at,
        )
