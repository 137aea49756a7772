"""Points become hours and days, by SQL over many sites at once.

Where a site stands is told by its own newest hour: what came since is read again from the beginning
of the day an hour before it, and hours and days are written as a whole. So repeating changes
nothing, a run that failed is made up for by the next, and no point has to be marked.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from sites.attempts import GOOD_STATES, State
from sites.history.latency import BUCKET_SQL

#: A sync writes what it found within minutes; what is as old as this is all there.
OVERLAP = timedelta(hours=1)
#: How much of a past that was never rolled up is taken at once.
LONGEST_STRETCH = timedelta(days=3)
#: An increment over a longer time cannot be said to lie in one hour.
LONGEST_STEP = timedelta(minutes=90)
#: A figure of an hour of which less was seen is not known.
LEAST_SEEN = timedelta(minutes=45)


def roll_up(site_ids: Sequence[int]) -> None:
    """Bring the hours and days of these sites up to date: two statements, however many sites.

    One that has a long way to go comes LONGEST_STRETCH nearer.
    """
    parameters: dict[str, Any] = {
        "sites": list(site_ids), "zones": known_zones(site_ids), "good": list(GOOD_STATES),
        "down": State.DOWN, "offline": State.OFFLINE, "overlap": OVERLAP, "stretch": LONGEST_STRETCH,
        "longest_step": LONGEST_STEP, "least_seen": LEAST_SEEN,
    }  # fmt: skip
    with transaction.atomic(), connection.cursor() as cursor:
        # In this order, because both begin at the newest hour.
        cursor.execute(DAYS, parameters)
        cursor.execute(HOURS, parameters)


def behind(site_ids: Sequence[int]) -> list[int]:
    """Those of the sites that have points newer than their newest hour."""
    with connection.cursor() as cursor:
        cursor.execute(BEHIND, {"sites": list(site_ids)})
        return [site_id for (site_id,) in cursor]


def known_zones(site_ids: Sequence[int]) -> list[str]:
    """The time zones of these sites that PostgreSQL knows too; it would fail for the others."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT timezone FROM monitored_sites WHERE id = ANY(%s)"
            " AND timezone IN (SELECT name FROM pg_timezone_names)",
            [list(site_ids)],
        )
        return [zone for (zone,) in cursor]


#: A site's newest hour, and its time zone; a zone that has gone is UTC, as nothing better is known.
NEWEST_HOUR = """
    LATERAL (
        SELECT begins_at FROM site_hours WHERE site_id = site.id ORDER BY begins_at DESC LIMIT 1
    ) AS newest
"""
ZONE = """
    LATERAL (
        SELECT CASE WHEN site.timezone = ANY(%(zones)s) THEN site.timezone ELSE 'UTC' END AS name
    ) AS zone
"""
FIRST_NEW_POINT = """
    LATERAL (
        SELECT taken_at FROM site_snapshots
        WHERE site_id = site.id
            AND taken_at >= coalesce(newest.begins_at + interval '1 hour', '-infinity')
        ORDER BY taken_at LIMIT 1
    ) AS new_point
"""

BEHIND = f"""
SELECT site.id FROM monitored_sites AS site
LEFT JOIN {NEWEST_HOUR} ON true
JOIN {FIRST_NEW_POINT} ON true
WHERE site.id = ANY(%(sites)s)
"""  # noqa: S608 - put together from constants.


def _number(name: str) -> str:
    """A figure of a point, in SQL; what is no number, or none that fits, is not known."""
    return (
        f"CASE WHEN jsonb_typeof(data->'{name}') = 'number' AND (data->>'{name}')::numeric"
        f" BETWEEN -1e18 AND 1e18 THEN (data->>'{name}')::numeric END"
    )


