"""The outbox: what is to be sent over which channel, and what has become of it."""

import uuid
from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q

from alerts.models.alert import AlertEvent
from alerts.models.channel import Channel


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def due(self, now: datetime) -> Self:
        """Those that a process may take up: waiting and due, or left behind by one that died."""
        waiting = Q(status=Delivery.Status.WAITING, due_at__lte=now)
        left_behind = Q(status=Delivery.Status.SENDING, lease_expires_at__lte=now)
        return self.filter(waiting | left_behind)


class Delivery(models.Model):
    """One message over one channel, with one event or more.

    id: also the id of the message, so that a receiver knows a repetition.
    due_at: not sent before: the end of the quiet hours, or of the wait after a failure.
    attempts: begun so far.
    lease_expires_at: while it is being sent; a process that has not ended by then has died.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", "waiting"
        SENDING = "sending", "being sent"
        SENT = "sent", "sent"
        FAILED = "failed", "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries")
    events = models.ManyToManyField(AlertEvent, related_name="deliveries")
    status = models.CharField(max_length=7, choices=Status, default=Status.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    give_up_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        db_table = "alert_deliveries"
        ordering = ["-created_at", "id"]
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=Q(status__in=["waiting", "sending"]),
                name="alert_deliveries_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.created_at:%Y-%m-%d %H:%M:%S} {self.status}"
