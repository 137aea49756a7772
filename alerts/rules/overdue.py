"""A job has not succeeded when its schedule says that it should have."""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.db.models import Max

from alerts.rules.base import RuleKind, Target, Verdict, clear, firing, in_words, unknown
from scheduling.cron import parse as parse_cron
from scheduling.models import JobRun, ScheduledJob
from scheduling.registry import registry
from sites.models import MonitoredSite


def _jobs() -> list[tuple[str, str]]:
    return [("", "every one"), *((job.key, job.name) for job in registry.scheduled)]


class Options(forms.Form):
    job = forms.ChoiceField(choices=_jobs, required=False, initial="")
    minutes = forms.IntegerField(
        label="Overdue by (minutes)",
        initial=30,
        min_value=1,
        max_value=7 * 24 * 60,
        help_text="After the instant at which its schedule should have run it again.",
    )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """since: when the schedule was made, edited or resumed, and so began anew.

    successes: the starts of runs that succeeded, in order.
    """

    name: str
    cron: str
    timezone: str
    since: datetime
    successes: Sequence[datetime]


class Overdue(RuleKind[Evidence]):
    """Compares the last success of each job with its schedule. Paused schedules are left out."""

    key = "overdue"
    name = "Job overdue"
    description = "A scheduled job, such as the sync, has not succeeded when it should have."
    Options = Options
    about_sites = False

    def lookback(self, options: Mapping[str, Any]) -> timedelta:
        # The last success before the time is read in any case, however long ago it was.
        return timedelta(0)

    def read(
        self,
        options: Mapping[str, Any],
        sites: Sequence[MonitoredSite],
        begin: datetime,
        end: datetime,
    ) -> Mapping[Target, Evidence]:
        rows = ScheduledJob.objects.filter(enabled=True).exclude(job_key="").order_by("key")
        if options["job"]:
            rows = rows.filter(job_key=options["job"])
        schedules = list(rows)
        successes = _successes({row.job_key for row in schedules}, begin, end)
        return {
            Target(site_id=None, subject=row.key): Evidence(
                name=row.name,
                cron=row.cron,
                timezone=row.timezone,
                since=row.updated_at,
                successes=successes.get(row.job_key, []),
            )
            for row in schedules
        }

    def judge(self, options: Mapping[str, Any], evidence: Evidence, now: datetime) -> Verdict:
        count = bisect_right(evidence.successes, now)
        last = evidence.successes[count - 1] if count else None
        starts = [moment for moment in (last, evidence.since) if moment and moment <= now]
        if not starts:
            return unknown("Its schedule was not there yet.")
        when = f"last succeeded {in_words(now - last)} ago" if last else "has never succeeded"
        grace = timedelta(minutes=options["minutes"])
        if now - max(starts) < grace:
            # It is due later than that, so there is no need to work out when. A replay asks often.
            return clear(f"{evidence.name} {when}.")
        expected = _next_after(evidence, max(starts))
        if expected is None:
            return unknown("Its schedule never fires again.")
        if now - expected < grace:
            return clear(f"{evidence.name} {when}.")
        return firing(f"{evidence.name} {when}, and was due {in_words(now - expected)} ago.")


def _next_after(evidence: Evidence, moment: datetime) -> datetime | None:
    upcoming = parse_cron(evidence.cron).next(ZoneInfo(evidence.timezone), moment, 1)
    return upcoming[0] if upcoming else None


def _successes(
    job_keys: Collection[str], begin: datetime, end: datetime
) -> dict[str, list[datetime]]:
    """The starts of successful runs by job, in order: the last one before the time, then those in it."""
    runs = JobRun.objects.filter(job_key__in=job_keys, status=JobRun.Status.SUCCEEDED).order_by()
    before = runs.filter(started_at__lt=begin).values("job_key").annotate(last=Max("started_at"))
    found = {row["job_key"]: [row["last"]] for row in before}
    inside = runs.filter(started_at__gte=begin, started_at__lte=end).order_by("started_at")
    for job_key, started_at in inside.values_list("job_key", "started_at").iterator():
        found.setdefault(job_key, []).append(started_at)
    return found
