"""How long what was found is kept: points for days, hours for months, days for ever."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from sites.history.rollup import NEWEST_HOUR, OVERLAP, ZONE, known_zones
from sites.models import SyncLog

POINTS_KEPT_FOR = timedelta(days=2)
#: What is usual at an hour of the week is learned from the last weeks: twelve of them.
HOURS_KEPT_FOR = timedelta(days=90)
SYNC_LOGS_KEPT_FOR = timedelta(days=90)
#: What one statement removes at the most.
ROUND = 20_000


def prune(site_ids: Sequence[int], now: datetime) -> int:
    """Remove points and hours of these sites that are old, at most ROUND of each.

    A point stays until its day will not be rolled up again, however old it is. Returns how many rows.
    """
    parameters: dict[str, Any] = {
        "sites": list(site_ids), "zones": known_zones(site_ids), "overlap": OVERLAP,
        "points_before": now - POINTS_KEPT_FOR, "hours_before": now - HOURS_KEPT_FOR, "round": ROUND,
    }  # fmt: skip
    with connection.cursor() as cursor:
        removed = 0
        for statement in (PRUNE_POINTS, PRUNE_HOURS):
            cursor.execute(statement, parameters)
            removed += cursor.rowcount
        return removed


def prune_sync_logs(now: datetime) -> int:
    """Remove logs of syncs that are old, at most ROUND. Returns how many."""
    old = SyncLog.objects.filter(created_at__lt=now - SYNC_LOGS_KEPT_FOR).order_by("created_at")
    ids = list(old.values_list("pk", flat=True)[:ROUND])
    SyncLog.objects.filter(pk__in=ids).delete()
    return len(ids)


#: Where the roll-up begins again is the day of an hour before the newest hour.
PRUNE_POINTS = f"""
DELETE FROM site_snapshots WHERE id IN (
    SELECT point.id FROM monitored_sites AS site
    CROSS JOIN {ZONE}
    JOIN {NEWEST_HOUR} ON true
    JOIN site_snapshots AS point ON point.site_id = site.id AND point.taken_at < least(
        %(points_before)s, date_trunc('day', newest.begins_at - %(overlap)s, zone.name))
    WHERE site.id = ANY(%(sites)s)
    LIMIT %(round)s
)
"""  # noqa: S608 - put together from constants.

#: The newest hour tells how far a site is rolled up, so it stays.
PRUNE_HOURS = f"""
DELETE FROM site_hours WHERE id IN (
    SELECT hour.id FROM monitored_sites AS site
    JOIN {NEWEST_HOUR} ON true
    JOIN site_hours AS hour ON hour.site_id = site.id
        AND hour.begins_at < least(%(hours_before)s, newest.begins_at)
    WHERE site.id = ANY(%(sites)s)
    LIMIT %(round)s
)
"""  # noqa: S608
