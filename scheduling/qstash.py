"""The calls that this installation makes to QStash, bounded in time and with errors that say what
to do.
"""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from django.conf import settings
from qstash.errors import QStashError, RateLimitExceededError
from qstash.http import HttpClient
from qstash.message import BatchResponse, MessageApi, PublishResponse
from qstash.schedule import Schedule, ScheduleApi

from scheduling.models import JobRun, ScheduledJob

logger = logging.getLogger(__name__)

#: The SDK waits 10 minutes for an answer and tries six times; a save in the admin has three seconds
#: for an upsert and a pause on one connection.
TIMEOUT = httpx.Timeout(0.9, connect=1.1)
#: Where nobody waits in front of a page. Both together stay below MINUTE_TIMEOUT_S.
PATIENT_TIMEOUT = httpx.Timeout(10, connect=5)

#: Carried by messages of ours, so that a run knows why it was asked for.
TRIGGER_HEADER = "SoloBoard-Trigger"
CALLER_HEADER = "SoloBoard-Caller"
#: QStash names the schedule of a call only where it made the call itself.
SCHEDULE_HEADER = "SoloBoard-Schedule"


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A run of a schedule that its call of the minute publishes.

    at: a whole second, in UTC.
    """

    at: datetime
    retries: int


@dataclass(frozen=True, kw_only=True)
class Message:
    """A call of a job that another job asks for.

    deduplication_id: QStash takes a message with the same one only once within ten minutes; "" for
        none.
    delay_s: whole seconds until it is delivered.
    """

    payload: Mapping[str, Any]
    deduplication_id: str = ""
    delay_s: int = 0


class QStashProblem(Exception):
    """QStash did not do what it was asked; the message is for the owner and holds no secret."""


class QStashAway(QStashProblem):
    """No useful answer; the same call may succeed later."""


class QStashRefused(QStashProblem):
    """QStash answered that it will not do this; somebody has to change something."""


class _BoundedHttpClient(HttpClient):
    """The SDK's transport with our time limits and without its half minute of retries."""

    def __init__(self, timeout: httpx.Timeout) -> None:
        super().__init__(settings.QSTASH_TOKEN.strip(), False, settings.QSTASH_URL)
        self._client.timeout = timeout

    def close(self) -> None:
        self._client.close()


class QStash:
    """The part of QStash's API that this installation uses. Get it from `connect`."""

    def __init__(self, http: HttpClient) -> None:
        self._schedules = ScheduleApi(http)
        self._messages = MessageApi(http)

    def list_schedules(self) -> list[Schedule]:
        with _translated_errors():
            return self._schedules.list()

    def upsert_schedule(self, job: ScheduledJob) -> None:
        """Make the schedule at QStash what the row asks for. It replaces whatever stands there under
        its id.
        """
        schedule = job.schedule_at_qstash()
        with _translated_errors():
            self._schedules.create(
                schedule_id=job.schedule_id,
                destination=schedule.destination,
                cron=schedule.cron_with_zone,
                **_delivery_options(schedule),
            )
            if job.enabled:
                self._schedules.resume(job.schedule_id)
            else:
                self._schedules.pause(job.schedule_id)
        logger.info("QStash schedule %s pushed (%s)", job.schedule_id, schedule.cron_with_zone)

    def delete_schedule(self, schedule_id: str) -> None:
        """Remove a schedule. One that is not there is removed already."""
        with _translated_errors():
            try:
                self._schedules.delete(schedule_id)
            except QStashError as error:
                if _status_of(error) != 404:
                    raise
        logger.info("QStash schedule %s removed", schedule_id)

    def publish(
        self,
        job: ScheduledJob,
        trigger: JobRun.Trigger,
        *,
        caller: str = "",
        body: str | None = None,
    ) -> str:
        """Send one message now, as the schedule would. Returns the message's id.

        body: in place of the row's own body.
        """
        options = _delivery_options(job)
        options["headers"] |= {TRIGGER_HEADER: str(trigger), CALLER_HEADER: _ascii(caller)}
        if body is not None:
            # A GET carries no body, so what goes beyond the schedule itself is posted.
            options |= {"body": body, "content_type": "application/json", "method": "POST"}
        with _translated_errors():
            response = self._messages.publish(url=job.destination, **options)
        if not isinstance(response, PublishResponse):
            raise QStashRefused(f"{job.destination} is not a single address.")
        logger.info("QStash message %s published for %s", response.message_id, job.key)
        return response.message_id

    def publish_ticks(self, job: ScheduledJob, ticks: Sequence[Tick]) -> int:
        """Send a message for each tick, in one call, to be delivered at its instant.

        Returns how many QStash did not have yet: a tick is known by its schedule and its instant.
        """
        with _translated_errors():
            receipts = self._messages.batch([_tick_message(job, tick) for tick in ticks])
        new = _count_new(receipts)
        logger.info("QStash took %s of %s ticks of %s", new, len(ticks), job.key)
        return new

    def publish_messages(self, job: ScheduledJob, messages: Sequence[Message]) -> int:
        """Send a job several messages in one call. Returns how many QStash did not have yet."""
        with _translated_errors():
            receipts = self._messages.batch([_job_message(job, message) for message in messages])
        new = _count_new(receipts)
        logger.info("QStash took %s of %s messages for %s", new, len(messages), job.key)
        return new


