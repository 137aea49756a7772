"""Keeping what platforms say of past days."""

import json
from collections.abc import Iterable

from django.db import connection

from sites.attempts import Attempt


def keep(attempts: Iterable[Attempt]) -> None:
    """Write the past days that came with these attempts, and which sites' past is done with: one
    statement, however many sites and days. To be called in a transaction.
    """
    rows = [
        {
            "site_id": attempt.site.pk,
            "days": attempt.days,
            "past_asked": attempt.past_fetched is not None,
            "past_due_at": attempt.past_due_at and attempt.past_due_at.isoformat(),
        }
        for attempt in attempts
        if attempt.days != "[]" or attempt.past_fetched is not None
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(KEEP_DAYS, [json.dumps(rows)])


#: A day that the platform has told keeps what was measured of it. Most days are told as before, and
#: then nothing is written.
KEEP_DAYS = """
WITH told AS MATERIALIZED (
    SELECT site.id AS site_id, r.days::jsonb AS days, r.past_asked, r.past_due_at
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        site_id bigint, days text, past_asked boolean, past_due_at timestamptz
    ) JOIN monitored_sites AS site ON site.id = r.site_id
    ORDER BY site.id FOR UPDATE OF site
), past AS (
    UPDATE monitored_sites SET past_due_at = told.past_due_at
    FROM told WHERE monitored_sites.id = told.site_id AND told.past_asked
)
INSERT INTO site_days AS known (
    site_id, day, attempts, good, down, latency_counts, visitors, sales, revenue_minor, metrics,
    settled
)
SELECT told.site_id, day.day, 0, 0, 0, '{}', day.visitors, day.sales,
    nullif(day.revenue_minor, 'null'), nullif(day.metrics, 'null'), true
FROM told CROSS JOIN LATERAL jsonb_to_recordset(told.days) AS day(
    day date, visitors bigint, sales bigint, revenue_minor jsonb, metrics jsonb
)
ORDER BY told.site_id, day.day
ON CONFLICT (site_id, day) DO UPDATE SET
    visitors = excluded.visitors, sales = excluded.sales,
    revenue_minor = excluded.revenue_minor, metrics = excluded.metrics, settled = true
WHERE (known.visitors, known.sales, known.revenue_minor, known.metrics, known.settled)
    IS DISTINCT FROM
    (excluded.visitors, excluded.sales, excluded.revenue_minor, excluded.metrics, true)
"""
