"""What a platform is: its forms, one fetch, and the snapshot or the error that comes of it."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms

from sites.outbound import Client, RequestRefused, parse_url

PAST_DAYS = 3


class PlatformError(Exception):
    """No measurement could be had. The message is for the site's owner and holds no secret.

    retry_after_s: seconds the platform asked to wait before the next call, or None.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ConfigurationRefused(PlatformError):
    """The options cannot work as they are; the owner has to change them."""


class CredentialsRefused(PlatformError):
    """The platform does not accept the credentials, or they lack a right; ask the owner."""


class PlatformUnavailable(PlatformError):
    """The platform did not answer usefully; the same call may succeed later."""


class PutOff(PlatformUnavailable):
    """Our own limits left no time for the call, so it was not made; nothing is wrong with anybody."""


class BadResponse(PlatformError):
    """The platform answered, but not in the form expected; our reading or mapping is wrong."""


class Health(enum.StrEnum):
    """How a site was found. For a business platform, UP says that its figures were read."""

    UP = "up"
    SLOW = "slow"
    DOWN = "down"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure with its unit: '%', 'ms', 'jobs', or '' for a plain number.

    Money is whole minor units, and its unit is the ISO 4217 code and 'minor': 'EUR minor'.
    """

    value: int | float
    unit: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the value and the unit."""
        return {"value": self.value, "unit": self.unit}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Business figures of one period; None is 'not known', which is not zero.

    visitors, sales: counts.
    revenue_minor: minor units by ISO 4217 code ({'EUR': 129900}), so that currencies are never
        added up.
    metrics: everything else, by name.
    """

    visitors: int | None = None
    sales: int | None = None
    revenue_minor: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values under the names of the fields."""
        return {
            "visitors": self.visitors,
            "sales": self.sales,
            "revenue_minor": dict(self.revenue_minor),
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How hard the API of one account may be used, all processes together.

    concurrent: calls under way at the same time.
    per_minute: calls begun within any minute.
    """

    concurrent: int
    per_minute: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What one fetch found.

    A site that is down is a measurement like any other: health says so and `reason` says why.

    taken_at: aware.
    reason: a sentence for the owner; '' when the site is up.
    latency_ms: until the headers of the answer were in; None if there was no answer.
    tls_expires_at: aware; end of the certificate, expired or not; None without TLS.
    credentials_expire_at: aware; when the platform stops accepting them; None if that is not known.
    figures: of the site's current day so far, or of whatever period the owner's mapping reads.
    days: figures of past days in the site's time zone, where the platform gives them. A day on
        which nothing happened is there with zeros; one that is missing is not known.
    notices: sentences for the owner about what works but should be changed: a key that may do
        more than it has to, a version that is about to be retired.
    """

    taken_at: datetime
    health: Health
    reason: str = ""
    latency_ms: int | None = None
    http_status: int | None = None
    tls_expires_at: datetime | None = None
    credentials_expire_at: datetime | None = None
    figures: Figures = field(default_factory=Figures)
    days: Mapping[date, Figures] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def tls_days_left(self) -> int | None:
        """Whole days until the certificate ends, negative once it has."""
        if self.tls_expires_at is None:
            return None
        return (self.tls_expires_at - self.taken_at).days

    def to_json(self) -> dict[str, Any]:
        """Return the snapshot as it is stored: plain JSON values, times in UTC."""
        return {
            "updatedAt": _timestamp(self.taken_at),
            "health": self.health.value,
            "reason": self.reason,
            "latency_ms": self.latency_ms,
            "http_status": self.http_status,
            "tls_expires_at": self.tls_expires_at and _timestamp(self.tls_expires_at),
            "tls_days_left": self.tls_days_left,
            "credentials_expire_at": (
                self.credentials_expire_at and _timestamp(self.credentials_expire_at)
            ),
            **self.figures.to_json(),
            "days": {day.isoformat(): figures.to_json() for day, figures in self.days.items()},
            "notices": list(self.notices),
        }


def _timestamp(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class FetchRequest:
    """One site's turn.

    options: the platform's cleaned options, complete (see `Platform.options`).
    credentials: decrypted, by name.
    time_zone: the site's own; its days are the days of the figures.
    now: aware, UTC.
    past_days: how many days before today are wanted beside it. A few, because refunds and late
        visits still change them; more when a new site fetches its past.
    """

    options: Mapping[str, Any] = field(repr=False)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    time_zone: ZoneInfo
    now: datetime
    past_days: int = PAST_DAYS

    @property
    def today(self) -> date:
        """The site's current day."""
        return self.now.astimezone(self.time_zone).date()

    @property
    def first_day(self) -> date:
        """The earliest day that is wanted."""
        return self.today - timedelta(days=self.past_days)

    def begin_of(self, day: date) -> datetime:
        """The instant at which a day of the site begins; such a day may have 23 or 25 hours."""
        return datetime.combine(day, time(), self.time_zone)

    def day_of(self, moment: datetime) -> date:
        """The day of the site in which an instant lies."""
        return moment.astimezone(self.time_zone).date()


class UrlField(forms.CharField):
    """The address of a web page; https:// when no scheme is typed.

    Unlike Django's URLField it takes a host name without a dot, as networks at home use.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=2000, **kwargs)

    def to_python(self, value: Any) -> str:
        """Return the normalised address."""
        text = super().to_python(value) or ""
        return text if not text or "://" in text else f"https://{text}"

    def clean(self, value: Any) -> str:
        """Refuse what no request could be made to; where its name leads shows at the fetch."""
        text: str = super().clean(value)
        try:
            return text and str(parse_url(text))
        except RequestRefused as exc:
            raise forms.ValidationError(f"{exc}.") from exc


class Platform(ABC):
    """A kind of site: where its figures come from and what has to be known to get them.

    description: one sentence for whoever chooses among the platforms.
    limits: of the API; None where there is no vendor who would mind.
    longest_past_days: how many days before today it can give at once; 0 if it has no past to give.
    Options: the public settings. Its cleaned data are JSON values and are stored as they are.
    Credentials: the secrets; every field is a string, stored encrypted and never shown again.
    """

    key: ClassVar[str]
    name: ClassVar[str]
    description: ClassVar[str]
    Options: ClassVar[type[forms.Form]]
    Credentials: ClassVar[type[forms.Form]] = forms.Form
    limits: ClassVar[Limits | None] = None
    longest_past_days: ClassVar[int] = 0

    @abstractmethod
    async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
        """Measure the site once, or raise one of the PlatformError family."""

    def required_credentials(self, options: Mapping[str, Any]) -> frozenset[str]:
        """Name the credentials without which a site with these options cannot be fetched."""
        return frozenset()

    def account(self, options: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        """Name the account whose limits a site with these settings uses up.

        Only a digest of it is ever kept, so it may be a key.
        """
        return ""

    def options(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Complete stored options by the defaults of the fields that they do not mention."""
        return {
            name: stored.get(name, form_field.initial)
            for name, form_field in self.Options.base_fields.items()
        }
