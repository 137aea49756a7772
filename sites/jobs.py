"""The recurring work of this app."""

from collections.abc import Sequence

from scheduling.models import JobRun
from scheduling.registry import job, registry
from scheduling.run import JobResult, Run
from scheduling.sync import publish_payload
from sites.chunks import SYNC_CHUNK
from sites.history.upkeep import keep_up
from sites.selection import Selection
from sites.sync import sync, sync_chunk

SYNC_SITES = "sync-sites"
ROLL_UP_HISTORY = "roll-up-history"


@job(
    SYNC_SITES,
    name="SoloBoard Data Sync",
    description="Sync all monitored sites every 15 minutes.",
    path="cron/sync-sites",
    method="GET",
    cron="*/15 * * * *",
    retry_delay_ms="60000",
    timeout_s=300,
)
def sync_sites(run: Run) -> JobResult:
    return sync(run, Selection.from_payload(run.payload))


@job(
    SYNC_CHUNK,
    name="SoloBoard Sync Chunk",
    description="Sync some of the sites of a large sync, which sends a message for each chunk.",
    path="cron/sync-chunk",
    retry_delay_ms="10000",
    # Short, because a process that is killed holds its sites until its run could have ended; and
    # long enough for the most patient site, whose fetch has less than half of it.
    timeout_s=70,
    concurrent=True,
    # Each takes a thread of a web server, which has visitors too.
    parallelism=4,
)
def sync_one_chunk(run: Run) -> JobResult:
    return sync_chunk(run)


@job(
    ROLL_UP_HISTORY,
    name="History roll-up",
    description="Turn what the syncs found into hours and days, and remove what is old.",
    path="cron/roll-up-history",
    cron="7 * * * *",
    timeout_s=300,
)
def roll_up_history(run: Run) -> JobResult:
    return keep_up(run)


def request_sync(sites: Sequence[str], trigger: JobRun.Trigger, *, caller: str) -> str:
    """Have these sites synced now by way of QStash. Returns the message's id; raises QStashProblem."""
    return publish_payload(registry[SYNC_SITES], trigger, {"sites": list(sites)}, caller=caller)
