"""One attempt at one site: what came of it, and when the next one may be made."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sites.models import STATE_OF_HEALTH, MonitoredSite
from sites.outbound import Outbound
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    PlatformError,
    PlatformUnavailable,
    Snapshot,
)

logger = logging.getLogger(__name__)

State = MonitoredSite.State

STATE_OF_ERROR: Mapping[type[PlatformError], State] = {
    CredentialsRefused: State.CREDENTIALS_REFUSED,
    ConfigurationRefused: State.MISCONFIGURED,
    BadResponse: State.MISCONFIGURED,
    PlatformUnavailable: State.UNAVAILABLE,
}
GOOD_STATES = (State.UP, State.SLOW)

#: The wait doubles with each failure in a row. One that is down is looked at again soon, because
#: its owner wants to know when it is back; refused credentials do not mend themselves.
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)
LONGEST_WAIT_WHEN_DOWN = timedelta(minutes=5)
#: A platform may ask for patience, but not make a site leave the rotation.
LONGEST_RETRY_AFTER = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one fetch came to.

    snapshot: None when no measurement could be had; `reason` then says why.
    """

    site: MonitoredSite
    made_at: datetime
    state: State
    reason: str = ""
    snapshot: Snapshot | None = None
    retry_after_s: float | None = None

    @property
    def is_success(self) -> bool:
        return self.state in GOOD_STATES

    @property
    def failures(self) -> int:
        return 0 if self.is_success else self.site.failures + 1

    @property
    def not_before(self) -> datetime | None:
        """When the site may be tried again; None for at any time."""
        if self.is_success:
            return None
        return self.made_at + max(self._backoff(), self._asked_wait())

    def _backoff(self) -> timedelta:
        longest = LONGEST_WAIT_WHEN_DOWN if self.state == State.DOWN else LONGEST_WAIT
        doublings = min(self.failures - 1, 10)
        return min(FIRST_WAIT * (1 << doublings), longest)

    def _asked_wait(self) -> timedelta:
        return min(timedelta(seconds=self.retry_after_s or 0), LONGEST_RETRY_AFTER)


async def attempt(site: MonitoredSite, outbound: Outbound, *, timeout_s: float) -> Attempt:
    """Fetch a site once. Whatever goes wrong becomes a state, so that one broken site never stops
    the rest.
    """
    now = datetime.now(UTC)
    try:
        snapshot = await _fetch(site, outbound, now, timeout_s)
    except PlatformError as error:
        return Attempt(
            site=site,
            made_at=now,
            state=STATE_OF_ERROR[type(error)],
            reason=str(error),
            retry_after_s=error.retry_after_s,
        )
    except Exception as error:
        # Platforms are what other people add. A bug in one may cost its own sites their figures,
        # and no other site.
        logger.exception("Site %s: platform %s has a bug", site.pk, site.platform)
        return Attempt(
            site=site,
            made_at=now,
            state=State.UNAVAILABLE,
            reason=f"The code of this platform failed ({type(error).__name__}); the log says where.",
        )
    return Attempt(
        site=site,
        made_at=now,
        state=STATE_OF_HEALTH[snapshot.health],
        reason=snapshot.reason,
        snapshot=snapshot,
    )


async def _fetch(
    site: MonitoredSite, outbound: Outbound, now: datetime, timeout_s: float
) -> Snapshot:
    try:
        platform = site.fetcher
        request = FetchRequest(
            options=platform.options(site.options),
            credentials=site.credentials,
            time_zone=ZoneInfo(site.timezone),
            now=now,
        )
    except (KeyError, ValueError) as error:
        # A platform or a time zone that was valid when the site was saved, and that is not known
        # any more.
        raise ConfigurationRefused(f"The settings of this site cannot be used: {error}.") from error
    async with outbound.client(timeout_s=timeout_s) as client:
        return await platform.fetch(request, client)
