"""Where alerts go."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from alerts.channels import CHANNELS
from alerts.channels.base import ChannelKind
from alerts.quiet_hours import QuietHours
from encryption.fields import EncryptedDictField
from scheduling.validators import validate_timezone


class ChannelManager(models.Manager["Channel"]):
    def get_queryset(self) -> models.QuerySet["Channel"]:
        """Leave the secrets unread until `open_secrets`, so that a channel whose key is missing does
        not hide all the others.
        """
        return super().get_queryset().defer("secrets")


class Channel(models.Model):
    """A way to reach somebody.

    quiet_from, quiet_until: wall-clock times in `timezone`; between them messages are held back, and
        go out as one afterwards. Both or neither.
    digest_above: more alerts than this in one evaluation become one message that lists them.
    """

    name = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=40)
    options = models.JSONField(default=dict, blank=True)
    secrets = EncryptedDictField()
    enabled = models.BooleanField(default=True, help_text="A disabled channel is sent nothing.")
    quiet_from = models.TimeField(
        null=True, blank=True, help_text="Messages are held back from here on, for instance 22:00."
    )
    quiet_until = models.TimeField(
        null=True, blank=True, help_text="What was held back goes out now, in one message."
    )
    timezone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_timezone],
        help_text="Of the quiet hours and of the times in messages, such as UTC or Europe/Vienna.",
    )
    digest_above = models.PositiveSmallIntegerField(
        "one message above",
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="More alerts than this at once become one message that lists them.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ChannelManager()

    class Meta:
        db_table = "alert_channels"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.kind not in CHANNELS:
            raise ValidationError(f"No channel {self.kind!r}; there are: {', '.join(CHANNELS)}.")
        if (self.quiet_from is None) != (self.quiet_until is None):
            raise ValidationError({"quiet_until": "Quiet hours need both times, or neither."})
        if self.quiet_from is not None and self.quiet_from == self.quiet_until:
            raise ValidationError(
                {"quiet_until": "These hours would never end; disable it instead."}
            )

    @property
    def kind_name(self) -> str:
        return CHANNELS[self.kind].name if self.kind in CHANNELS else self.kind

    @property
    def sender(self) -> ChannelKind:
        """The code that sends. Raises KeyError when it has gone."""
        return CHANNELS[self.kind]

    @property
    def quiet_hours(self) -> QuietHours | None:
        if self.quiet_from is None or self.quiet_until is None:
            return None
        return QuietHours(begin=self.quiet_from, end=self.quiet_until, timezone=self.timezone)

    def open_secrets(self) -> dict[str, str]:
        """The secrets by name. Raises DecryptionFailed when their key is missing."""
        secrets: dict[str, str] = self.secrets
        return secrets
