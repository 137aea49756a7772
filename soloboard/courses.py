"""The course of every site's figures, for the small charts of the dashboard: hours of pages, days of
businesses. Two queries, however many sites and however long their history.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db import connection

from sites.history.latency import percentile

HOURS = 24
#: Whole ones: today is the number beside the chart, and no day to compare with the others.
DAYS = 30


class Hour(NamedTuple):
    """begins_s: POSIX time in seconds. failed: whether any attempt did. latency_ms: the median."""

    begins_s: float
    failed: bool
    latency_ms: int | None


class Day(NamedTuple):
    """begins_s: POSIX time in seconds of its midnight in UTC. failed: whether any attempt did.

    revenue_minor: by currency; None when it is not known.
    """

    begins_s: float
    failed: bool
    visitors: int | None
    revenue_minor: Mapping[str, int] | None


def last_hours(site_ids: Iterable[int], now: datetime) -> dict[int, list[Hour]]:
    """The last hours that are known, this one included, by site, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(LAST_HOURS, [list(site_ids), now - timedelta(hours=HOURS + 1), HOURS + 1])
        return {
            site_id: [
                Hour(begins_s, failed, percentile(latency_counts, 50))
                for begins_s, failed, latency_counts in json.loads(hours)
            ]
            for site_id, hours in cursor
        }


def last_days(today_of: Mapping[int, date]) -> dict[int, list[Day]]:
    """The last whole days that are known, by site, the oldest first.

    today_of: the current day of each site that is wanted, in its own zone.
    """
    with connection.cursor() as cursor:
        cursor.execute(LAST_DAYS, [list(today_of), list(today_of.values()), DAYS, DAYS])
        return {site_id: [Day(*day) for day in json.loads(days)] for site_id, days in cursor}


#: One row for each site. The index on site and time is read for as much as is wanted; without the
#: limits the whole table might be.
LAST_HOURS = """
SELECT site.id, json_agg(json_build_array(
    extract(epoch FROM hour.begins_at), hour.good < hour.attempts, hour.latency_counts
) ORDER BY hour.begins_at)::text
FROM unnest(%s::bigint[]) AS site(id)
CROSS JOIN LATERAL (
    SELECT begins_at, good, attempts, latency_counts FROM site_hours
    WHERE site_id = site.id AND begins_at > %s ORDER BY begins_at DESC LIMIT %s
) AS hour
GROUP BY site.id
"""
LAST_DAYS = """
SELECT site.id, json_agg(json_build_array(
    extract(epoch FROM day.day), day.good < day.attempts, day.visitors, day.revenue_minor
) ORDER BY day.day)::text
FROM unnest(%s::bigint[], %s::date[]) AS site(id, today)
CROSS JOIN LATERAL (
    SELECT day, good, attempts, visitors, revenue_minor FROM site_days
    WHERE site_id = site.id AND day < site.today AND day >= site.today - %s::integer
    ORDER BY day DESC LIMIT %s
) AS day
GROUP BY site.id
"""
