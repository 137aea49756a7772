"""The page that shows everything at a glance: sites, the health of their syncs, jobs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
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
from sites.admin.colours import KIND_OF_STATE
from sites.admin.colours import KIND_OF_STATUS as KIND_OF_SYNC
from sites.history.reading import zone_of
from sites.models import MonitoredSite, SyncLog
from sites.platforms.money import money, with_unit
from soloboard.courses import Day, Hour, last_days, last_hours
from soloboard.incidents import open_incidents
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
#: No failures of the site: nothing is known of it while our own network is away.
NOT_FAILED = (*GOOD, State.OFFLINE)
#: A site is synced every quarter of an hour; its age is shown in whole minutes.
FRESH_MINUTES = 15
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
    cards = site_cards(now)
    context = {
        "now": now,
        "incidents": open_incidents(),
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


def site_cards(now: datetime) -> list[Card]:
    """All sites, those that need a look first; three queries."""
    sites = list(MonitoredSite.objects.defer("options", "credentials"))
    businesses = {site.pk: _today(site, now) for site in sites if _is_business(site)}
    hours = last_hours((site.pk for site in sites if site.pk not in businesses), now)
    days = last_days(businesses)
    cards = [_card(site, hours.get(site.pk, []), days.get(site.pk, [])) for site in sites]
    return sorted(
        cards, key=lambda card: (not card.site.enabled, ORDER.index(card.state), card.site.name)
    )


def summary(cards: Sequence[Card]) -> list[tuple[int, str, str]]:
    """How many sites are in which state, with its colour, in the order of the cards."""
    counts = Counter((card.state.label, card.kind) for card in cards if card.site.enabled)
    paused = sum(not card.site.enabled for card in cards)
    rows = [(count, label, kind) for (label, kind), count in counts.items()]
    return [*rows, *([(paused, "disabled", "off")] if paused else [])]


def _is_business(site: MonitoredSite) -> bool:
    """Whether there is more to show of it than its latency."""
    snapshot = site.last_snapshot or {}
    named = any(snapshot.get(name) for name in ("revenue_minor", "metrics"))
    return named or any(snapshot.get(name) is not None for name in ("visitors", "sales"))


def _card(site: MonitoredSite, hours: Sequence[Hour], days: Sequence[Day]) -> Card:
    state = site.shown_state
    return Card(
        site=site,
        state=state,
        kind=KIND_OF_STATE[state] if site.enabled else "off",
        figures=_business(site, days) if _is_business(site) else _latency(site, hours),
    )


def _business(site: MonitoredSite, days: Sequence[Day]) -> list[Figure]:
    """The figures of its last snapshot, and the course of visitors and revenue over the last days."""
    snapshot = site.last_snapshot or {}
    figures = []
    for currency, minor in (snapshot.get("revenue_minor") or {}).items():
        show = partial(money, currency=currency)
        points = [_point(day, _revenue(day, currency)) for day in days]
        course = draw(points, f"Revenue, {currency}", show, each="day")
        figures.append(Figure(label=f"Revenue, {currency}", value=show(minor), course=course))
    if (visitors := snapshot.get("visitors")) is not None:
        course = draw([_point(day, day.visitors) for day in days], "Visitors", each="day")
        figures.append(Figure(label="Visitors", value=f"{visitors:,}", course=course))
    if (sales := snapshot.get("sales")) is not None:
        figures.append(Figure(label="Sales", value=f"{sales:,}"))
    for name, metric in (snapshot.get("metrics") or {}).items():
        figures.append(Figure(label=name.replace("_", " "), value=with_unit(**metric)))
    if (latency_ms := snapshot.get("latency_ms")) is not None:
        figures.append(Figure(label="Latency", value=f"{latency_ms:,} ms"))
    return figures


def _latency(site: MonitoredSite, hours: Sequence[Hour]) -> list[Figure]:
    """The last latency, and its course over the last day up to now."""
    latency_ms = (site.last_snapshot or {}).get("latency_ms")
    points = [_point(hour, hour.latency_ms) for hour in hours]
    if site.last_attempt_at and points:
        good = site.state in GOOD
        at_s = site.last_attempt_at.timestamp()
        points.append(
            Point(
                at_s=at_s, value=latency_ms if good else None, failed=site.state not in NOT_FAILED
            )
        )
    course = draw(points, "Latency", "{:,} ms".format, each="hour")
    if course is None and latency_ms is None:
        return []
    value = "—" if latency_ms is None else f"{latency_ms:,} ms"
    return [Figure(label="Latency", value=value, course=course)]


def _point(period: Hour | Day, value: int | None) -> Point:
    return Point(at_s=period.begins_s, value=value, failed=period.failed)


def _revenue(day: Day, currency: str) -> int | None:
    """Zero where revenue is known and there was none in this currency."""
    return None if day.revenue_minor is None else day.revenue_minor.get(currency, 0)


def _today(site: MonitoredSite, now: datetime) -> date:
    return now.astimezone(zone_of(site)).date()


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
