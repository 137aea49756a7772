"""Cadences within a minute, which QStash's schedules cannot have.

QStash calls once in each minute of such a schedule. The call publishes what fires until the next
one as delayed messages; those are the runs, and are delivered, signed and recorded as any other.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.utils import timezone

from scheduling.cron import parse as parse_cron
from scheduling.errors import PayloadRefused, RetryLater
from scheduling.models import MINUTE_TIMEOUT_S, ScheduledJob, ticks_path
from scheduling.qstash import PATIENT_TIMEOUT, QStashProblem, Tick, connect
from scheduling.registry import Job
from scheduling.run import JobResult, Run

#: The next call comes after a minute; so long it may be late without a tick being late.
HORIZON = timedelta(seconds=70)
#: A tick that was missed is made up for once, unless this long has passed since.
MAX_LATE = timedelta(hours=1)
#: A tick that fails is not tried again when the next one follows within this time.
RETRIED_GAP = timedelta(minutes=1)
RETRY_AFTER_S = 5


def minute_job(key: str) -> Job:
    """The call of a minute as the runner takes it; `key` is that of the schedule."""
    path = ticks_path(key)
    return Job(
        key=path,
        name=f"The ticks of {key}",
        function=partial(publish_ticks, key),
        path=path,
        cron="* * * * *",
        timeout_s=MINUTE_TIMEOUT_S,
    )


def publish_ticks(key: str, run: Run) -> JobResult:
    """Publish the ticks that are due until the next call. A repeated call publishes none twice:
    the row says how far the last one came, and QStash knows each tick by its instant.
    """
    schedule = ScheduledJob.objects.filter(key=key).first()
    if schedule is None:
        raise PayloadRefused(f"There is no schedule {key!r} here any more.")
    now = timezone.now()
    ticks = due_ticks(schedule, now)
    published = _publish(schedule, ticks) if ticks else 0
    if schedule.enabled:
        ScheduledJob.objects.filter(pk=schedule.pk).update(ticked_until=now + HORIZON)
    counts = {"published": published, "known": len(ticks) - published}
    return JobResult(message="Ticks published", counts=counts)


def _publish(schedule: ScheduledJob, ticks: Sequence[Tick]) -> int:
    """Returns how many were new to QStash. Raises RetryLater or PayloadRefused."""
    try:
        with connect(PATIENT_TIMEOUT) as qstash:
            return qstash.publish_ticks(schedule, ticks)
    except ValidationError as error:
        raise PayloadRefused("; ".join(error.messages)) from error
    except QStashProblem as error:
        raise RetryLater(str(error), retry_after_s=RETRY_AFTER_S) from error


def due_ticks(schedule: ScheduledJob, now: datetime) -> list[Tick]:
    """The ticks to publish at this time, in order. Of those that were missed there is at most the
    last one; a disabled schedule has none.
    """
    if not schedule.enabled:
        return []
    ticks = list(_ticks(schedule, _published_until(schedule, now), now + HORIZON))
    missed = [tick for tick in ticks if tick.at <= now]
    return missed[-1:] + ticks[len(missed) :]


def _published_until(schedule: ScheduledJob, now: datetime) -> datetime:
    # What fired before the last edit is not made up for: it was another cadence, or a pause.
    since = max(min(schedule.updated_at, now), now - MAX_LATE)
    until = schedule.ticked_until
    # It lies beyond the horizon only when the clock was set back.
    return max(since, until) if until and until <= now + HORIZON else since


def _ticks(schedule: ScheduledJob, after: datetime, until: datetime) -> Iterator[Tick]:
    """The ticks in (after, until]."""
    fire_times = parse_cron(schedule.cron).fire_times(ZoneInfo(schedule.timezone), after)
    at = next(fire_times, None)
    while at is not None and at <= until:
        following = next(fire_times, None)
        is_soon = following is not None and following - at <= RETRIED_GAP
        yield Tick(at=at, retries=0 if is_soon else schedule.retries)
        at = following
