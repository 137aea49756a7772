"""The page that shows everything at a glance: sites, the health of their syncs, jobs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.db import connection
from django.db.models import Avg, Count, OuterRef, Q, Subquery, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRefresh
from django_htmx.middleware import HtmxDetails

from charts.sparkline import Point, Sparkline, draw
from scheduling.admin import KIND_OF_STATUS as KIND_OF_RUN
from scheduling.admin import push_pill
from scheduling.cron import in_words
from scheduling.models import JobRun, ScheduledJob
from sites.admin import KIND_OF_STATE
from sites.admin import KIND_OF_STATUS as KIND_OF_SYNC
from sites.models import MonitoredSite, SyncLog
from sites.platforms.money import exponent, to_units
from soloboard.pipeline import pipeline

State = MonitoredSite.State

#: What needs a look comes first.
ORDER = (
    State.DOWN,
    State.CREDENTIALS_REFUSED,
    State.MISCONFIGURED,
    State.UNAVAILABLE,
    State.OFFLINE,
    State.STALE,
    State.SLOW,
    State.NEW,
    State.UP,
)
GOOD = (State.UP, State.SLOW)
#: A site is synced every quarter of an hour; its age is shown in whole minutes.
FRESH_MINUTES = 15
#: Of each site; a day at four syncs an hour.
POINTS = 96
TLS_WARNING_DAYS = 21


class HtmxRequest(HttpRequest):
    htmx: HtmxDetails


@never_cache
def dashboard(request: HtmxRequest) -> HttpResponse:
    """Show the page, or, to a script that refreshes it, what changes on it."""
    if not admin.site.has_permission(request):
        # The login page must not end up inside the board of somebody whose session has ended.
        return (
            HttpResponseClientRefresh()
            if request.htmx
            else redirect_to_login(request.get_full_path(), "admin:login")
        )
    now = timezone.now()
    cards = site_cards()
    context = {
        "now": now,
        "cards": cards,
        "summary": summary(cards),
        "last_sync": last_sync(),
        "periods": sync_health(now),
        "pipeline": pipeline(now),
        "jobs": job_rows(),
    }
    if request.htmx:
        return render(request, "soloboard/_board.html", context)
    page = {**admin.site.each_context(request), "title": "Dashboard"}
    return render(request, "soloboard/dashboard.html", {**page, **context})


# --- Sites ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number of a site, written with its unit, and its course where there is one."""

    label: str
    value: str
    course: Sparkline | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """A site as it is shown. kind: the colour of its state."""

    site: MonitoredSite
    state: State
    kind: str
    figures: Sequence[Figure]

    @property
    def is_late(self) -> bool:
        """Whether its figures are older than they should be."""
        age = self.site.age
        return self.site.enabled and (age is None or age // timedelta(minutes=1) > FRESH_MINUTES)

    @property
    def tls_days_left(self) -> int | None:
        """Days until the certificate ends, where that is soon."""
        days: int | None = (self.site.last_snapshot or {}).get("tls_days_left")
        return days if days is not None and days <= TLS_WARNING_DAYS else None


class Measured(NamedTuple):
    """What the charts need of one attempt; a tuple, because there are tens of thousands.

    at_s: POSIX time in seconds.
    revenue_minor: by currency; None when the attempt found no data.
    """

    at_s: float
    failed: bool
    latency_ms: int | None
    visitors: int | None
    revenue_minor: Mapping[str, int] | None


def site_cards() -> list[Card]:
    """All sites, those that need a look first; two queries."""
    sites = MonitoredSite.objects.defer("options", "credentials")
    history = _history()
    cards = [_card(site, history.get(site.pk, [])) for site in sites]
    return sorted(
        cards, key=lambda card: (not card.site.enabled, ORDER.index(card.state), card.site.name)
    )


def summary(cards: Sequence[Card]) -> list[tuple[int, str, str]]:
    """How many sites are in which state, with its colour, in the order of the cards."""
    counts = Counter((card.state.label, card.kind) for card in cards if card.site.enabled)
    paused = sum(not card.site.enabled for card in cards)
    rows = [(count, label, kind) for (label, kind), count in counts.items()]
    return [*rows, *([(paused, "disabled", "off")] if paused else [])]


def _card(site: MonitoredSite, history: Sequence[Measured]) -> Card:
    state = site.shown_state
    return Card(
        site=site,
        state=state,
        kind=KIND_OF_STATE[state] if site.enabled else "off",
        figures=_figures(site.last_snapshot or {}, history),
    )


def _figures(snapshot: Mapping[str, Any], history: Sequence[Measured]) -> list[Figure]:
    """The business figures of a snapshot, or its latency where it has none."""
    figures = []
    for currency, minor in snapshot.get("revenue_minor", {}).items():
        show = partial(money, currency=currency)
        points = [_point(entry, (entry.revenue_minor or {}).get(currency)) for entry in history]
        figures.append(_figure(f"Revenue, {currency}", minor, points, show))
    if snapshot.get("visitors") is not None:
        points = [_point(entry, entry.visitors) for entry in history]
        figures.append(_figure("Visitors", snapshot["visitors"], points))
    if snapshot.get("sales") is not None:
        figures.append(Figure(label="Sales", value=f"{snapshot['sales']:,}"))
    for name, metric in snapshot.get("metrics", {}).items():
        figures.append(Figure(label=name.replace("_", " "), value=with_unit(**metric)))
    points = [_point(entry, entry.latency_ms) for entry in history]
    latency_ms = snapshot.get("latency_ms")
    if figures and latency_ms is not None:
        figures.append(Figure(label="Latency", value=f"{latency_ms:,} ms"))
    elif not figures and any(point.value is not None for point in points):
        figures.append(_figure("Latency", latency_ms, points, "{:,} ms".format))
    return figures


def _figure(
    label: str, value: int | None, points: Sequence[Point], show: Any = "{:,}".format
) -> Figure:
    return Figure(
        label=label,
        value="—" if value is None else show(value),
        course=draw(points, label, show) if points else None,
    )


def _point(entry: Measured, value: int | None) -> Point:
    return Point(at_s=entry.at_s, value=value, failed=entry.failed)


def money(minor: int, currency: str) -> str:
    """129900, 'EUR' is 1,299.00 EUR; yen have no decimals."""
    return f"{to_units(minor, currency):,.{exponent(currency)}f} {currency}"


def with_unit(value: float, unit: str) -> str:
    """Write a metric: '12.5%', '340 ms', '1,299.00 EUR' for the unit 'EUR minor'."""
    if unit.endswith(" minor"):
        return money(int(value), unit.removesuffix(" minor"))
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"
    return f"{text}%" if unit == "%" else f"{text} {unit}".strip()


#: The newest attempts of every site, one row for each site. The index on site and time is read for
#: as many attempts as are wanted, however long the history is; a window function would read all.
HISTORY = """
SELECT site.id, json_agg(json_build_array(
    extract(epoch FROM point.taken_at), point.state <> ALL (%s), point.data->'latency_ms',
    point.data->'visitors', point.data->'revenue_minor'
) ORDER BY point.taken_at)::text
FROM monitored_sites AS site
CROSS JOIN LATERAL (
    SELECT taken_at, state, data FROM site_snapshots
    WHERE site_id = site.id ORDER BY taken_at DESC LIMIT %s
) AS point
GROUP BY site.id
"""


def _history() -> dict[int, list[Measured]]:
    with connection.cursor() as cursor:
        cursor.execute(HISTORY, [list(GOOD), POINTS])
        return {
            site_id: [Measured(*attempt) for attempt in json.loads(attempts)]
            for site_id, attempts in cursor
        }


# --- Syncs ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Period:
    """The syncs since some time. synced, errors: sites, counted once in each run."""

    name: str
    runs: int
    failed_runs: int
    synced: int
    errors: int
    average_ms: float | None

    @property
    def success_percent(self) -> float | None:
        """Rounded down, so that 100 means that nothing failed; None when nothing was synced."""
        attempts = self.synced + self.errors
        return self.synced * 1000 // attempts / 10 if attempts else None


PERIODS = {"24 hours": timedelta(hours=24), "7 days": timedelta(days=7)}


def sync_health(now: datetime) -> list[Period]:
    """How the syncs of the last day and week went; one query for each."""
    return [_period(name, now - length) for name, length in PERIODS.items()]


def _period(name: str, since: datetime) -> Period:
    ended = SyncLog.objects.filter(created_at__gt=since).exclude(status=SyncLog.Status.RUNNING)
    figures = ended.aggregate(
        runs=Count("pk"),
        failed_runs=Count("pk", filter=Q(status=SyncLog.Status.FAILED)),
        synced=Sum("sites_synced", default=0),
        errors=Sum("sites_failed", default=0),
        average_ms=Avg("duration"),
    )
    return Period(name=name, **figures)


def last_sync() -> tuple[SyncLog, str, str] | None:
    """The newest sync, its status in words and its colour."""
    log = SyncLog.objects.first()
    if log is None:
        return None
    return (log, log.get_status_display(), KIND_OF_SYNC[SyncLog.Status(log.status)])


# --- Jobs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A schedule as it is shown. next_fire: None while it is paused, or when it never fires."""

    job: ScheduledJob
    when: str
    pushed: SafeString
    next_fire: datetime | None
    last_run: JobRun | None

    @property
    def last_kind(self) -> str:
        """The colour of the last run's outcome."""
        return KIND_OF_RUN[self.last_run.status] if self.last_run else "off"


def job_rows() -> list[JobRow]:
    """All schedules with their last run; two queries."""
    newest = JobRun.objects.filter(job_key=OuterRef("job_key")).exclude(job_key="")
    jobs = list(ScheduledJob.objects.annotate(last_run_id=Subquery(newest.values("pk")[:1])))
    runs = JobRun.objects.defer("answer", "traceback").in_bulk(
        [job.last_run_id for job in jobs if job.last_run_id]
    )
    return [
        JobRow(
            job=job,
            when=in_words(job.cron),
            pushed=push_pill(job),
            next_fire=next(iter(job.next_fire_times(1)), None),
            last_run=runs.get(job.last_run_id),
        )
        for job in jobs
    ]
