"""Bringing QStash in line with the rows: pushing, removing, and reconciling everything."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from qstash.schedule import Schedule

from scheduling.models import JobRun, ScheduledJob, ScheduleRemoval
from scheduling.qstash import PATIENT_TIMEOUT, Message, QStash, QStashAway, QStashProblem, connect
from scheduling.registry import Job, registry

logger = logging.getLogger(__name__)

#: A row that is edited faster than this many pushes is left to the next reconcile.
MAX_PUSHES = 5


def push(job_id: int) -> None:
    """Make QStash's schedule equal to the row, and write the outcome to the row. Never raises
    QStashProblem.
    """
    push_all([job_id])


def push_all(job_ids: Iterable[int]) -> None:
    """Push several rows on one connection. When QStash is away the rest is marked without waiting
    for each.
    """
    away: QStashAway | None = None
    with connect() as qstash:
        for job_id in job_ids:
            try:
                if away:
                    raise away
                _push_until_stable(qstash, job_id)
            except QStashAway as error:
                away = error
                _record_failure(job_id, str(error))
            except (QStashProblem, ValidationError) as error:
                _record_failure(job_id, "; ".join(getattr(error, "messages", [str(error)])))


def _push_until_stable(qstash: QStash, job_id: int) -> None:
    # Two saves may push at the same time, and the older push may arrive last. Whoever pushes reads
    # the row again afterwards and pushes what has changed, so the last one to look always leaves
    # the newest version.
    pushed = None
    for _ in range(MAX_PUSHES):
        job = ScheduledJob.objects.filter(pk=job_id).first()
        if job is None or job.fingerprint() == pushed:
            return
        qstash.upsert_schedule(job)
        pushed = job.fingerprint()
        ScheduledJob.objects.filter(pk=job_id).update(
            push_status=ScheduledJob.Push.PUSHED,
            push_error="",
            pushed_at=timezone.now(),
            pushed_fingerprint=pushed,
        )


def _record_failure(job_id: int, error: str) -> None:
    logger.warning("QStash schedule of job %s not pushed: %s", job_id, error)
    ScheduledJob.objects.filter(pk=job_id).update(
        push_status=ScheduledJob.Push.FAILED, push_error=error
    )


def remove(schedule_id: str) -> None:
    """Remove a schedule that a ScheduleRemoval asks for; the request stays until it is done."""
    with connect() as qstash:
        _remove(qstash, schedule_id)


def _remove(qstash: QStash, schedule_id: str) -> None:
    removals = ScheduleRemoval.objects.filter(schedule_id=schedule_id)
    if not removals.exists():
        return  # A row with the same key was saved meanwhile, and wants its schedule.
    try:
        qstash.delete_schedule(schedule_id)
    except QStashProblem as error:
        logger.warning("QStash schedule %s not removed: %s", schedule_id, error)
        removals.update(last_error=str(error))
    else:
        removals.delete()


def publish_run(
    job: ScheduledJob,
    trigger: JobRun.Trigger,
    *,
    caller: str = "",
    payload: Mapping[str, Any] | None = None,
) -> str:
    """Have QStash call the job once now, by the same way as its schedule. Returns the message's id.

    payload: in place of the row's own body.
    Raises QStashProblem, or ValidationError when the row names a job that has gone.
    """
    body = None if payload is None else json.dumps(payload)
    with connect() as qstash:
        return qstash.publish(job, trigger, caller=caller, body=body)


def publish_payload(
    job: Job, trigger: JobRun.Trigger, payload: Mapping[str, Any], *, caller: str = ""
) -> str:
    """Send a registered job a payload of its own, delivered as its schedule is. Raises
    QStashProblem.
    """
    row = ScheduledJob.objects.filter(job_key=job.key).order_by("pk").first() or default_row(job)
    return publish_run(row, trigger, caller=caller, payload={**job.body, **payload})


def publish_messages(job: Job, messages: Sequence[Message]) -> int:
    """Send a registered job several payloads of its own, in one call. Raises QStashProblem.

    Returns how many QStash did not have yet. Repeating the call is safe where each message has a
    `deduplication_id`.
    """
    row = ScheduledJob.objects.filter(job_key=job.key).order_by("pk").first() or default_row(job)
    with connect(PATIENT_TIMEOUT) as qstash:
        return qstash.publish_messages(row, messages)


def default_row(job: Job) -> ScheduledJob:
    """The unsaved row that a job proposes."""
    return ScheduledJob(
        key=job.key,
        name=job.name,
        description=job.description,
        job_key=job.key,
        method=job.method,
        body=job.body_text,
        cron=job.cron,
        timezone=job.timezone,
        retries=job.retries,
        retry_delay_ms=job.retry_delay_ms,
        timeout_s=job.timeout_s,
        label=job.key,
    )


# --- Reconciling ----------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Plan:
    """What would make QStash equal to the rows, in names that a person reads.

    create: default schedules that have no row yet.
    change: rows that get another cadence, with both.
    push: rows that QStash lacks or has in another version, each with what differs.
    remove: schedules whose rows were deleted.
    unchanged: rows that QStash has as they are.
    unknown: schedules at QStash that carry our prefix but belong to no row. They are left alone,
        because another installation may share the account and the prefix.
    """

    create: list[str] = field(default_factory=list)
    change: dict[str, str] = field(default_factory=dict)
    push: dict[str, str] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.create or self.change or self.push or self.remove)


def make_plan(cadences: Mapping[str, str] | None = None) -> Plan:
    """Compare the rows with QStash. Changes nothing. Raises QStashProblem.

    cadences: what rows are to have in place of their own, and new ones in place of the proposed.
    """
    with connect() as qstash:
        remote = {schedule.schedule_id: schedule for schedule in qstash.list_schedules()}
    plan = Plan(create=[job.key for job in _jobs_without_row()])
    removals = set(ScheduleRemoval.objects.values_list("schedule_id", flat=True))
    rows = list(ScheduledJob.objects.all())
    for row in rows:
        difference = _difference(row, remote.get(row.schedule_id))
        cron = (cadences or {}).get(row.key, row.cron)
        if cron != row.cron:
            plan.change[row.key] = f"{row.cron} becomes {cron}"
        elif difference:
            plan.push[row.key] = difference
        else:
            plan.unchanged.append(row.key)
    known = removals | {row.schedule_id for row in rows}
    plan.remove = sorted(removals)
    plan.unknown = sorted(
        schedule_id
        for schedule_id in remote
        if schedule_id.startswith(f"{settings.QSTASH_SCHEDULE_PREFIX}-")
        and schedule_id not in known
    )
    return plan


def reconcile(cadences: Mapping[str, str] | None = None) -> Plan:
    """Create the default rows, push what differs, remove what was deleted. Returns what it set out
    to do.

    cadences: as for `make_plan`.
    Running it again changes nothing. Raises QStashProblem when QStash cannot even be asked; what
    fails after that stands on the rows.
    """
    cadences = cadences or {}
    plan = make_plan(cadences)
    for key in plan.change:
        # By a queryset, which sends no signal: all rows are pushed on one connection.
        ScheduledJob.objects.filter(key=key).update(cron=cadences[key], updated_at=timezone.now())
    created = [_create_row(registry[key], cadences.get(key)) for key in plan.create]
    differing = [*plan.push, *plan.change]
    differing_ids = ScheduledJob.objects.filter(key__in=differing).values_list("pk", flat=True)
    push_all([*differing_ids, *created])
    with connect() as qstash:
        for schedule_id in plan.remove:
            _remove(qstash, schedule_id)
    return plan


def _jobs_without_row() -> list[Job]:
    keys = set(ScheduledJob.objects.values_list("key", flat=True))
    return [job for job in registry.scheduled if job.key not in keys]


def _create_row(job: Job, cron: str | None) -> int:
    row = default_row(job)
    row.cron = cron or row.cron
    row.full_clean()
    # Not saved with its signal: the caller pushes all rows on one connection.
    ScheduledJob.objects.bulk_create([row])
    return row.pk


def _difference(row: ScheduledJob, remote: Schedule | None) -> str:
    """Name what differs between a row and QStash's schedule; "" when nothing does."""
    if remote is None:
        return "not at QStash"
    if not row.is_pushed:
        return "edited since the last push" if row.pushed_at else "never pushed"
    headers = {name.lower(): values for name, values in (remote.headers or {}).items()}
    wanted = row.schedule_at_qstash()
    compared = {
        "address": (wanted.destination, remote.destination),
        "cron": (wanted.cron_with_zone, remote.cron),
        "method": (wanted.method, remote.method),
        "body": (wanted.body, remote.body or ""),
        "retries": (wanted.retries, remote.retries),
        "retry delay": (wanted.retry_delay_ms, remote.retry_delay_expression or ""),
        "callback": (wanted.callback_url, remote.callback or ""),
        "failure callback": (wanted.failure_callback_url, remote.failure_callback or ""),
        "pause": (not wanted.enabled, remote.paused),
        "headers": (
            {name.lower(): [value] for name, value in wanted.sent_headers().items()},
            {name: values for name, values in headers.items() if name != "content-type"},
        ),
    }
    changed = [name for name, (ours, theirs) in compared.items() if ours != theirs]
    return f"changed at QStash: {', '.join(changed)}" if changed else ""
