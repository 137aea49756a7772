"""The sites and business accounts that are watched."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.timezone import now

from encryption.fields import EncryptedDictField
from encryption.keyring import keyring
from scheduling.models import JobRun
from scheduling.validators import validate_timezone
from sites.platforms import PLATFORMS, get_platform
from sites.platforms.base import Health, Platform

#: Two of the default quarter-hours: one missed sync may pass, two are worth a word.
STALE_AFTER = timedelta(minutes=30)


class MonitoredSiteQuerySet(models.QuerySet["MonitoredSite"]):
    def due(self, *, now: datetime, attempted_before: datetime) -> Self:
        """Enabled sites that may be fetched now, the ones that waited longest first.

        attempted_before: leaves out what has already been tried since then, in this run or in the
            one that it continues.
        """
        allowed = Q(not_before=None) | Q(not_before__lte=now)
        waiting = self.filter(allowed, enabled=True).not_attempted_since(attempted_before)
        return waiting.unclaimed().longest_waiting_first()

    def not_attempted_since(self, moment: datetime) -> Self:
        return self.filter(Q(last_attempt_at=None) | Q(last_attempt_at__lt=moment))

    def unclaimed(self) -> Self:
        """Those that no run is fetching right now. A run that has ended or died holds nothing."""
        alive = JobRun.objects.filter(
            pk=OuterRef("claimed_by"),
            status=JobRun.Status.RUNNING,
            lease_expires_at__gt=timezone.now(),
        )
        return self.filter(~Exists(alive))

    def numbered(self, ids: Sequence[int]) -> Self:
        """Those with these ids, given as one array, for there may be tens of thousands."""
        return self.filter(pk__in=RawSQL("SELECT unnest(%s::bigint[])", [list(ids)]))

    def longest_waiting_first(self) -> Self:
        return self.order_by(F("last_attempt_at").asc(nulls_first=True), "pk")

    def shown_as(self, state: str) -> Self:
        """Those whose `shown_state` it is."""
        state_of = MonitoredSite.State
        unconfirmed = self.model.objects.synced_before(timezone.now() - STALE_AFTER)
        stale = Q(enabled=True, state__in=[state_of.UP, state_of.SLOW], pk__in=unconfirmed)
        return self.filter(stale) if state == state_of.STALE else self.filter(~stale, state=state)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the sites with all that is known of them.

        Their rows are locked first and in order, as a sync does it. Deleting begins with what hangs
        on them, and the two would wait for each other.
        """
        with transaction.atomic():
            list(self.order_by("pk").select_for_update().values_list("pk"))
            return super().delete()

    # A manager gets the methods of its queryset, and `objects.delete()` must not delete everything.
    delete.queryset_only = True  # type: ignore[attr-defined]

    def synced_before(self, moment: datetime) -> Self:
        return self.filter(Q(last_sync_at=None) | Q(last_sync_at__lt=moment))

    def sealed(self) -> Self:
        """Leave the credentials encrypted until `open_credentials`, so that a site whose key is
        missing does not hide all the others.
        """
        sealed = Cast("credentials", models.TextField())
        return self.defer("credentials").annotate(sealed_credentials=sealed)


