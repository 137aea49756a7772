"""The recurring work of this app."""

from recommendations.processing import process
from scheduling.registry import job
from scheduling.run import JobResult, Run

PROCESS_USER_ACTIONS = "process-user-actions"
BATCH_PROCESS = "actions/batch-process"
PROCESS_USER_ACTIONS_CRON = "* * * * *"


@job(
    PROCESS_USER_ACTIONS,
    name="User action processing",
    description="Store what users did, from the queue.",
    path=BATCH_PROCESS,
    body={"action": "process_user_actions"},
    cron=PROCESS_USER_ACTIONS_CRON,
    # Short, because the next call comes at once, and because a run whose process died stands in the
    # way of the next until its time is over.
    timeout_s=60,
)
def process_user_actions(run: Run) -> JobResult:
    return process(run)
