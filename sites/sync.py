"""The sync: fetch the due sites, write what was found, hand on what the time did not suffice for."""

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from django.utils import timezone

from scheduling.models import JobRun
from scheduling.run import JobResult, Run
from sites.fetching import Fetcher
from sites.models import SyncLog
from sites.selection import Selection
from sites.writing import write

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
