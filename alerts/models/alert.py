"""Firings of rules, and what happened in each."""

from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Q

from alerts.models.rule import AlertRule
from sites.models import MonitoredSite


class AlertQuerySet(models.QuerySet["Alert"]):
    def with_names(self) -> Self:
        """Read the rule and the site along, without the site's credentials: a missing key must hide
        no alert.
        """
        return self.select_related("rule", "site").defer("site__credentials", "site__last_snapshot")


class Alert(models.Model):
    """One firing of a rule for a site, from when it opened until it was over.

    site: None where the rule is not about sites; `subject` then says what it is about.
    reason: as it was when it opened; its events have the later ones.
    told_at: when the last message about it was written.
    """

    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="alerts")
    site = models.ForeignKey(
        MonitoredSite, null=True, on_delete=models.CASCADE, related_name="alerts"
    )
    subject = models.CharField(max_length=100, blank=True)
    reason = models.TextField()
    opened_at = models.DateTimeField()
    told_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        db_table = "alerts"
        ordering = ["-opened_at", "-id"]
        indexes = [
            models.Index(fields=["rule", "site", "-opened_at"], name="alerts_by_rule_and_site"),
            models.Index(fields=["-opened_at"], name="alerts_by_time"),
        ]
        constraints = [
            # Two evaluations at the same instant race for this, and the loser rolls back whole.
            models.UniqueConstraint(
                fields=["rule", "site", "subject"],
                condition=Q(closed_at=None),
                nulls_distinct=False,
                name="alert_one_open",
            )
        ]

    def __str__(self) -> str:
        return f"{self.about}: {self.rule}"

    @property
    def about(self) -> str:
        """What it is about: the site, or else the subject."""
        return str(self.site) if self.site else self.subject

    def duration(self, now: datetime) -> timedelta:
        """How long it took, or has taken so far."""
        return (self.closed_at or now) - self.opened_at


class AlertEvent(models.Model):
    """An entry of an alert's timeline; all but the quiet ones are told over the rule's channels."""

    class Kind(models.TextChoices):
        OPENED = "opened", "opened"
        REMINDED = "reminded", "still going on"
        RECOVERED = "recovered", "recovered"
        DROPPED = "dropped", "no longer watched"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=9, choices=Kind)
    at = models.DateTimeField()
    reason = models.TextField(blank=True)

    class Meta:
        db_table = "alert_events"
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.get_kind_display()}"
