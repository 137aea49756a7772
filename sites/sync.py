"""The sync: fetch the due sites, write what was found, hand on what the time did not suffice for."""

import dataclasses
import json
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from django.db import connection, transaction
from django.utils import timezone

from scheduling.models import JobRun
from scheduling.run import JobResult, Run
from sites.attempts import Attempt
from sites.fetching import Fetcher
from sites.models import SyncLog
from sites.selection import Selection

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Attempts are written together in this number, or after this time, so that a killed process loses
#: little.
CHUNK_SIZE = 500
CHUNK_PERIOD_S = 10.0


def sync(run: Run, selection: Selection) -> JobResult:
    """Sync the selected sites that are due, within the run's time.

    What is not reached in time is named in the continuation and stays due, so that the next call by
    schedule takes it up even when the continuation is lost.
    """
    started_at = timezone.now()
    started = time.monotonic()
    _close_left_open()
    sites = list(selection.due(started_at).defer("last_snapshot").sealed())
    log = SyncLog.objects.create(sites_total=len(sites), run_id=run.id)
    with Fetcher(sites, deadline=run.deadline) as fetcher:
        for chunk in _in_chunks(fetcher):
            write(chunk, log)
            run.report(log.sites_synced + log.sites_failed, log.sites_total)
    log.sites_carried_over = log.sites_total - log.sites_synced - log.sites_failed
    log.status = _status_of(log)
    log.duration = round((time.monotonic() - started) * 1000)
    log.save()
    return _result(
        log, dataclasses.replace(selection, started_at=selection.started_at or started_at)
    )


def write(chunk: list[Attempt], log: SyncLog) -> None:
    """Write attempts and their history, and count them in the log: two statements, however many
    sites.
    """
    log.sites_synced += sum(attempt.is_success for attempt in chunk)
    log.sites_failed += sum(not attempt.is_success for attempt in chunk)
    log.errors |= {attempt.site.name: attempt.reason for attempt in chunk if not attempt.is_success}
    rows = json.dumps([_row(attempt) for attempt in chunk])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(WRITE_ATTEMPTS, [rows, log.pk])
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


def _in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Group what comes in by number and by time."""
    chunk: list[T] = []
    began = time.monotonic()
    for item in items:
        chunk.append(item)
        if len(chunk) >= CHUNK_SIZE or time.monotonic() - began >= CHUNK_PERIOD_S:
            yield chunk
            chunk, began = [], time.monotonic()
    if chunk:
        yield chunk


def _close_left_open() -> None:
    """Close the logs of runs whose process died."""
    dead = SyncLog.objects.filter(status=SyncLog.Status.RUNNING).exclude(
        run__status=JobRun.Status.RUNNING
    )
    dead.update(status=SyncLog.Status.FAILED)


def _status_of(log: SyncLog) -> SyncLog.Status:
    if log.sites_failed == 0:
        return SyncLog.Status.SUCCESS
    return SyncLog.Status.PARTIAL if log.sites_synced else SyncLog.Status.FAILED


def _result(log: SyncLog, selection: Selection) -> JobResult:
    logger.info(
        "Sync %s: %s sites, %s synced, %s failed, %s carried over, %s ms",
        log.pk, log.sites_total, log.sites_synced, log.sites_failed, log.sites_carried_over, log.duration,
    )  # fmt: skip
    counts = {"total": log.sites_total, "success": log.sites_synced, "failed": log.sites_failed}
    if not log.sites_carried_over:
        return JobResult(message="Site data sync completed", counts=counts)
    return JobResult(
        message="Site data sync stopped in time; the rest follows",
        counts={**counts, "carried_over": log.sites_carried_over},
        continuation=selection.to_payload(),
    )
