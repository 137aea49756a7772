"""The sync: fetch the due sites, write what was found, hand on what is too much for one call."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from django.utils import timezone

from scheduling.errors import RetryLater
from scheduling.run import JobResult, Run
from sites import chunks
from sites.claims import claim
from sites.fetching import Fetcher
from sites.incidents import close_unwatched
from sites.models import MonitoredSite, SyncChunk, SyncLog
from sites.selection import Selection
from sites.writing import Counts, write

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Attempts are written together in this number, or after this time, so that a killed process loses
#: little.
WRITTEN_AT_ONCE = 500
WRITE_PERIOD_S = 10.0
#: When sites of a chunk are being fetched by another run, its message comes again after this time.
OTHERS_WORK_S = 60


@dataclass(frozen=True, kw_only=True)
class Work:
    """What came of sites that were to be fetched. unreached: how many the time did not suffice for."""

    counts: Counts
    unreached: int


def sync(run: Run, selection: Selection) -> JobResult:
    """Sync the selected sites that are due: here, within the run's time, or as messages for each
    chunk of them when they are many.

    What is not reached in time is named in the continuation and stays due, so that the next call by
    schedule takes it up even when the continuation is lost. The same goes for a lost message.
    """
    started_at = timezone.now()
    SyncLog.close_left_open(started_at)
    close_unwatched()
    due = list(selection.due(started_at).values_list("pk", flat=True))
    left: Sequence[SyncChunk] = []
    if len(due) > chunks.CHUNK_SIZE and not run.in_process:
        log = SyncLog.open(run.id, sites=len(due), started_at=started_at)
        left = chunks.hand_out(log, due)
        due = [site_id for chunk in left for site_id in chunk.site_ids]
        sites = claim(due, run.id, attempted_before=started_at)
        handed_on = log.sites_total - len(due)
    else:
        sites = claim(due, run.id, attempted_before=started_at)
        log = SyncLog.open(run.id, sites=len(sites), started_at=started_at)
        handed_on = 0
    work = _work_off(sites, log, run)
    log.finish(left)
    rest = replace(selection, started_at=selection.started_at or started_at)
    return _result(log, work, handed_on, rest)


def sync_chunk(run: Run) -> JobResult:
    """Sync what is left of one chunk, and with the last one close the log.

    Nothing is left of it when the message comes a second time, or after a later sync has taken its
    sites up.
    """
    chunk = chunks.find_chunk(run.payload)
    if chunk is None:
        return JobResult(message="Nothing is left of this chunk", counts=_counts(0, Counts()))
    log = chunk.log
    sites = claim(chunk.site_ids, run.id, attempted_before=log.created_at)
    work = _work_off(sites, log, run)
    counts = _counts(len(sites), work.counts)
    if work.unreached:
        return JobResult(
            message="Chunk stopped in time; the rest follows",
            counts={**counts, "carried_over": work.unreached},
            continuation=run.payload,
        )
    chunk_sites = MonitoredSite.objects.numbered(chunk.site_ids)
    if chunk_sites.not_attempted_since(log.created_at).exists():
        raise RetryLater("Another run is syncing sites of this chunk.", retry_after_s=OTHERS_WORK_S)
    log.finish([chunk])
    return JobResult(message="Chunk synced", counts=counts)


def _work_off(sites: Sequence[MonitoredSite], log: SyncLog, run: Run) -> Work:
    counts, attempted = Counts(), 0
    with Fetcher(sites, deadline=run.deadline) as fetcher:
        for attempts in _in_groups(fetcher):
            counts += write(attempts, log)
            attempted += len(attempts)
            run.report(attempted, len(sites))
    return Work(counts=counts, unreached=len(sites) - attempted)


def _in_groups(items: Iterable[T]) -> Iterator[list[T]]:
    """Group what comes in by number and by time."""
    group: list[T] = []
    began = time.monotonic()
    for item in items:
        group.append(item)
        if len(group) >= WRITTEN_AT_ONCE or time.monotonic() - began >= WRITE_PERIOD_S:
            yield group
            group, began = [], time.monotonic()
    if group:
        yield group


def _result(log: SyncLog, work: Work, handed_on: int, rest: Selection) -> JobResult:
    counts = _counts(log.sites_total, work.counts)
    logger.info(
        "Sync %s: %s, %s handed on, %s carried over", log.pk, counts, handed_on, work.unreached
    )
    if handed_on:
        counts["handed_on"] = handed_on
    if work.unreached:
        return JobResult(
            message="Site data sync stopped in time; the rest follows",
            counts={**counts, "carried_over": work.unreached},
            continuation=rest.to_payload(),
        )
    done = "handed on in chunks" if handed_on else "completed"
    return JobResult(message=f"Site data sync {done}", counts=counts)


def _counts(total: int, counts: Counts) -> dict[str, int]:
    return {"total": total, "success": counts.synced, "failed": counts.failed}
