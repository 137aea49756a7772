"""Running a job: open a run, call the function, close the run. Nothing else calls job functions."""

import logging
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Q
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scheduling.errors import PayloadRefused, RetryLater
from scheduling.models import DIED, JobRun, ScheduledJob
from scheduling.registry import Job
from scheduling.retention import prune_when_due
from scheduling.run import JobResult, Report, Run

logger = logging.getLogger(__name__)

#: A service of ours that is away and may come back.
SERVICE_AWAY = (OperationalError, InterfaceError, RedisConnectionError, RedisTimeoutError)
SERVICE_RETRY_AFTER_S = 60
#: After the time that QStash waits for it, a run may take this much longer before it counts as
#: dead.
LEASE_GRACE_S = 30
#: Each try loses to another call that ended or began at the same instant, so a few are plenty.
CLAIM_TRIES = 10
#: Of a job's time, this share is kept back to write results and to answer.
RESERVED_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Call:
    """Who asks for a run, and with what.

    message_id, signature_id: of a QStash delivery, "" for every other caller.
    attempt: 1 for the first delivery of a message.
    report: told (done, total) while the job works, for a progress bar.
    in_process: whether all of it is to be done here, and nothing left to messages.
    """

    trigger: JobRun.Trigger
    caller: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    message_id: str = ""
    signature_id: str = ""
    schedule_id: str = ""
    attempt: int = 1
    report: Report = lambda done, total: None
    in_process: bool = False


class Ending(Enum):
    """How a call ended; scheduling/views.py and the commands turn it into their answers."""

    DONE = "done"
    REPEATED = "repeated"
    SKIPPED = "skipped"
    STILL_RUNNING = "still running"
    RETRY_LATER = "retry later"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    ending: Ending
    answer: Mapping[str, Any] | None = None
    error: str = ""
    retry_after_s: int = 0
    continuation: Mapping[str, Any] | None = None


def run_job(job: Job, call: Call) -> Outcome:
    """Run a job once for this call and record it.

    Never raises for what the job does; raises django.db.Error when not even a run can be opened.
    """
    claimed = _claim(job, call)
    if isinstance(claimed, Outcome):
        return claimed
    try:
        outcome = _execute(job, call, claimed)
    except BaseException:
        # Ctrl-C in a command or a worker that is told to stop: without this the row would hold the
        # job's place until its lease ends.
        _close(claimed, status=JobRun.Status.FAILED, error="Interrupted.")
        raise
    prune_when_due()
    return outcome


def record_refusal(job_key: str, call: Call, error: str) -> None:
    """Leave a record of a call that was refused before any job could be run for it."""
    _record(
        job_key, call, JobRun.Status.FAILED,
        lease_s=0, finished_at=timezone.now(), duration_ms=0, error=_storable(error),
    )  # fmt: skip


