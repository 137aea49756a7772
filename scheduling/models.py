"""Scheduled jobs, what QStash knows of them, and every run."""

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from encryption.fields import EncryptedDictField
from scheduling.cron import parse as parse_cron
from scheduling.cron import without_seconds
from scheduling.registry import Job, registry
from scheduling.validators import (
    validate_cron,
    validate_headers,
    validate_http_url,
    validate_label,
    validate_retry_delay,
    validate_timezone,
)

#: QStash lets a request take two hours at the most on its pay-as-you-go plan.
MAX_TIMEOUT_S = 2 * 3600
#: A call that publishes the ticks of a minute does little. With the grace of its lease this stays
#: below a minute, so that one whose process died does not hold up the next.
MINUTE_TIMEOUT_S = 25
#: What a run says that was abandoned.
DIED = "The process died; the lease of the run has ended."


class ScheduledJob(models.Model):
    """A schedule as its owner edits it: what to call, when, and how.

    It calls either a registered job of this installation or any address. What QStash knows of it
    stands in the pushed_* fields, which only scheduling/sync.py writes.
    """

    class Method(models.TextChoices):
        GET = "GET"
        POST = "POST"
        PUT = "PUT"
        PATCH = "PATCH"
        DELETE = "DELETE"

    class Push(models.TextChoices):
        PENDING = "pending", "not pushed yet"
        PUSHED = "pushed", "pushed"
        FAILED = "failed", "push failed"

    key = models.SlugField(
        max_length=80,
        unique=True,
        help_text="Names the schedule at QStash, together with the prefix of this installation. "
        "Letters, digits, dashes and underscores.",
    )
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)

    job_key = models.CharField(
        "job",
        max_length=80,
        blank=True,
        help_text="A job of this installation, or empty to call an address.",
    )
    url = models.CharField(
        "address",
        max_length=2000,
        blank=True,
        validators=[validate_http_url],
        help_text="Any address to call instead of a job, for instance https://example.com/hook.",
    )
    method = models.CharField(max_length=6, choices=Method, default=Method.POST)
    headers = models.JSONField(default=dict, blank=True, validators=[validate_headers])
    secret_headers = EncryptedDictField()
    body = models.TextField(
        blank=True, help_text="Sent as it stands; JSON for the jobs of this installation."
    )

    cron = models.CharField(
        max_length=120,
        validators=[validate_cron],
        help_text="Minute hour day month weekday: */15 * * * * is every 15 minutes, 30 7 * * MON-FRI is 7:30 on "
        "working days, 5-59/15 * * * * is 5, 20, 35 and 50 past. Seconds come in front: */5 * * * * * is "
        "every 5 seconds.",
    )
    timezone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_timezone],
        help_text="The zone in which the schedule is read, such as UTC or Europe/Vienna.",
    )
    retries = models.PositiveSmallIntegerField(
        default=3,
        validators=[MaxValueValidator(20)],
        help_text="Further tries after a failed call.",
    )
    retry_delay_ms = models.CharField(
        "retry delay (ms)",
        max_length=200,
        blank=True,
        validators=[validate_retry_delay],
        help_text="Milliseconds before a retry: a number (60000), or an expression with retried, such as "
        "min(600000, 1000 * pow(2, retried)). Empty for QStash's own: 12 s, 2.5 min, 30 min, 6 h.",
    )
    timeout_s = models.PositiveIntegerField(
        "timeout",
        default=300,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_TIMEOUT_S)],
        help_text="How long a call may take: 300, 300s or 5m; at most 2h.",
    )
    callback_url = models.CharField(
        "callback",
        max_length=2000,
        blank=True,
        validators=[validate_http_url],
        help_text="Called by QStash with the answer after every try.",
    )
    failure_callback_url = models.CharField(
        "failure callback",
        max_length=2000,
        blank=True,
        validators=[validate_http_url],
        help_text="Called by QStash when the last try has failed.",
    )
    label = models.CharField(
        max_length=60,
        blank=True,
        validators=[validate_label],
        help_text="Finds the calls of this schedule in QStash's own log.",
    )
    enabled = models.BooleanField(
        default=True, help_text="A disabled schedule is kept at QStash, paused."
    )

    push_status = models.CharField(max_length=8, choices=Push, default=Push.PENDING, editable=False)
    push_error = models.TextField(blank=True, editable=False)
    pushed_at = models.DateTimeField(null=True, editable=False)
    pushed_fingerprint = models.CharField(max_length=64, blank=True, editable=False)
    ticked_until = models.DateTimeField(
        null=True,
        editable=False,
        help_text="Up to here its ticks are published, where it fires within minutes.",
    )

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "scheduled_jobs"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(job_key="") ^ Q(url=""),
                name="scheduled_job_calls_a_job_or_an_address",
                violation_error_message="Choose a job or write an address, one of the two.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def job(self) -> Job | None:
        """The registered job it calls; None for an address, or for a job whose code has gone."""
        return registry.get(self.job_key) if self.job_key else None

    @property
    def schedule_id(self) -> str:
        """Its id at QStash. Deterministic, so that a push is an upsert and can be repeated."""
        return f"{settings.QSTASH_SCHEDULE_PREFIX}-{self.key}"

    @property
    def destination(self) -> str:
        """The address that QStash calls. Raises ValidationError when the job's code has gone."""
        if not self.job_key:
            return self.url
        if self.job is None:
            raise ValidationError(
                f"No job is registered as {self.job_key!r} any more. Choose another one or delete this schedule."
            )
        return webhook_url(self.job)

    @property
    def cron_with_zone(self) -> str:
        return self.cron if self.timezone == "UTC" else f"CRON_TZ={self.timezone} {self.cron}"

    @property
    def has_ticks(self) -> bool:
        """Whether it fires within minutes; QStash then has another schedule than this row says."""
        return parse_cron(self.cron).fires_within_minutes

    def schedule_at_qstash(self) -> "ScheduledJob":
        """What stands at QStash for this row: the row, or the call of each minute that holds ticks.

        The second is never saved. It tells an outside address's headers and body to nobody.
        """
        if not self.has_ticks:
            return self
        return ScheduledJob(
            key=self.key,
            url=f"{settings.APP_URL}/api/{ticks_path(self.key)}",
            headers=self.sent_headers() if self.job_key else {},
            cron=without_seconds(self.cron),
            timezone=self.timezone,
            retries=self.retries,
            retry_delay_ms=self.retry_delay_ms,
            timeout_s=MINUTE_TIMEOUT_S,
            label=self.label,
            enabled=self.enabled,
        )

    def next_fire_times(self, count: int, after: datetime | None = None) -> list[datetime]:
        """The next instants in UTC; empty while it is disabled."""
        if not self.enabled:
            return []
        zone = ZoneInfo(self.timezone)
        return parse_cron(self.cron).next(zone, after or timezone.now(), count)

    def sent_headers(self) -> dict[str, str]:
        """All headers that a call carries, the secret ones included."""
        headers: dict[str, str] = {**self.headers, **self.secret_headers}
        if not self.job_key:
            return headers
        own = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        return {**own, "Authorization": f"Bearer {settings.CRON_SECRET}"}

    def fingerprint(self) -> str:
        """Changes with anything that QStash should know of this row.

        Keyed, because it stands in the database in the clear and covers secret header values.
        """
        parts = [
            self.schedule_id, self.destination, self.method, self.sent_headers(), self.body, self.cron_with_zone,
            self.retries, self.retry_delay_ms, self.timeout_s, self.callback_url, self.failure_callback_url,
            self.label, self.enabled, settings.QSTASH_URL,
        ]  # fmt: skip
        if self.has_ticks:
            parts.append(self.schedule_at_qstash().destination)
        text = json.dumps(parts, sort_keys=True)
        return salted_hmac("scheduling.fingerprint", text, algorithm="sha256").hexdigest()

    @property
    def is_pushed(self) -> bool:
        """Whether QStash has this very version of the row."""
        try:
            return (
                self.push_status == self.Push.PUSHED
                and self.pushed_fingerprint == self.fingerprint()
            )
        except ValidationError:
            return False

    def clean(self) -> None:
        if self.pk and not ScheduledJob.objects.filter(pk=self.pk, key=self.key).exists():
            # QStash would keep the schedule of the old key and go on calling it.
            raise ValidationError(
                {"key": "The key names the schedule at QStash and cannot be changed."}
            )
        if self.job_key and self.job is None:
            raise ValidationError({"job_key": f"No job is registered as {self.job_key!r}."})
        if self.url and self.url.startswith(settings.APP_URL + "/api/"):
            # An own webhook called by its address would come without the Bearer secret and bypass
            # the job's row.
            raise ValidationError(
                {"url": "This address belongs to this installation; choose the job instead."}
            )
        if self.job:
            self._clean_method(self.job)
        if self.job_key and self.body:
            self._clean_job_body()

    def _clean_method(self, job: Job) -> None:
        # Its webhook answers 405 to any other, and QStash would try in vain for ever.
        methods = sorted({job.method, "POST"})
        if self.method not in methods:
            raise ValidationError(
                {"method": f"The job {job.name} is called with {' or '.join(methods)}."}
            )

    def _clean_job_body(self) -> None:
        try:
            payload = json.loads(self.body)
        except ValueError as error:
            raise ValidationError(
                {"body": f"A job reads JSON, and this is none: {error}."}
            ) from error
        if not isinstance(payload, dict):
            raise ValidationError({"body": 'A job reads a JSON object, such as {"action": "…"}.'})


