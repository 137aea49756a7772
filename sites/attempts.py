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
    PAST_DAYS,
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    Figures,
    Platform,
    PlatformError,
    PlatformUnavailable,
    PutOff,
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
#: What a new site fetches of its past, and how long to leave it when today can be had without it.
FIRST_PAST_DAYS = 60
PAST_WAIT = timedelta(hours=1)
#: What a column of the database holds.
LARGEST_COUNT = 2**63 - 1
#: The client keeps the time limit of a fetch and says what it was waiting for; only a platform that
#: waits for something else is cut off, this much later.
CUT_OFF_GRACE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one fetch came to, fit to be stored.

    snapshot: JSON; None when no measurement could be had, and `reason` then says why.
    internet_answered: whether any host on the internet did; None when none was asked.
    days: JSON; a list of past days with their figures. They have rows of their own and would make
        the snapshot large.
    past_fetched: whether the site's past came with it; None where that was not the question.
    is_put_off: whether our own limits left no time for it.
    """

    site: MonitoredSite
    made_at: datetime
    state: State
    reason: str = ""
    snapshot: str | None = None
    retry_after_s: float | None = None
    internet_answered: bool | None = None
    days: str = "[]"
    past_fetched: bool | None = None
    is_put_off: bool = False

    @property
    def is_success(self) -> bool:
        return self.state in GOOD_STATES

    @property
    def counts(self) -> bool:
        """Whether it says anything of the site, good or bad."""
        return self.state != State.OFFLINE and not self.is_put_off

    @property
    def failures(self) -> int:
        """In a row, this one included."""
        if not self.counts:
            return self.site.failures
        return 0 if self.is_success else self.site.failures + 1

    @property
    def not_before(self) -> datetime | None:
        """When the site may be tried again; None for at any time."""
        if self.is_success or self.state == State.OFFLINE:
            return None
        if self.is_put_off:
            return self.made_at + self._asked_wait()
        return self.made_at + max(self._backoff(), self._asked_wait())

    @property
    def past_due_at(self) -> datetime | None:
        """When to ask for the past again, where it was asked for; None when it has come."""
        return None if self.past_fetched else self.made_at + PAST_WAIT

    def _backoff(self) -> timedelta:
        longest = LONGEST_WAIT_WHEN_DOWN if self.state == State.DOWN else LONGEST_WAIT
        doublings = min(self.failures - 1, 10)
        return min(FIRST_WAIT * 2.0**doublings, longest)

    def _asked_wait(self) -> timedelta:
        # In this order a NaN, which is smaller than nothing, becomes 0.
        longest_s = LONGEST_RETRY_AFTER.total_seconds()
        return timedelta(seconds=max(0.0, min(self.retry_after_s or 0.0, longest_s)))


async def attempt(
    site: MonitoredSite, outbound: Outbound, *, timeout_s: float, past_days: int | None = None
) -> Attempt:
    """Fetch a site once. Whatever goes wrong becomes a state, so that one broken site never stops
    the rest.

    past_days: how much of the past is asked for; None for a few days, or for what a new site needs.
    """
    redaction = _redaction_of(site)
    async with outbound.client(timeout_s=timeout_s) as client:
        made = await _attempt(site, client, timeout_s, redaction, past_days)
        return dataclasses.replace(
            made,
            reason=redaction.text(made.reason),
            internet_answered=client.internet_answered,
        )


async def _attempt(
    site: MonitoredSite,
    client: Client,
    timeout_s: float,
    redaction: Redaction,
    past_days: int | None,
) -> Attempt:
    now = datetime.now(UTC)
    try:
        async with asyncio.timeout(timeout_s + CUT_OFF_GRACE_S):
            found = await _fetch(site, client, now, past_days)
            return _measured(site, now, *found, redaction=redaction)
    except PlatformError as error:
        made = _failed(site, now, _state_of(error), str(error), error.retry_after_s)
        return dataclasses.replace(made, is_put_off=isinstance(error, PutOff))
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


async def _fetch(
    site: MonitoredSite, client: Client, now: datetime, past_days: int | None
) -> tuple[Snapshot, bool | None]:
    """Returns what was found, and whether the past came with it (see `Attempt.past_fetched`)."""
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
    if past_days is not None:
        past_days = min(past_days, platform.longest_past_days)
        whole = dataclasses.replace(request, past_days=past_days)
        return await platform.fetch(whole, client), True
    if past_days := _due_past_days(site, platform, now):
        whole = dataclasses.replace(request, past_days=past_days)
        return await _fetch_with_past(site, platform, whole, client)
    return await platform.fetch(request, client), None


def _redaction_of(site: MonitoredSite) -> Redaction:
    try:
        return Redaction(site.open_credentials().values())
    except DecryptionFailed:
        return Redaction(())  # Nobody can quote what nobody can read; the fetch says why.


def _due_past_days(site: MonitoredSite, platform: Platform, now: datetime) -> int:
    """How much of its past a site has still to fetch; 0 for none."""
    if site.past_due_at is None or site.past_due_at > now:
        return 0
    return min(FIRST_PAST_DAYS, platform.longest_past_days)


async def _fetch_with_past(
    site: MonitoredSite, platform: Platform, request: FetchRequest, client: Client
) -> tuple[Snapshot, bool]:
    """Fetch with the past within half of the time. A past that is too long to be had must not cost
    the site its figures of today.
    """
    try:
        async with asyncio.timeout(client.left_s / 2):
            return await platform.fetch(request, client), True
    except (PlatformUnavailable, BadResponse, TimeoutError) as error:
        logger.warning("Site %s: its past could not be had: %s", site.pk, error or "not in time")
    today = dataclasses.replace(request, past_days=PAST_DAYS)
    return await platform.fetch(today, client), False


def _measured(
    site: MonitoredSite,
    made_at: datetime,
    snapshot: Snapshot,
    past_fetched: bool | None,
    *,
    redaction: Redaction,
) -> Attempt:
    stored = snapshot.to_json()
    del stored["days"]
    return Attempt(
        site=site,
        made_at=made_at,
        state=STATE_OF_HEALTH[snapshot.health],
        reason=storable_text(snapshot.reason),
        snapshot=storable_json(redaction.value(stored)),
        days=storable_json(redaction.value(_past_days(site, made_at, snapshot))),
        past_fetched=past_fetched,
    )


def _past_days(site: MonitoredSite, made_at: datetime, snapshot: Snapshot) -> list[dict[str, Any]]:
    """The days that are over. Raises TypeError for a figure that is no whole number."""
    today = made_at.astimezone(ZoneInfo(site.timezone)).date()
    return [
        {**_stored_day(figures), "day": day.isoformat()}
        for day, figures in sorted(snapshot.days.items())
        if day < today
    ]


def _stored_day(figures: Figures) -> dict[str, Any]:
    for figure in (figures.visitors, figures.sales, *figures.revenue_minor.values()):
        # The database would refuse the days of all the other sites with it.
        if figure is not None and (not isinstance(figure, int) or abs(figure) > LARGEST_COUNT):
            raise TypeError(f"A figure of a day is not a whole number that fits: {figure!r}")
    stored = figures.to_json()
    # Sales without revenue are none; no figures at all say nothing of it.
    if not figures.revenue_minor and figures.sales is None:
        stored["revenue_minor"] = None
    return {**stored, "metrics": stored["metrics"] or None}


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
