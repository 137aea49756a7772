"""One attempt at one site: what came of it, and when the next one may be made."""

import asyncio
import dataclasses
import json
import logging
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from encryption.keyring import DecryptionFailed
from sites.limits import turn_of
from sites.models import STATE_OF_HEALTH, MonitoredSite
from sites.outbound import Client, Outbound
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    PlatformError,
    PlatformUnavailable,
    Snapshot,
)
from sites.redaction import Redaction

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
#: The client keeps the time limit of a fetch and says what it was waiting for; only a platform that
#: waits for something else is cut off, this much later.
CUT_OFF_GRACE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one fetch came to, fit to be stored.

    snapshot: JSON; None when no measurement could be had, and `reason` then says why.
    internet_answered: whether any host on the internet did; None when none was asked.
    """

    site: MonitoredSite
    made_at: datetime
    state: State
    reason: str = ""
    snapshot: str | None = None
    retry_after_s: float | None = None
    internet_answered: bool | None = None

    @property
    def is_success(self) -> bool:
        return self.state in GOOD_STATES

    @property
    def counts(self) -> bool:
        """Whether it says anything of the site, good or bad."""
        return self.state != State.OFFLINE

    @property
    def failures(self) -> int:
        """In a row, this one included."""
        if not self.counts:
            return self.site.failures
        return 0 if self.is_success else self.site.failures + 1

    @property
    def not_before(self) -> datetime | None:
        """When the site may be tried again; None for at any time."""
        if self.is_success or not self.counts:
            return None
        return self.made_at + max(self._backoff(), self._asked_wait())

    def _backoff(self) -> timedelta:
        longest = LONGEST_WAIT_WHEN_DOWN if self.state == State.DOWN else LONGEST_WAIT
        doublings = min(self.failures - 1, 10)
        return min(FIRST_WAIT * 2.0**doublings, longest)

    def _asked_wait(self) -> timedelta:
        # In this order a NaN, which is smaller than nothing, becomes 0.
        longest_s = LONGEST_RETRY_AFTER.total_seconds()
        return timedelta(seconds=max(0.0, min(self.retry_after_s or 0.0, longest_s)))


async def attempt(site: MonitoredSite, outbound: Outbound, *, timeout_s: float) -> Attempt:
    """Fetch a site once. Whatever goes wrong becomes a state, so that one broken site never stops
    the rest.
    """
    redaction = _redaction_of(site)
    async with outbound.client(timeout_s=timeout_s) as client:
        made = await _attempt(site, client, timeout_s, redaction)
        return dataclasses.replace(
            made,
            reason=redaction.text(made.reason),
            internet_answered=client.internet_answered,
        )


async def _attempt(
    site: MonitoredSite, client: Client, timeout_s: float, redaction: Redaction
) -> Attempt:
    now = datetime.now(UTC)
    try:
        async with asyncio.timeout(timeout_s + CUT_OFF_GRACE_S):
            return _measured(site, now, await _fetch(site, client, now), redaction)
    except PlatformError as error:
        return _failed(site, now, _state_of(error), str(error), error.retry_after_s)
    except TimeoutError:
        return _failed(site, now, State.UNAVAILABLE, f"Not done within {timeout_s:.3g} s.")
    except Exception as error:
        # Platforms are what other people add. A bug in one may cost its own sites their figures,
        # and no other site.
        details = redaction.text("".join(traceback.format_exception(error)))
        # Not logger.exception, which would write the message of the exception as it is.
        logger.error("Site %s: platform %s has a bug\n%s", site.pk, site.platform, details)  # noqa: TRY400
        reason = f"The code of this platform failed ({type(error).__name__}); the log says where."
        return _failed(site, now, State.UNAVAILABLE, reason)


async def _fetch(site: MonitoredSite, client: Client, now: datetime) -> Snapshot:
    try:
        platform = site.fetcher
        request = FetchRequest(
            options=platform.options(site.options),
            credentials=site.open_credentials(),
            time_zone=ZoneInfo(site.timezone),
            now=now,
        )
    except (KeyError, ValueError, DecryptionFailed) as error:
        # A platform, a time zone or a key that was there when the site was saved, and is not now.
        why = error.args[0] if error.args else error
        raise ConfigurationRefused(f"The settings of this site cannot be used: {why}") from error
    client.turn = turn_of(platform, request.options, request.credentials, client)
    return await platform.fetch(request, client)


def _redaction_of(site: MonitoredSite) -> Redaction:
    try:
        return Redaction(site.open_credentials().values())
    except DecryptionFailed:
        return Redaction(())  # Nobody can quote what nobody can read; the fetch says why.


def _measured(
    site: MonitoredSite, made_at: datetime, snapshot: Snapshot, redaction: Redaction
) -> Attempt:
    return Attempt(
        site=site,
        made_at=made_at,
        state=STATE_OF_HEALTH[snapshot.health],
        reason=storable_text(snapshot.reason),
        snapshot=storable_json(redaction.value(snapshot.to_json())),
    )


def _failed(
    site: MonitoredSite,
    made_at: datetime,
    state: State,
    reason: str,
    retry_after_s: float | None = None,
) -> Attempt:
    return Attempt(
        site=site,
        made_at=made_at,
        state=state,
        reason=storable_text(reason),
        retry_after_s=retry_after_s,
    )


def _state_of(error: PlatformError) -> State:
    # A platform may have a family of its own below these.
    for kind, state in STATE_OF_ERROR.items():
        if isinstance(error, kind):
            return state
    return State.UNAVAILABLE


# What a site sent may be quoted in a reason or a figure's name, and PostgreSQL stores neither zero
# bytes nor halves of surrogate pairs.
_ESCAPED_ZERO_BYTE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def storable_text(text: str) -> str:
    """Leave out what PostgreSQL cannot store."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def storable_json(value: Any) -> str:
    """Write JSON without what PostgreSQL cannot store. ValueError or TypeError when it is no JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _ESCAPED_ZERO_BYTE.sub(r"\1", text.encode("utf-8", "replace").decode())
