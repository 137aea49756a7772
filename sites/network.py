"""Whether it is our own network that is away, when many sites fail at once."""

import asyncio
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection
from django.utils import timezone

from sites.attempts import Attempt, State
from sites.incidents import announce
from sites.models import Incident
from sites.outbound import Outbound, OutboundError

logger = logging.getLogger(__name__)

#: So many sites without any answer, or all of them where there are fewer, make the probes worth
#: their time; one or two among many others are down by themselves.
SUSPICIOUS = 3
PROBE_TIMEOUT_S = 5.0
AWAY = "Neither the sites nor the hosts that are always there answer."
UNKNOWN = "Nothing is known of this site, because our own network is away."


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """attempts: as they are to be stored. away_since, back_at: what they say of the network."""

    attempts: Sequence[Attempt]
    away_since: datetime | None = None
    back_at: datetime | None = None


def judge(attempts: Sequence[Attempt]) -> Verdict:
    """Tell sites that are away from a network that is; the latter's attempts become OFFLINE.

    Asks the known-good hosts when at least half of the attempts that went to the internet found
    nobody there. Once the network is known to be away, a single one is enough for that, so that the
    last few of a sync are not taken for sites that are down. Makes requests: not for a transaction.
    """
    known = Incident.objects.filter(site=None, closed_at=None).exists()
    asked = [attempt for attempt in attempts if attempt.internet_answered is not None]
    silent = [attempt for attempt in asked if _is_silent(attempt)]
    if not known and not silent:
        return Verdict(attempts=attempts)
    enough = min(1 if known else SUSPICIOUS, len(asked))
    if len(silent) >= enough and 2 * len(silent) >= len(asked) and _probes_fail():
        return Verdict(
            attempts=[
                _offline(attempt) if _is_silent(attempt) else attempt for attempt in attempts
            ],
            away_since=min((attempt.made_at for attempt in silent), default=None),
        )
    return Verdict(attempts=attempts, back_at=_first_answer(asked) if known else None)


def record(verdict: Verdict) -> None:
    """Open or close the one incident of the network, in the transaction that writes the attempts."""
    with connection.cursor() as cursor:
        if verdict.away_since:
            cursor.execute(OPEN, [verdict.away_since, AWAY])
            announce(cursor.fetchall())
        elif verdict.back_at:
            cursor.execute(CLOSE, [verdict.back_at])
            announce(cursor.fetchall())


#: The constraint on open incidents decides between two processes that find out at once.
OPEN = """
WITH opened AS (
    INSERT INTO incidents (site_id, state, opened_at, reason) VALUES (NULL, 'offline', %s, %s)
    ON CONFLICT DO NOTHING
    RETURNING id, opened_at, state, reason
)
INSERT INTO incident_events (incident_id, at, kind, state, reason)
SELECT id, opened_at, 'opened', state, reason FROM opened
RETURNING incident_id, kind
"""

CLOSE = """
WITH closed AS (
    UPDATE incidents SET closed_at = GREATEST(%s, opened_at)
    WHERE site_id IS NULL AND closed_at IS NULL
    RETURNING id, closed_at
)
INSERT INTO incident_events (incident_id, at, kind, state, reason)
SELECT id, closed_at, 'closed', 'up', 'The internet answers again.' FROM closed
RETURNING incident_id, kind
"""


def _is_silent(attempt: Attempt) -> bool:
    return attempt.internet_answered is False


def _offline(attempt: Attempt) -> Attempt:
    return dataclasses.replace(
        attempt, state=State.OFFLINE, reason=UNKNOWN, snapshot=None, retry_after_s=None
    )


def _first_answer(asked: Sequence[Attempt]) -> datetime:
    answered = (attempt.made_at for attempt in asked if attempt.internet_answered)
    return min(answered, default=timezone.now())


def _probes_fail() -> bool:
    """Whether there are known-good hosts, and none of them answers."""
    probes: list[str] = settings.NETWORK_PROBES
    if not probes:
        return False
    is_away = not any(asyncio.run(_answers(probes)))
    logger.warning("Many sites fail at once; our own network is %s", "away" if is_away else "there")
    return is_away


async def _answers(probes: Sequence[str]) -> list[bool]:
    outbound = Outbound(
        allowed_networks=settings.ALLOWED_PRIVATE_NETWORKS, allowed_ports=settings.ALLOWED_PORTS
    )
    return await asyncio.gather(*(_answers_well(outbound, probe) for probe in probes))


async def _answers_well(outbound: Outbound, probe: str) -> bool:
    # A redirect is what the login page of a hotel's network answers to everything.
    async with outbound.client(timeout_s=PROBE_TIMEOUT_S) as client:
        try:
            answer = await client.request("GET", probe, follow_redirects=False, max_body_bytes=0)
        except OutboundError:
            return False
        return 200 <= answer.status < 300