def timestamp() -> str:
    """Now, in UTC, as ISO 8601 with milliseconds and Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _claim(job: Job, call: Call) -> JobRun | Outcome:
    """Insert the running row, or say what stands in the way. The constraints of JobRun decide a
    race.
    """
    for _ in range(CLAIM_TRIES):
        try:
            with transaction.atomic():
                return _open(job, call, JobRun.Status.RUNNING)
        except IntegrityError:
            in_the_way = _in_the_way(job, call)
        if in_the_way is None:
            continue  # It ended between the two statements.
        if _is_dead(in_the_way):
            _abandon(in_the_way)
            continue
        try:
            return _answer_for(in_the_way, job, call)
        except IntegrityError:
            continue  # The same message was recorded as skipped at the same instant.
    raise RuntimeError(f"Job {job.key} could not be claimed in {CLAIM_TRIES} tries.")


def _timeout_s(job: Job, call: Call) -> int:
    """How long the caller waits: what the row says, which its owner may have shortened."""
    rows = ScheduledJob.objects.filter(job_key=job.key).order_by("pk")
    timeouts_s = {row.schedule_id: row.timeout_s for row in rows.only("key", "timeout_s")}
    by_default = next(iter(timeouts_s.values()), job.timeout_s)
    return timeouts_s.get(call.schedule_id, by_default)


def _open(job: Job, call: Call, status: JobRun.Status, **fields: Any) -> JobRun:
    lease_s = _timeout_s(job, call) + LEASE_GRACE_S
    return _record(job.key, call, status, lease_s=lease_s, concurrent=job.concurrent, **fields)


def _record(
    job_key: str, call: Call, status: JobRun.Status, *, lease_s: int, **fields: Any
) -> JobRun:
    now = timezone.now()
    return JobRun.objects.create(
        job_key=job_key,
        trigger=call.trigger,
        caller=call.caller,
        message_id=call.message_id,
        signature_id=call.signature_id,
        schedule_id=call.schedule_id,
        attempt=call.attempt,
        status=status,
        started_at=now,
        lease_expires_at=now + timedelta(seconds=lease_s),
        **fields,
    )


def _in_the_way(job: Job, call: Call) -> JobRun | None:
    live = JobRun.objects.exclude(status__in=[JobRun.Status.FAILED, JobRun.Status.ABANDONED])
    same_message = Q(pk__in=[])
    if call.message_id:
        same_message |= Q(message_id=call.message_id)
    if call.signature_id:
        same_message |= Q(signature_id=call.signature_id)
    same_job = Q(job_key=job.key, status=JobRun.Status.RUNNING, concurrent=False)
    return live.filter(same_message).first() or live.filter(same_job).first()


def _is_dead(run: JobRun) -> bool:
    return run.status == JobRun.Status.RUNNING and run.lease_expires_at <= timezone.now()


def _abandon(run: JobRun) -> None:
    logger.warning("Job %s: run %s died; its lease has ended", run.job_key, run.pk)
    run.close(status=JobRun.Status.ABANDONED, error=DIED)


def _answer_for(run: JobRun, job: Job, call: Call) -> Outcome:
    if not _is_same_message(run, call):
        return _skip(run, job, call)
    if run.status == JobRun.Status.RUNNING:
        # The wait lasts until the lease ends: QStash has few retries, and each of them would find
        # the row still there if the process has died.
        return Outcome(
            ending=Ending.STILL_RUNNING,
            error="This message is being worked on right now.",
            retry_after_s=_lease_left_s(run),
        )
    logger.info("QStash message %s was already done; its answer is repeated", call.message_id)
    return Outcome(ending=Ending.REPEATED, answer=run.answer)


def _lease_left_s(run: JobRun) -> int:
    return max(1, int((run.lease_expires_at - timezone.now()).total_seconds()) + 1)


def _is_same_message(run: JobRun, call: Call) -> bool:
    by_message = bool(call.message_id) and run.message_id == call.message_id
    return by_message or (bool(call.signature_id) and run.signature_id == call.signature_id)


def _skip(run: JobRun, job: Job, call: Call) -> Outcome:
    message = f"Skipped: run {run.pk} of {job.name} is still going"
    answer = {"success": True, "skipped": True, "message": message, "timestamp": timestamp()}
    with transaction.atomic():
        _open(
            job, call, JobRun.Status.SKIPPED,
            finished_at=timezone.now(), duration_ms=0, answer=answer, error=message,
        )  # fmt: skip
    logger.info("Job %s: %s", job.key, message)
    return Outcome(ending=Ending.SKIPPED, answer=answer)


def _execute(job: Job, call: Call, record: JobRun) -> Outcome:
    started = time.monotonic()
    timeout_s = (record.lease_expires_at - record.started_at).total_seconds() - LEASE_GRACE_S
    run = Run(
        id=record.pk,
        payload=call.payload,
        deadline=started + timeout_s * (1 - RESERVED_SHARE),
        report=call.report,
        in_process=call.in_process,
    )
    logger.info(
        "Job %s: run %s starts (%s, attempt %s)", job.key, run.id, call.trigger, call.attempt
    )
    try:
        result = job.function(run)
        return _succeed(record, result, duration_ms=round((time.monotonic() - started) * 1000))
    except RetryLater as error:
        return _fail(record, Ending.RETRY_LATER, str(error), retry_after_s=error.retry_after_s)
    except PayloadRefused as error:
        return _fail(record, Ending.REFUSED, str(error))
    except SERVICE_AWAY as error:
        logger.warning("Job %s: run %s lost a service: %s", job.key, run.id, error)
        return _fail(
            record,
            Ending.RETRY_LATER,
            "The database or Redis is away.",
            retry_after_s=SERVICE_RETRY_AFTER_S,
            trace=traceback.format_exc(),
        )
    except Exception as error:
        logger.exception("Job %s: run %s failed", job.key, run.id)
        return _fail(record, Ending.FAILED, repr(error), trace=traceback.format_exc())


def _succeed(record: JobRun, result: JobResult, *, duration_ms: int) -> Outcome:
    answer = {
        "success": True,
        "message": result.message,
        "result": {**result.counts, "duration": duration_ms},
        "timestamp": timestamp(),
    }
    closed = _close(
        record, status=JobRun.Status.SUCCEEDED, counts=dict(result.counts), answer=answer
    )
    if not closed:
        # Without the record a redelivery would run the job again, so QStash is asked to come back
        # and find out, instead of being told that all is well.
        return Outcome(
            ending=Ending.RETRY_LATER,
            error="The run ended, but could not be recorded.",
            retry_after_s=_lease_left_s(record),
        )
    logger.info("Job %s: run %s succeeded in %s ms", record.job_key, record.pk, duration_ms)
    return Outcome(ending=Ending.DONE, answer=answer, continuation=result.continuation)


def _fail(
    record: JobRun, ending: Ending, error: str, *, retry_after_s: int = 0, trace: str = ""
) -> Outcome:
    error, trace = _storable(error), _storable(trace)
    if not _close(record, status=JobRun.Status.FAILED, error=error, traceback=trace):
        # Until its lease ends the row stands in the way of the redelivery.
        retry_after_s = _lease_left_s(record)
    return Outcome(ending=ending, error=error, retry_after_s=retry_after_s)


def _storable(text: str) -> str:
    # An error may quote anything; PostgreSQL keeps neither zero bytes nor halves of surrogate pairs.
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _close(record: JobRun, **fields: Any) -> bool:
    """Close the run, on a new connection if the old one died. False when that failed; the lease
    does it then.
    """
    for attempt in ("first", "second"):
        try:
            if not record.close(**fields):
                logger.warning("Run %s lost its lease before it ended", record.pk)
            return True
        except (OperationalError, InterfaceError) as error:
            logger.warning("Run %s could not be closed (%s try): %s", record.pk, attempt, error)
            connection.close()
    return False