def webhook_url(job: Job) -> str:
    """Where QStash calls this job; also what the signature of the call is bound to."""
    return f"{settings.APP_URL}/api/{job.path}"


def ticks_path(key: str) -> str:
    """Where QStash calls once a minute for the ticks of a schedule, below /api/."""
    return f"ticks/{key}"


class ScheduleRemoval(models.Model):
    """A schedule that QStash must forget, remembered until it has."""

    schedule_id = models.CharField(max_length=200, unique=True)
    requested_at = models.DateTimeField(default=timezone.now)
    last_error = models.TextField(blank=True)

    class Meta:
        db_table = "schedule_removals"
        ordering = ["requested_at"]

    def __str__(self) -> str:
        return self.schedule_id


class JobRun(models.Model):
    """One execution of a job, or the record that one was not needed."""

    class Trigger(models.TextChoices):
        SCHEDULE = "schedule", "schedule"
        MINUTE = "minute", "minute call"
        REDELIVERY = "redelivery", "redelivery"
        CONTINUATION = "continuation", "continuation"
        ADMIN = "admin", "admin"
        COMMAND = "command", "command"
        API = "api", "API"
        MESSAGE = "message", "message of another job"

    class Status(models.TextChoices):
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed"
        SKIPPED = "skipped", "skipped"
        ABANDONED = "abandoned", "abandoned"

    job_key = models.CharField(
        "job", max_length=100, help_text="Or the path of a call that runs no job, such as ticks/…."
    )
    trigger = models.CharField(max_length=12, choices=Trigger)
    caller = models.CharField(max_length=150, blank=True, help_text="Who asked for it.")
    message_id = models.CharField(max_length=200, blank=True)
    signature_id = models.CharField(max_length=200, blank=True)
    schedule_id = models.CharField(max_length=200, blank=True)
    attempt = models.PositiveSmallIntegerField(default=1)
    concurrent = models.BooleanField(
        default=False, help_text="Whether others of its job may run beside it."
    )

    status = models.CharField(max_length=9, choices=Status, default=Status.RUNNING)
    started_at = models.DateTimeField(default=timezone.now)
    lease_expires_at = models.DateTimeField(
        help_text="A run that has not ended by then belongs to a process that died."
    )
    finished_at = models.DateTimeField(null=True)
    duration_ms = models.PositiveIntegerField("duration (ms)", null=True)
    counts = models.JSONField(default=dict, blank=True)
    answer = models.JSONField(
        null=True, blank=True, help_text="What a repeated delivery is answered."
    )
    error = models.TextField(blank=True)
    traceback = models.TextField(blank=True)

    class Meta:
        db_table = "job_runs"
        ordering = ["-started_at", "-id"]
        indexes = [
            models.Index(fields=["job_key", "-started_at"], name="job_runs_by_job"),
            models.Index(fields=["-started_at"], name="job_runs_by_start"),
        ]
        constraints = [
            # Two deliveries at the same instant race for these; the database lets one of them
            # through.
            models.UniqueConstraint(
                fields=["job_key"],
                condition=Q(status="running", concurrent=False),
                name="job_run_one_running",
            ),
            models.UniqueConstraint(
                fields=["message_id"],
                condition=Q(status__in=["running", "succeeded", "skipped"]) & ~Q(message_id=""),
                name="job_run_one_per_message",
            ),
            # The signature does not cover the message's id, so a captured call cannot run again
            # under another.
            models.UniqueConstraint(
                fields=["signature_id"],
                condition=Q(status__in=["running", "succeeded", "skipped"]) & ~Q(signature_id=""),
                name="job_run_one_per_signature",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_key} {self.started_at:%Y-%m-%d %H:%M:%S} {self.status}"

    @property
    def job_name(self) -> str:
        job = registry.get(self.job_key)
        return job.name if job else self.job_key

    def close(self, **fields: Any) -> bool:
        """End a running run; False when its lease has already been taken from it."""
        finished_at = timezone.now()
        duration = finished_at - self.started_at
        fields |= {
            "finished_at": finished_at,
            "duration_ms": round(duration.total_seconds() * 1000),
        }
        for name, value in fields.items():
            setattr(self, name, value)
        running = JobRun.objects.filter(pk=self.pk, status=self.Status.RUNNING)
        return running.update(**fields) == 1
