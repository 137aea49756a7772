"""Which sites a sync is asked for; read from the body of its call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from scheduling.errors import PayloadRefused
from sites.attempts import storable_text
from sites.models import MonitoredSite, MonitoredSiteQuerySet
from sites.platforms import PLATFORMS


@dataclass(frozen=True, kw_only=True)
class Selection:
    """All due sites, or some of them.

    sites: names; they are fetched even while they wait after a failure, and when disabled.
    platform: key of a platform, or "" for any.
    stale_minutes: only sites whose last snapshot is at least this old, or None.
    started_at: of the run that this one continues; what it has tried is left out.
    """

    sites: tuple[str, ...] = ()
    platform: str = ""
    stale_minutes: int | None = None
    started_at: datetime | None = None

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """Raises PayloadRefused naming the field and what it takes."""
        unknown = sorted(set(payload) - set(_READERS))
        if unknown:
            raise PayloadRefused(
                f"Unknown field {unknown[0]!r}; a sync takes {', '.join(_READERS)}."
            )
        return cls(**{name: _READERS[name](value) for name, value in payload.items()})

    def to_payload(self) -> dict[str, Any]:
        fields = {
            "sites": list(self.sites),
            "platform": self.platform,
            "stale_minutes": self.stale_minutes,
            "started_at": self.started_at and self.started_at.isoformat(),
        }
        return {name: value for name, value in fields.items() if value not in ([], "", None)}

    def due(self, now: datetime) -> MonitoredSiteQuerySet:
        """The sites to fetch, the ones that waited longest first."""
        attempted_before = self.started_at or now
        sites = MonitoredSite.objects.due(now=now, attempted_before=attempted_before)
        if self.sites:
            named = MonitoredSite.objects.filter(name__in=self.sites)
            if self.started_at is None:  # Later on a site may well have gone.
                self._refuse_missing(set(named.values_list("name", flat=True)))
            sites = named.exclude(last_attempt_at__gte=attempted_before).longest_waiting_first()
        if self.platform:
            sites = sites.filter(platform=self.platform)
        if self.stale_minutes is not None:
            sites = sites.synced_before(now - timedelta(minutes=self.stale_minutes))
        return sites

    def _refuse_missing(self, found: set[str]) -> None:
        missing = [name for name in self.sites if name not in found]
        if missing:
            raise PayloadRefused(f"There is no site named {missing[0]!r}.")


def _read_sites(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise PayloadRefused("'sites' must be a list of names.")
    for name in value:
        if storable_text(name) != name:
            raise PayloadRefused(f"There is no site named {name!r}.")
    return tuple(value)


def _read_platform(value: object) -> str:
    if not isinstance(value, str) or value not in PLATFORMS:
        raise PayloadRefused(f"'platform' must be one of {', '.join(PLATFORMS)}.")
    return value


def _read_minutes(value: object) -> int:
    # A bool is an int in Python, and true is no number of minutes.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1_000_000:
        raise PayloadRefused("'stale_minutes' must be a whole number of minutes.")
    return value


def _read_moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is None:
            raise PayloadRefused("'started_at' must name its offset from UTC.")
        # Near the ends of the calendar an offset leads out of it.
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PayloadRefused("'started_at' must be a time in ISO 8601.") from error


_READERS: dict[str, Callable[[object], Any]] = {
    "sites": _read_sites,
    "platform": _read_platform,
    "stale_minutes": _read_minutes,
    "started_at": _read_moment,
}
