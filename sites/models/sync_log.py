"""The log of the syncs."""

from django.db import models
from django.utils import timezone

from scheduling.models import JobRun


class SyncLog(models.Model):
    """One run of the sync: how many sites, how long, and what went wrong where."""

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
        default=0, help_text="Due, but not reached in time; a further message took them up."
    )
    errors = models.JSONField(default=dict, blank=True, help_text="By the name of the site.")
    run = models.ForeignKey(JobRun, null=True, on_delete=models.SET_NULL, related_name="sync_logs")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "sync_logs"
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["-created_at"], name="sync_logs_by_time")]

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M:%S} {self.status}"
