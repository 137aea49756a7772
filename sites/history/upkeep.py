"""The hourly work: rolling up, and removing what is old."""

import logging
from collections.abc import Iterator

from django.utils import timezone

from scheduling.errors import PayloadRefused
from scheduling.run import JobResult, Run
from sites.history.retention import prune, prune_sync_logs
from sites.history.rollup import behind, roll_up
from sites.models import MonitoredSite

logger = logging.getLogger(__name__)

#: Sites that are taken together.
ROUND = 500
#: No round is begun when less time is left.
TIME_FOR_A_ROUND_S = 60.0


def keep_up(run: Run) -> JobResult:
    """Roll up every site's points, then remove what is old.

    What the time does not suffice for follows with a further message: {"after": the last site}.
    """
    after = _after(run.payload)
    rolled_up = removed = 0
    total = MonitoredSite.objects.filter(pk__gt=after).count()
    for site_ids in _rounds(after):
        if run.time_left_s < TIME_FOR_A_ROUND_S:
            return _result(rolled_up, removed, after=after)
        _roll_up(site_ids, run)
        removed += prune(site_ids, timezone.now())
        rolled_up += len(site_ids)
        after = site_ids[-1]
        run.report(rolled_up, total)
    removed += prune_sync_logs(timezone.now())
    return _result(rolled_up, removed)


def _roll_up(site_ids: list[int], run: Run) -> None:
    """Roll up a round, also a history longer than one goes; what is left then is for the next run."""
    roll_up(site_ids)
    while (left := behind(site_ids)) and run.time_left_s >= TIME_FOR_A_ROUND_S:
        roll_up(left)


def _rounds(after: int) -> Iterator[list[int]]:
    while site_ids := list(
        MonitoredSite.objects.filter(pk__gt=after)
        .order_by("pk")
        .values_list("pk", flat=True)[:ROUND]
    ):
        yield site_ids
        after = site_ids[-1]


def _after(payload: object) -> int:
    after = payload.get("after", 0) if isinstance(payload, dict) else 0
    if not isinstance(after, int) or isinstance(after, bool):
        raise PayloadRefused("'after' must be the id of a site.")
    return after


def _result(rolled_up: int, removed: int, *, after: int | None = None) -> JobResult:
    logger.info("History: %s sites rolled up, %s old rows removed", rolled_up, removed)
    counts = {"sites": rolled_up, "removed": removed}
    if after is None:
        return JobResult(message="History rolled up", counts=counts)
    return JobResult(
        message="History rolled up in part; the rest follows",
        counts=counts,
        continuation={"after": after},
    )
