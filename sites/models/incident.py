"""Times in which something was wrong."""

from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q

from sites.models.site import MonitoredSite


class Incident(models.Model):
    """A time in which a site failed, or in which our own network was away.

    site: None for our own network.
    state: the one it was last found in while the incident was open.
    opened_at: of the first failed attempt; closed_at: of the first good one of those that ended it.
    """

    site = models.ForeignKey(
        MonitoredSite, null=True, on_delete=models.CASCADE, related_name="incidents"
    )
    state = models.CharField(max_length=20, choices=MonitoredSite.State)
    reason = models.TextField(blank=True)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "incidents"
        ordering = ["-opened_at", "-id"]
        indexes = [models.Index(fields=["site", "-opened_at"], name="incidents_by_site")]
        constraints = [
            models.UniqueConstraint(
                fields=["site"],
                condition=Q(closed_at=None),
                nulls_distinct=False,
                name="incident_one_open",
            )
        ]

    def __str__(self) -> str:
        return f"{self.site or 'our own network'}: {self.get_state_display()}"

    def duration(self, now: datetime) -> timedelta:
        """How long it took, or has taken so far."""
        return (self.closed_at or now) - self.opened_at


class IncidentEvent(models.Model):
    """An entry of an incident's timeline."""

    class Kind(models.TextChoices):
        OPENED = "opened", "opened"
        CHANGED = "changed", "changed"
        CLOSED = "closed", "closed"

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=8, choices=Kind)
    state = models.CharField(max_length=20, choices=MonitoredSite.State)
    reason = models.TextField(blank=True)

    class Meta:
        db_table = "incident_events"
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.kind}"
