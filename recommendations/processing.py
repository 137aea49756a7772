"""From the queue into the database: claim, COPY, acknowledge.

Exactly once in effect. Nothing leaves the queue before it is committed, and what is committed twice
has the same ids the second time, so the second time changes nothing.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.db import connection, transaction

from recommendations import queue
from recommendations.actions import (
    Action,
    ActionRefused,
    parse,
    read_action,
    rules,
    user_of,
)
from recommendations.forgetting import forget_nobody_meanwhile
from recommendations.models import QuarantinedAction
from scheduling.run import JobResult, Run

logger = logging.getLogger(__name__)

#: Entries in a transaction. Large enough that its fixed costs vanish, small enough to take a second.
BATCH_SIZE = 10_000
#: A batch is not begun with less time than this.
BATCH_S = 2.0

COLUMNS = "action_id, user_id, item_id, action, occurred_at"
STAGE = """
CREATE TEMPORARY TABLE IF NOT EXISTS staged_actions (
    action_id text, user_id text, item_id text, action text, occurred_at timestamptz
) ON COMMIT DELETE ROWS;
-- A transaction around this one has not been committed.
DELETE FROM staged_actions;
"""
COPY = f"COPY staged_actions ({COLUMNS}) FROM STDIN"
# Two transactions with the same actions wait for each other at each of them. In one order for all
# they never do so crosswise.
MERGE = f"""
INSERT INTO user_actions ({COLUMNS})
SELECT {COLUMNS} FROM staged_actions ORDER BY action_id COLLATE "C"
ON CONFLICT (action_id) DO NOTHING
"""  # noqa: S608 - names of our own


@dataclass(kw_only=True)
class Tally:
    """What became of the entries. duplicates: actions that were stored before."""

    processed: int = 0
    duplicates: int = 0
    quarantined: int = 0

    def __bool__(self) -> bool:
        return bool(self.processed or self.duplicates or self.quarantined)


def process(run: Run) -> JobResult:
    """Store what waits in the queue, until nothing does or the time is nearly over."""
    tally = Tally()
    while run.time_left_s > BATCH_S:
        claim = queue.claim()
        if claim is None:
            break
        _work_off(claim, run, tally)
    left = queue.depth()
    if tally:
        logger.info(
            "User actions: %s stored, %s known before, %s quarantined, %s left",
            tally.processed, tally.duplicates, tally.quarantined, left,
        )  # fmt: skip
    return JobResult(
        message="User actions processed",
        counts={
            "processed": tally.processed,
            "duplicates": tally.duplicates,
            "quarantined": tally.quarantined,
            "left": left,
        },
        continuation={} if left and run.time_left_s <= BATCH_S else None,
    )


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """A batch that was read, and what its entries are."""

    batch: queue.Batch
    actions: Sequence[Action]
    quarantined: Sequence[QuarantinedAction]


def _work_off(claim: queue.Claim, run: Run, tally: Tally) -> None:
    """Store the entries of a claim, until it is empty or the time is nearly over."""
    try:
        # While the database stores a batch, which takes longest, the next one is read.
        with ThreadPoolExecutor(max_workers=1) as reader:
            upcoming = reader.submit(lambda: _sort_out(queue.read(claim, BATCH_SIZE)))
            while run.time_left_s > BATCH_S:
                current = upcoming.result()
                batch = current.batch
                if batch.kept:
                    upcoming = reader.submit(_sort_out_after, batch)
                _store_batch(current, tally)
                queue.acknowledge(batch)
                if not batch.kept:
                    return
    except BaseException:
        # Whoever comes next need not wait for the lease to end.
        queue.release(claim)
        raise
    queue.release(claim)


def _sort_out_after(batch: queue.Batch) -> Sorted:
    return _sort_out(queue.read_after(batch, BATCH_SIZE))


def _sort_out(batch: queue.Batch) -> Sorted:
    """Read the entries; those that are no actions come with the reason."""
    actions, quarantined, current = [], [], rules()
    for entry_id, raw in batch.numbered():
        entry = None
        try:
            entry = parse(raw)
            actions.append(read_action(entry, current, spare_id=entry_id))
        except ActionRefused as refusal:
            if raw != queue.FORGOTTEN:
                quarantined.append(
                    QuarantinedAction(
                        entry_id=entry_id, user_id=user_of(entry), raw=raw, reason=str(refusal)
                    )
                )
    return Sorted(batch=batch, actions=actions, quarantined=quarantined)


def _store_batch(current: Sorted, tally: Tally) -> None:
    with transaction.atomic():
        forget_nobody_meanwhile()
        if not queue.is_current(current.batch):
            # Somebody was forgotten since it was read.
            current = _sort_out(queue.read_again(current.batch))
        stored = _store(current.actions)
        QuarantinedAction.objects.bulk_create(
            current.quarantined, batch_size=1_000, ignore_conflicts=True
        )
    tally.processed += stored
    tally.duplicates += len(current.actions) - stored
    tally.quarantined += len(current.quarantined)


def _store(actions: Sequence[Action]) -> int:
    """Insert those that are not there yet. Returns how many those were."""
    if not actions:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(STAGE)
        with cursor.copy(COPY) as copy:
            for action in actions:
                copy.write_row(action)
        cursor.execute(MERGE)
        return int(cursor.rowcount)
