"""Incidents: they open with several failed attempts in a row, and close with several good ones.

Slow is not failed: such a site is there, and works. Attempts while our own network was away count
neither way; sites/network.py has the one incident of that.
"""

from functools import partial
from typing import Any

from django.db import connection, transaction

from sites.models import Incident, IncidentEvent, MonitoredSite
from sites.signals import incident_closed, incident_opened

Kind = IncidentEvent.Kind


def follow(site_ids: list[int]) -> None:
    """Open, change and close the incidents of sites whose attempts this transaction has written.

    One statement, however many sites. The transaction holds the locks of their rows, so nobody else
    follows them meanwhile; following them again changes nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(FOLLOW, [site_ids])
        steps = cursor.fetchall()
    announce([step for step in steps if step[1] in (Kind.OPENED, Kind.CLOSED)])


#: A reason changes its kind when more than its figures change: a timeout after 2.1 s and one after
#: 2.3 s are the same trouble. All parts see the incidents as they were before, so a site is in one of
#: them at most.
FOLLOW = r"""
WITH site AS (
    SELECT id, enabled, state, state_reason, last_attempt_at, streak_since, failures, successes,
        failures_to_open, successes_to_close
    FROM monitored_sites WHERE id = ANY(%s) AND state <> 'offline'
), opened AS (
    INSERT INTO incidents (site_id, state, reason, opened_at)
    SELECT id, state, state_reason, streak_since FROM site
    WHERE enabled AND failures >= failures_to_open AND NOT EXISTS (
        SELECT FROM incidents WHERE site_id = site.id AND closed_at IS NULL
    )
    ON CONFLICT DO NOTHING
    RETURNING id, site_id
), changed AS (
    UPDATE incidents SET state = site.state, reason = site.state_reason
    FROM site WHERE site_id = site.id AND closed_at IS NULL AND failures > 0 AND (
        incidents.state <> site.state
        OR regexp_replace(reason, '[\d.,]+', '', 'g') <> regexp_replace(state_reason, '[\d.,]+', '', 'g')
    )
    RETURNING incidents.id, site_id
), closed AS (
    UPDATE incidents SET closed_at = GREATEST(streak_since, opened_at)
    FROM site WHERE site_id = site.id AND closed_at IS NULL AND successes >= successes_to_close
    RETURNING incidents.id, site_id
), step AS (
    SELECT id, site_id, 'opened' AS kind FROM opened
    UNION ALL SELECT id, site_id, 'changed' FROM changed
    UNION ALL SELECT id, site_id, 'closed' FROM closed
)
INSERT INTO incident_events (incident_id, at, kind, state, reason)
SELECT step.id, last_attempt_at, kind, state, state_reason
FROM step JOIN site ON site.id = step.site_id
RETURNING incident_id, kind
"""


def close_unwatched() -> None:
    """Close what nobody looks at any more: the incidents of disabled sites, and that of the network
    when no site is enabled.

    A disabled site starts afresh when it is enabled again, for nobody knows how it was meanwhile.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(FORGET_STREAKS)
        cursor.execute(CLOSE_UNWATCHED)
        announce(cursor.fetchall())


FORGET_STREAKS = """
UPDATE monitored_sites SET failures = 0, successes = 0, streak_since = NULL
FROM (
    SELECT id FROM monitored_sites WHERE NOT enabled AND streak_since IS NOT NULL
    ORDER BY id FOR UPDATE
) AS disabled WHERE monitored_sites.id = disabled.id
"""

CLOSE_UNWATCHED = """
WITH closed AS (
    UPDATE incidents SET closed_at = GREATEST(now(), opened_at)
    WHERE closed_at IS NULL AND NOT EXISTS (
        SELECT FROM monitored_sites
        WHERE enabled AND (monitored_sites.id = site_id OR site_id IS NULL)
    )
    RETURNING id, closed_at, state
)
INSERT INTO incident_events (incident_id, at, kind, state, reason)
SELECT id, closed_at, 'closed', state, 'Not watched any more: the site is disabled.' FROM closed
RETURNING incident_id, kind
"""


def close_when_disabled(instance: MonitoredSite, **kwargs: Any) -> None:
    """Receive `post_save`: nobody is to be reminded of a site until the next sync tidies up."""
    if not instance.enabled:
        close_unwatched()


def announce(steps: list[tuple[int, str]]) -> None:
    """Send the signals for (incident_id, kind) once this transaction has been committed."""
    for kind, signal in ((Kind.OPENED, incident_opened), (Kind.CLOSED, incident_closed)):
        if ids := [incident_id for incident_id, step in steps if step == kind]:
            send = partial(signal.send_robust, Incident, incident_ids=ids)
            transaction.on_commit(send, robust=True)