@contextlib.contextmanager
def connect(timeout: httpx.Timeout = TIMEOUT) -> Iterator[QStash]:
    """Open a connection for a few calls. Each raises QStashAway or QStashRefused."""
    http = _BoundedHttpClient(timeout)
    try:
        yield QStash(http)
    finally:
        http.close()


def _delivery_options(job: ScheduledJob) -> dict[str, Any]:
    """What a schedule and a single message have in common, in the SDK's names."""
    return {
        "method": job.method,
        "headers": job.sent_headers(),
        "body": job.body or None,
        "content_type": "application/json" if job.job_key and job.body else None,
        "retries": job.retries,
        "retry_delay": job.retry_delay_ms or None,
        "timeout": job.timeout_s,
        "callback": job.callback_url or None,
        "failure_callback": job.failure_callback_url or None,
        "label": job.label or None,
    }


def _tick_message(job: ScheduledJob, tick: Tick) -> Any:
    options = _delivery_options(job)
    options["headers"] |= {
        TRIGGER_HEADER: str(JobRun.Trigger.SCHEDULE),
        SCHEDULE_HEADER: job.schedule_id,
    }
    return {
        **options,
        "url": job.destination,
        "retries": tick.retries,
        "not_before": int(tick.at.timestamp()),
        "deduplication_id": f"{job.schedule_id}-{tick.at:%Y%m%dT%H%M%SZ}",
    }


def _job_message(job: ScheduledJob, message: Message) -> Any:
    options = _delivery_options(job)
    options["headers"] |= {TRIGGER_HEADER: str(JobRun.Trigger.MESSAGE)}
    own = json.loads(job.body) if job.body else {}
    at_once = job.job.parallelism if job.job else None
    flow_control = {"key": job.schedule_id, "parallelism": at_once} if at_once else None
    return {
        **options,
        "url": job.destination,
        "method": "POST",
        "body": json.dumps({**own, **message.payload}),
        "content_type": "application/json",
        "deduplication_id": message.deduplication_id or None,
        "delay": message.delay_s or None,
        "flow_control": flow_control,
    }


def _count_new(receipts: Sequence[Any]) -> int:
    return sum(isinstance(it, BatchResponse) and not it.deduplicated for it in receipts)


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise QStashAway(f"{settings.QSTASH_URL} did not answer in time.") from error
    except httpx.LocalProtocolError as error:
        # A line break or a letter beyond ASCII in the token; the error's own text would repeat it.
        raise QStashRefused("QSTASH_TOKEN holds characters that cannot be sent.") from error
    except httpx.HTTPError as error:
        raise QStashAway(f"{settings.QSTASH_URL} cannot be reached: {error}.") from error
    except RateLimitExceededError as error:
        raise QStashAway(
            "QStash refuses further calls for now: a rate or daily limit is reached."
        ) from error
    except QStashError as error:
        raise _problem(error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise QStashAway(
            f"{settings.QSTASH_URL} does not answer like QStash; check QSTASH_URL."
        ) from error


def _problem(error: QStashError) -> QStashProblem:
    status = _status_of(error)
    if status in (401, 403):
        return QStashRefused(
            "QStash refuses the token. Check QSTASH_TOKEN, and that QSTASH_URL is of the same region."
        )
    if status is None or status >= 500:
        return QStashAway(f"QStash has a problem of its own: {error}")
    return QStashRefused(f"QStash refuses: {error}")


def _status_of(error: QStashError) -> int | None:
    # The SDK carries the status in its text alone: "Request failed with status: 404, body: …".
    _, _, rest = str(error).partition("status: ")
    number = rest.partition(",")[0]
    return int(number) if number.isdecimal() else None


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
