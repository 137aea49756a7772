"""What is worth an alert."""

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models

from alerts.firing import Policy
from alerts.models.channel import Channel
from alerts.rules import RULES
from alerts.rules.base import RuleKind
from sites.models import MonitoredSite

MINUTES_OF_A_YEAR = 366 * 24 * 60


class AlertRule(models.Model):
    """A rule for one site, or for all of them.

    site: None for each enabled site; without meaning where the kind is not about sites.
    """

    name = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=40)
    site = models.ForeignKey(
        MonitoredSite,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="alert_rules",
        help_text="Empty for all sites, each on its own.",
    )
    options = models.JSONField(default=dict, blank=True)
    channels = models.ManyToManyField(
        Channel, blank=True, related_name="rules", help_text="Without any, alerts only stand here."
    )
    enabled = models.BooleanField(default=True)
    cooldown_minutes = models.PositiveIntegerField(
        "cool-down (minutes)",
        default=60,
        validators=[MaxValueValidator(MINUTES_OF_A_YEAR)],
        help_text="After an alert has opened, none is opened again for the same site within this time.",
    )
    remind_minutes = models.PositiveIntegerField(
        "remind every (minutes)",
        default=0,
        validators=[MaxValueValidator(MINUTES_OF_A_YEAR)],
        help_text="While an alert is open; 0 for no reminders.",
    )
    tells_recovery = models.BooleanField(
        "tell the recovery", default=True, help_text="Send a message when it is over."
    )
    ignores_quiet_hours = models.BooleanField(
        "critical", default=False, help_text="Goes out in the quiet hours of a channel too."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "alert_rules"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.kind not in RULES:
            raise ValidationError(f"No kind of rule {self.kind!r}; there are: {', '.join(RULES)}.")

    @property
    def judge(self) -> RuleKind[Any]:
        """The code that judges. Raises KeyError when it has gone."""
        return RULES[self.kind]

    @property
    def kind_name(self) -> str:
        return RULES[self.kind].name if self.kind in RULES else self.kind

    @property
    def policy(self) -> Policy:
        return Policy(
            cooldown=timedelta(minutes=self.cooldown_minutes),
            remind_every=timedelta(minutes=self.remind_minutes) if self.remind_minutes else None,
        )
