"""Writing attempts: the sites, their history and the counts of the log, in one transaction."""

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connection, transaction

from sites import incidents, network
from sites.attempts import Attempt
from sites.history import days
from sites.models import MonitoredSite, SyncLog
from sites.signals import sites_synced


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many sites were written, by what came of them."""

    synced: int = 0
    failed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(synced=self.synced + other.synced, failed=self.failed + other.failed)


def write(chunk: Sequence[Attempt], log: SyncLog) -> Counts:
    """Write attempts, their history and their incidents, and count them in the log: a few
    statements, however many sites.

    Asks known-good hosts, before the transaction, when it looks as if our own network is away. A
    site that was deleted meanwhile, or that another run has claimed since this one's lease ended, is
    left as it is and not counted.
    """
    verdict = network.judge(chunk)
    rows = json.dumps([_row(attempt) for attempt in verdict.attempts])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(WRITE_ATTEMPTS, [rows, log.pk])
        site_ids = [site_id for (site_id,) in cursor.fetchall()]
        days.keep(attempt for attempt in verdict.attempts if attempt.site.pk in set(site_ids))
        incidents.follow(site_ids)
        network.record(verdict)
        counts = _count(verdict.attempts, set(site_ids), log)
        announce = partial(sites_synced.send_robust, MonitoredSite, site_ids=site_ids)
        transaction.on_commit(announce, robust=True)
    return counts


def _count(attempts: Sequence[Attempt], site_ids: Container[int], log: SyncLog) -> Counts:
    """Count what was written in the log: last, because every process that works on it waits for its
    row.
    """
    written = [attempt for attempt in attempts if attempt.site.pk in site_ids]
    failed = [attempt for attempt in written if not attempt.is_success]
    counts = Counts(synced=len(written) - len(failed), failed=len(failed))
    log.count(
        synced=counts.synced,
        failed=counts.failed,
        errors={attempt.site.name: attempt.reason for attempt in failed},
    )
    return counts


#: Django's bulk_update builds a CASE for each column and row, which takes longer than the fetches.
#: The rows are locked in the order of their ids, so that two writers at once cannot deadlock. A
#: failure makes a site wait only if its settings are still those it failed with. An attempt that is
#: neither good nor bad, because it was put off or our own network was away, counts for nothing. The
#: history follows from the update, so a site that was deleted meanwhile gets none.
WRITE_ATTEMPTS = """
WITH attempt AS MATERIALIZED (
    SELECT r.*, r.snapshot_text::jsonb AS snapshot FROM monitored_sites
    JOIN jsonb_to_recordset(%s::jsonb) AS r(
        site_id bigint, claim bigint, settings_of timestamptz, made_at timestamptz, state text,
        reason text, good boolean, not_before timestamptz, snapshot_text text
    ) ON r.site_id = monitored_sites.id
    WHERE monitored_sites.claimed_by IS NOT DISTINCT FROM r.claim
    ORDER BY monitored_sites.id FOR UPDATE OF monitored_sites
), site AS (
    UPDATE monitored_sites SET
        state_since = CASE WHEN monitored_sites.state = attempt.state
            THEN monitored_sites.state_since ELSE attempt.made_at END,
        state = attempt.state,
        state_reason = attempt.reason,
        last_attempt_at = attempt.made_at,
        claimed_by = NULL,
        failures = CASE WHEN attempt.good THEN 0 WHEN NOT attempt.good
            THEN monitored_sites.failures + 1 ELSE monitored_sites.failures END,
        successes = CASE WHEN NOT attempt.good THEN 0 WHEN attempt.good
            THEN monitored_sites.successes + 1 ELSE monitored_sites.successes END,
        streak_since = CASE WHEN attempt.good AND monitored_sites.successes = 0
            OR NOT attempt.good AND monitored_sites.failures = 0 OR monitored_sites.streak_since IS NULL
            THEN attempt.made_at ELSE monitored_sites.streak_since END,
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
RETURNING site_id
"""


def _row(attempt: Attempt) -> dict[str, Any]:
    return {
        "site_id": attempt.site.pk,
        "claim": attempt.site.claimed_by,
        "settings_of": attempt.site.updated_at.isoformat(),
        "made_at": attempt.made_at.isoformat(),
        "state": attempt.state,
        "reason": attempt.reason,
        "good": attempt.is_success if attempt.counts else None,
        "not_before": attempt.not_before and attempt.not_before.isoformat(),
        "snapshot_text": attempt.snapshot,
    }