#: The sites are locked as a sync locks them, first and in the order of their ids: it writes days
#: too, and each would wait for the other. No revenue is known from a point without any figures; with
#: others it says that there was none. Attempts while our own network was away say nothing of a site.
POINTS = f"""
WITH site AS MATERIALIZED (
    SELECT site.id, zone.name AS zone, newest.begins_at - %(overlap)s AS since,
        date_trunc('day', new_point.taken_at + %(stretch)s, zone.name) AS until
    FROM monitored_sites AS site
    CROSS JOIN {ZONE}
    LEFT JOIN {NEWEST_HOUR} ON true
    LEFT JOIN {FIRST_NEW_POINT} ON true
    WHERE site.id = ANY(%(sites)s)
    ORDER BY site.id FOR KEY SHARE OF site
), point AS MATERIALIZED (
    SELECT site.id AS site_id, site.zone, site.since, point.taken_at,
        date_trunc('hour', point.taken_at, 'UTC') AS hour,
        (point.taken_at AT TIME ZONE site.zone)::date AS day,
        point.state = ANY(%(good)s) AS good, point.state = %(down)s AS down,
        point.state <> %(offline)s AS counts,
        CASE WHEN point.state = ANY(%(good)s) THEN {_number("latency_ms")} END AS latency_ms,
        {_number("visitors")} AS visitors,
        {_number("sales")} AS sales,
        CASE WHEN jsonb_typeof(data->'revenue_minor') = 'object'
            AND (data->'revenue_minor' <> '{{}}' OR jsonb_typeof(data->'sales') = 'number')
            THEN data->'revenue_minor' END AS revenue_minor,
        nullif(data->'metrics', '{{}}') AS metrics
    FROM site JOIN site_snapshots AS point ON point.site_id = site.id
        AND point.taken_at >= coalesce(date_trunc('day', site.since, site.zone), '-infinity')
        AND point.taken_at < coalesce(site.until, 'infinity')
)
"""  # noqa: S608


def _periods(period: str) -> str:
    """What the points of each hour or day come to, their figures apart."""
    bucket = BUCKET_SQL.format(latency_ms="latency_ms::float8")
    return f"""
, counted AS (
    SELECT site_id, {period}, since, count(*) FILTER (WHERE counts) AS attempts,
        count(*) FILTER (WHERE good) AS good, count(*) FILTER (WHERE down) AS down
    FROM point GROUP BY site_id, {period}, since
), latency AS (
    SELECT site_id, {period}, jsonb_object_agg(bucket, number) AS counts
    FROM (
        SELECT site_id, {period}, {bucket} AS bucket, count(*) AS number
        FROM point WHERE latency_ms IS NOT NULL GROUP BY site_id, {period}, bucket
    ) AS bucket GROUP BY site_id, {period}
)
"""  # noqa: S608


def _last(figure: str) -> str:
    return (
        f"(array_agg({figure} ORDER BY taken_at DESC) FILTER (WHERE {figure} IS NOT NULL))[1]"
        f" AS {figure}"
    )


#: The figures of a day are the last that were seen in it.
DAYS = f"""
{POINTS} {_periods("day")}, last AS (
    SELECT site_id, day, {_last("visitors")}, {_last("sales")}, {_last("revenue_minor")},
        {_last("metrics")}
    FROM point GROUP BY site_id, day
)
INSERT INTO site_days AS known (
    site_id, day, attempts, good, down, latency_counts, visitors, sales, revenue_minor, metrics,
    settled
)
SELECT site_id, day, attempts, good, down, coalesce(counts, '{{}}'), visitors, sales, revenue_minor,
    metrics, false
FROM counted JOIN last USING (site_id, day) LEFT JOIN latency USING (site_id, day)
ORDER BY site_id, day
ON CONFLICT (site_id, day) DO UPDATE SET
    attempts = excluded.attempts, good = excluded.good, down = excluded.down,
    latency_counts = excluded.latency_counts,
    visitors = CASE WHEN known.settled THEN known.visitors ELSE excluded.visitors END,
    sales = CASE WHEN known.settled THEN known.sales ELSE excluded.sales END,
    revenue_minor = CASE WHEN known.settled THEN known.revenue_minor
        ELSE excluded.revenue_minor END,
    metrics = CASE WHEN known.settled THEN known.metrics ELSE excluded.metrics END
"""  # noqa: S608

