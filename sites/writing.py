"""Writing attempts: the sites, their history and the counts of the log, in one transaction."""

import json
from typing import Any

from django.db import connection, transaction

from sites.attempts import Attempt
from sites.history import days
from sites.models import SyncLog


def write(chunk: list[Attempt], log: SyncLog) -> None:
    """Write attempts and their history, and count them in the log: three statements, however
    many sites.
    """
    log.sites_synced += sum(attempt.is_success for attempt in chunk)
    log.sites_failed += sum(not attempt.is_success for attempt in chunk)
    log.errors |= {attempt.site.name: attempt.reason for attempt in chunk if not attempt.is_success}
    rows = json.dumps([_row(attempt) for attempt in chunk])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(WRITE_ATTEMPTS, [rows, log.pk])
        days.keep(chunk)
        log.save(update_fields=["sites_synced", "sites_failed", "errors"])


#: Django's bulk_update builds a CASE for each column and row, which takes longer than the fetches.
#: The rows are locked in the order of their ids, so that two writers at once cannot deadlock. A
#: failure makes a site wait only if its settings are still those it failed with. The history follows
#: from the update, so a site that was deleted meanwhile gets none.
WRITE_ATTEMPTS = """
WITH attempt AS MATERIALIZED (
    SELECT r.*, r.snapshot_text::jsonb AS snapshot FROM monitored_sites
    JOIN jsonb_to_recordset(%s::jsonb) AS r(
        site_id bigint, settings_of timestamptz, made_at timestamptz, state text, reason text,
        failures integer, not_before timestamptz, snapshot_text text
    ) ON r.site_id = monitored_sites.id
    ORDER BY monitored_sites.id FOR UPDATE OF monitored_sites
), site AS (
    UPDATE monitored_sites SET
        state_since = CASE WHEN monitored_sites.state = attempt.state
            THEN monitored_sites.state_since ELSE attempt.made_at END,
        state = attempt.state,
        state_reason = attempt.reason,
        last_attempt_at = attempt.made_at,
        failures = attempt.failures,
        not_before = CASE WHEN monitored_sites.updated_at = attempt.settings_of
            THEN attempt.not_before END,
        last_sync_at = CASE WHEN attempt.snapshot IS NULL
            THEN monitored_sites.last_sync_at ELSE attempt.made_at END,
        last_snapshot = COALESCE(attempt.snapshot, monitored_sites.last_snapshot)
    FROM attempt WHERE monitored_sites.id = attempt.site_id
    RETURNING monitored_sites.id
)
INSERT INTO site_snapshots (site_id, sync_log_id, taken_at, state, reason, data)
SELECT attempt.site_id, %s, attempt.made_at, attempt.state, attempt.reason, attempt.snapshot
FROM attempt JOIN site ON site.id = attempt.site_id
"""


def _row(attempt: Attempt) -> dict[str, Any]:
    return {
        "site_id": attempt.site.pk,
        "settings_of": attempt.site.updated_at.isoformat(),
        "made_at": attempt.made_at.isoformat(),
        "state": attempt.state,
        "reason": attempt.reason,
        "failures": attempt.failures,
        "not_before": attempt.not_before and attempt.not_before.isoformat(),
        "snapshot_text": attempt.snapshot,
    }