class MonitoredSite(models.Model):
    """A site or business account that is fetched on schedule.

    The fields from `state` on are written by sites/writing.py alone.
    """

    class State(models.TextChoices):
        NEW = "new", "not synced yet"
        UP = "up", "up"
        SLOW = "slow", "slow"
        DOWN = "down", "down"
        STALE = "stale", "stale"
        CREDENTIALS_REFUSED = "credentials_refused", "credentials refused"
        MISCONFIGURED = "misconfigured", "needs your attention"
        UNAVAILABLE = "unavailable", "platform unavailable"
        OFFLINE = "offline", "our own network is away"

    name = models.CharField(max_length=120, unique=True)
    platform = models.CharField(max_length=40)
    options = models.JSONField(default=dict, blank=True)
    credentials = EncryptedDictField()
    timezone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_timezone],
        help_text="The days of its figures are days of this zone, such as UTC or Europe/Vienna.",
    )
    enabled = models.BooleanField(default=True, help_text="A disabled site is not fetched.")
    failures_to_open = models.PositiveSmallIntegerField(
        "failures before an incident",
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="An incident opens with this many failed attempts in a row.",
    )
    successes_to_close = models.PositiveSmallIntegerField(
        "successes after an incident",
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="It closes with this many good ones in a row.",
    )

    state = models.CharField(max_length=20, choices=State, default=State.NEW, editable=False)
    state_reason = models.TextField(blank=True, editable=False)
    state_since = models.DateTimeField(null=True, editable=False)
    last_attempt_at = models.DateTimeField(null=True, editable=False)
    last_sync_at = models.DateTimeField(null=True, editable=False)
    last_snapshot = models.JSONField(null=True, editable=False)
    failures = models.PositiveIntegerField(
        default=0, editable=False, help_text="Failed attempts in a row."
    )
    successes = models.PositiveIntegerField(
        default=0, editable=False, help_text="Good attempts in a row."
    )
    streak_since = models.DateTimeField(
        null=True, editable=False, help_text="The first of these failed or good attempts in a row."
    )
    not_before = models.DateTimeField(
        null=True, editable=False, help_text="Not fetched again before, after a failure."
    )
    # No foreign key: a run may be pruned, and an index would cost every fetch a write.
    claimed_by = models.BigIntegerField(
        null=True, editable=False, help_text="The run that is fetching it, or was when it died."
    )

    past_due_at = models.DateTimeField(
        null=True,
        default=now,
        editable=False,
        help_text="Its past is fetched with the first sync from then on; empty once that is done.",
    )

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = MonitoredSiteQuerySet.as_manager()

    #: As the database holds them; only on sites that were read `sealed`.
    sealed_credentials: str

    #: What a person edits.
    EDITABLE = (
        "name",
        "platform",
        "options",
        "credentials",
        "timezone",
        "enabled",
        "failures_to_open",
        "successes_to_close",
        "not_before",
        "updated_at",
    )

    class Meta:
        db_table = "monitored_sites"
        ordering = ["name"]
        indexes = [models.Index(fields=["enabled", "last_attempt_at"], name="monitored_sites_due")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.platform not in PLATFORMS:
            raise ValidationError(
                {"platform": f"No platform {self.platform!r}; there are: {', '.join(PLATFORMS)}."}
            )

    def open_credentials(self) -> dict[str, str]:
        """The credentials by name. Raises DecryptionFailed when their key is missing."""
        if "credentials" in self.get_deferred_fields():
            sealed = self.sealed_credentials
            self.credentials = json.loads(keyring().decrypt(sealed)) if sealed else {}
        credentials: dict[str, str] = self.credentials
        return credentials

    @property
    def has_credentials(self) -> bool:
        """Whether any are stored, be they readable or not."""
        is_sealed = "credentials" in self.get_deferred_fields()
        return bool(self.sealed_credentials if is_sealed else self.credentials)

    def save_settings(self) -> None:
        """Save what a person edits, and nothing that a sync may have written meanwhile.

        Credentials that were neither opened nor set stay as they are, readable or not.
        """
        untouched = self.get_deferred_fields()
        self.save(update_fields=[name for name in self.EDITABLE if name not in untouched])

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            list(MonitoredSite.objects.select_for_update().filter(pk=self.pk).values_list("pk"))
            return super().delete(*args, **kwargs)

    @property
    def fetcher(self) -> Platform:
        """The platform's code. Raises KeyError when it has gone."""
        return get_platform(self.platform)

    @property
    def platform_name(self) -> str:
        return PLATFORMS[self.platform].name if self.platform in PLATFORMS else self.platform

    @property
    def notices(self) -> list[str]:
        """What works but should be changed, in sentences of the last snapshot."""
        return list((self.last_snapshot or {}).get("notices", []))

    @property
    def age(self) -> timedelta | None:
        """How long ago the last snapshot was taken; None before the first."""
        return timezone.now() - self.last_sync_at if self.last_sync_at else None

    @property
    def shown_state(self) -> State:
        """The state to show: a good one that nothing has confirmed for long is stale."""
        state = self.State(self.state)
        is_old = self.age is None or self.age > STALE_AFTER
        if self.enabled and is_old and state in (self.State.UP, self.State.SLOW):
            return self.State.STALE
        return state


#: How a measured health becomes a state.
STATE_OF_HEALTH = {
    Health.UP: MonitoredSite.State.UP,
    Health.SLOW: MonitoredSite.State.SLOW,
    Health.DOWN: MonitoredSite.State.DOWN,
}