#: The figures of a point count from the beginning of its day, so those of an hour are the sum of the
#: steps between points that lie mostly in it; the first step of a day begins at zero. What falls
#: within a day is a correction: revenue takes it back where it is seen, as a refund; a count, of
#: which no hour can have less than none, goes on from the highest it had reached.
HOURS = f"""
{POINTS} {_periods("hour")}, currency AS (
    SELECT DISTINCT point.site_id, point.day, revenue.currency
    FROM point CROSS JOIN LATERAL (
        SELECT key AS currency FROM jsonb_each(revenue_minor) WHERE jsonb_typeof(value) = 'number'
        UNION ALL SELECT '' -- That revenue is known, also where there was none.
    ) AS revenue WHERE point.revenue_minor IS NOT NULL
), figure AS (
    SELECT site_id, zone, day, taken_at, 'visitors' AS name, '' AS currency, visitors AS value
    FROM point WHERE visitors IS NOT NULL
    UNION ALL
    SELECT site_id, zone, day, taken_at, 'sales', '', sales FROM point WHERE sales IS NOT NULL
    UNION ALL
    SELECT site_id, zone, day, taken_at, 'revenue', currency,
        coalesce((revenue_minor->>currency)::numeric, 0)
    FROM point JOIN currency USING (site_id, day) WHERE revenue_minor IS NOT NULL
), step AS (
    SELECT site_id, name, currency, begins_at, taken_at - begins_at AS length,
        date_trunc('hour', begins_at + (taken_at - begins_at) / 2, 'UTC') AS hour,
        CASE WHEN name = 'revenue' THEN value - last ELSE greatest(value - highest, 0) END AS gain
    FROM (
        SELECT *,
            coalesce(lag(taken_at) OVER earlier, day::timestamp AT TIME ZONE zone) AS begins_at,
            coalesce(lag(value) OVER earlier, 0) AS last,
            coalesce(max(value) OVER (
                earlier ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS highest
        FROM figure
        WINDOW earlier AS (PARTITION BY site_id, day, name, currency ORDER BY taken_at)
    ) AS figure
), gained AS (
    SELECT site_id, hour, name, currency, sum(gain) AS gain
    FROM step WHERE length <= %(longest_step)s
    GROUP BY site_id, hour, name, currency HAVING sum(length) >= %(least_seen)s
), business AS (
    SELECT site_id, hour,
        max(gain) FILTER (WHERE name = 'visitors') AS visitors,
        max(gain) FILTER (WHERE name = 'sales') AS sales,
        CASE WHEN bool_or(name = 'revenue') THEN coalesce(
            jsonb_object_agg(currency, gain) FILTER (WHERE currency <> ''), '{{}}') END AS revenue_minor
    FROM gained GROUP BY site_id, hour
)
INSERT INTO site_hours AS known (
    site_id, begins_at, attempts, good, down, latency_counts, visitors, sales, revenue_minor
)
SELECT site_id, hour, attempts, good, down, coalesce(counts, '{{}}'), visitors, sales, revenue_minor
FROM counted LEFT JOIN latency USING (site_id, hour) LEFT JOIN business USING (site_id, hour)
WHERE hour >= coalesce(since, '-infinity')
ORDER BY site_id, hour
ON CONFLICT (site_id, begins_at) DO UPDATE SET
    attempts = excluded.attempts, good = excluded.good, down = excluded.down,
    latency_counts = excluded.latency_counts, visitors = excluded.visitors,
    sales = excluded.sales, revenue_minor = excluded.revenue_minor
"""  # noqa: S608
