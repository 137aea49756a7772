"""The log of the syncs, and what is still to be done of them."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models, transaction
from django.db.models import Case, Q, Value, When
from django.utils import timezone

from scheduling.models import JobRun

#: Of one sync; when everything fails, the rest would say the same.
ERRORS_NAMED = 100
ERROR_LENGTH = 500
#: The messages of a sync that come later than this find it closed, and their sites with the next.
MESSAGES_AWAITED = timedelta(minutes=10)


class SyncLog(models.Model):
    """One run of the sync: how many sites, how long, and what went wrong where.

    At any time `sites_total` is the sum of the three counts below it.
    """

    class Status(models.TextChoices):
        RUNNING = "running", "running"
        SUCCESS = "success", "success"
        PARTIAL = "partial", "some sites failed"
        FAILED = "failed", "failed"

    status = models.CharField(max_length=8, choices=Status, default=Status.RUNNING)
    duration = models.PositiveIntegerField("duration (ms)", null=True)
    sites_total = models.PositiveIntegerField(default=0)
    sites_synced = models.PositiveIntegerField(default=0)
    sites_failed = models.PositiveIntegerField(default=0)
    sites_carried_over = models.PositiveIntegerField(
        default=0,
        help_text="Due, but not attempted by this run: not yet, not in time, or not any more.",
    )
    errors = models.JSONField(
        default=dict, blank=True, help_text=f"By the name of the site; the first {ERRORS_NAMED}."
    )
    run = models.ForeignKey(JobRun, null=True, on_delete=models.SET_NULL, related_name="sync_logs")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "sync_logs"
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["-created_at"], name="sync_logs_by_time")]

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M:%S} {self.status}"

    @classmethod
    def open(cls, run_id: int, *, sites: int, started_at: datetime) -> Self:
        """Begin the log of a run that this many sites are due for."""
        return cls.objects.create(
            run_id=run_id, created_at=started_at, sites_total=sites, sites_carried_over=sites
        )

    @classmethod
    def close_left_open(cls, now: datetime) -> None:
        """Close the logs of runs that died, and of those whose messages did not come."""
        alive = Q(run__status__in=[JobRun.Status.RUNNING, JobRun.Status.SUCCEEDED])
        in_vain = Q(run__status=JobRun.Status.SUCCEEDED, created_at__lt=now - MESSAGES_AWAITED)
        left = cls.objects.filter(~alive | in_vain, status=cls.Status.RUNNING)
        ended = Case(
            When(sites_synced__gt=0, then=Value(cls.Status.PARTIAL)),
            default=Value(cls.Status.FAILED),
        )
        with transaction.atomic():
            locked = left.select_for_update(of=("self",), no_key=True)
            logs = cls.objects.filter(pk__in=list(locked.values_list("pk", flat=True)))
            logs.update(status=ended)
            SyncChunk.objects.filter(log__in=logs).delete()

    def count(self, *, synced: int, failed: int, errors: Mapping[str, str]) -> None:
        """Add what was written. Others may do so at the same time, also after it was closed."""
        named = [
            {"name": name, "reason": reason[:ERROR_LENGTH]}
            for name, reason in list(errors.items())[:ERRORS_NAMED]
        ]
        values: dict[str, str | int] = {
            "id": self.pk,
            "synced": synced,
            "failed": failed,
            "errors": json.dumps(named),
            "errors_named": ERRORS_NAMED,
        }
        with connection.cursor() as cursor:
            cursor.execute(COUNT, values)

    def finish(self, done: Iterable["SyncChunk"] = ()) -> None:
        """Take away the chunks that are done; with the last one of all, close the log."""
        with transaction.atomic():
            # Locked, so that of two that finish at once the second sees that both have.
            log = SyncLog.objects.select_for_update(no_key=True).get(pk=self.pk)
            log.chunks.filter(pk__in=[chunk.pk for chunk in done]).delete()
            if log.status != self.Status.RUNNING or log.chunks.exists():
                return
            log.status = log._status_by_counts()
            duration = timezone.now() - log.created_at
            log.duration = max(0, round(duration.total_seconds() * 1000))
            log.save(update_fields=["status", "duration"])

    def _status_by_counts(self) -> Status:
        if self.sites_failed == 0:
            return self.Status.SUCCESS
        return self.Status.PARTIAL if self.sites_synced else self.Status.FAILED


#: In one statement, because several processes count in one log. The right-hand sides see the row as
#: the last of them left it.
COUNT = """
UPDATE sync_logs SET
    sites_synced = sites_synced + %(synced)s,
    sites_failed = sites_failed + %(failed)s,
    sites_carried_over = GREATEST(0, sites_carried_over - %(synced)s - %(failed)s),
    status = CASE WHEN status = 'failed' AND %(synced)s > 0 THEN 'partial' ELSE status END,
    errors = sync_logs.errors || COALESCE((
        SELECT jsonb_object_agg(name, reason)
        FROM ROWS FROM (
            jsonb_to_recordset(%(errors)s::jsonb) AS (name text, reason text)
        ) WITH ORDINALITY AS error(name, reason, place)
        WHERE place <= %(errors_named)s - (SELECT count(*) FROM jsonb_object_keys(sync_logs.errors))
    ), '{}')
WHERE id = %(id)s
"""


class SyncChunk(models.Model):
    """Sites of a sync that a message of its own is to fetch. It goes when they have been."""

    log = models.ForeignKey(SyncLog, on_delete=models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    site_ids = ArrayField(models.BigIntegerField())

    class Meta:
        db_table = "sync_chunks"
        ordering = ["log", "number"]
        constraints = [models.UniqueConstraint(fields=["log", "number"], name="sync_chunk_once")]

    def __str__(self) -> str:
        return f"{self.log} chunk {self.number}"
