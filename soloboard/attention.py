"""What somebody should look at, in a few sentences that link to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Min, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince

from alerts.models import Alert, Delivery
from recommendations.models import QuarantinedAction
from scheduling.models import JobRun, ScheduledJob, ScheduleRemoval
from sites.admin.colours import KIND_OF_STATE
from sites.models import STALE_AFTER, Incident, MonitoredSite

State = MonitoredSite.State

#: In the order of urgency.
BAD = (State.DOWN, State.CREDENTIALS_REFUSED, State.MISCONFIGURED, State.UNAVAILABLE, State.SLOW)
RECENT = timedelta(hours=24)
#: A message about an alert that has been tried so often is worth a word.
STRUGGLING = 3


@dataclass(frozen=True, kw_only=True)
class Notice:
    """kind: the colour of its pill. url: the list in the admin where it can be mended."""

    kind: str
    text: str
    url: str


def notices() -> Iterator[Notice]:
    """Find everything that is not as it should be; the number of queries is fixed."""
    yield from _incident_notices()
    yield from _site_notices()
    yield from _alert_notices()
    yield from _schedule_notices()
    failed = JobRun.objects.filter(
        status__in=(JobRun.Status.FAILED, JobRun.Status.ABANDONED),
        started_at__gt=timezone.now() - RECENT,
    ).count()
    if failed:
        yield Notice(
            kind="warn",
            text=f"{_many(failed, 'run')} of jobs: failed in the last 24 hours",
            url=reverse("admin:scheduling_jobrun_changelist"),
        )
    if quarantined := QuarantinedAction.objects.count():
        yield Notice(
            kind="warn",
            text=f"{_many(quarantined, 'action')} in quarantine: could not be read, and count for nobody",
            url=reverse("admin:recommendations_quarantinedaction_changelist"),
        )


def _incident_notices() -> Iterator[Notice]:
    url = reverse("admin:sites_incident_changelist") + "?open=yes"
    of_sites = Q(site__isnull=False)
    found = Incident.objects.filter(closed_at=None).aggregate(
        count=Count("pk", filter=of_sites),
        since=Min("opened_at", filter=of_sites),
        away_since=Min("opened_at", filter=~of_sites),
    )
    if away_since := found["away_since"]:
        text = (
            f"Our own network has been away for {timesince(away_since)}; the sites may well be up"
        )
        yield Notice(kind="bad", text=text, url=url)
    if count := found["count"]:
        longest = "" if count == 1 else "the longest "
        text = f"{_many(count, 'incident')}: open, {longest}for {timesince(found['since'])}"
        yield Notice(kind="bad", text=text, url=url)


def _site_notices() -> Iterator[Notice]:
    sites = MonitoredSite.objects.filter(enabled=True)
    url = reverse("admin:sites_monitoredsite_changelist")
    counts = dict(sites.order_by().values_list("state").annotate(Count("pk")))
    for state in BAD:
        if count := counts.get(state, 0):
            yield Notice(
                kind=KIND_OF_STATE[state],
                text=f"{_many(count, 'site')}: {state.label}",
                url=f"{url}?state={state}",
            )
    measured = sites.filter(state__in=(State.UP, State.SLOW))
    if stale := measured.synced_before(timezone.now() - STALE_AFTER).count():
        minutes = int(STALE_AFTER.total_seconds() // 60)
        yield Notice(
            kind="warn",
            text=f"{_many(stale, 'site')}: not synced for {minutes} minutes",
            url=f"{url}?state={State.STALE}",
        )


def _alert_notices() -> Iterator[Notice]:
    if count := Alert.objects.filter(closed_at=None).count():
        yield Notice(
            kind="bad",
            text=f"{_many(count, 'alert')}: open",
            url=reverse("admin:alerts_alert_changelist") + "?state=open",
        )
    unsent = Delivery.objects.filter(Q(status=Delivery.Status.FAILED) | Q(attempts__gte=STRUGGLING))
    counts = dict(
        unsent.exclude(status=Delivery.Status.SENT)
        .order_by()
        .values_list("status")
        .annotate(Count("pk"))
    )
    url = reverse("admin:alerts_delivery_changelist")
    if count := counts.pop(Delivery.Status.FAILED, 0):
        yield Notice(
            kind="bad",
            text=f"{_many(count, 'message')} about alerts: not sent, and given up",
            url=f"{url}?status__exact={Delivery.Status.FAILED}",
        )
    if count := sum(counts.values()):
        yield Notice(
            kind="warn",
            text=f"{_many(count, 'message')} about alerts: still not sent after {STRUGGLING} tries or more",
            url=f"{url}?status__exact={Delivery.Status.WAITING}",
        )


def _schedule_notices() -> Iterator[Notice]:
    url = reverse("admin:scheduling_scheduledjob_changelist")
    schedules = list(ScheduledJob.objects.all())
    if not schedules:
        yield Notice(
            kind="warn",
            text="There is no schedule yet, so nothing runs by itself: manage.py init_qstash makes them.",
            url=url,
        )
    if pending := sum(not schedule.is_pushed for schedule in schedules):
        yield Notice(
            kind="bad",
            text=f"{_many(pending, 'schedule')}: not at QStash in the version that is here",
            url=url,
        )
    for removal in ScheduleRemoval.objects.all()[:5]:
        yield Notice(
            kind="warn",
            text=f"The deleted schedule {removal} is still at QStash. {removal.last_error}",
            url=url,
        )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
