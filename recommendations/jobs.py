"""The recurring work of this app."""

from recommendations import cold_start, evaluating, learning, warming
from recommendations.processing import process
from scheduling.registry import job
from scheduling.run import JobResult, Run

PROCESS_USER_ACTIONS = "process-user-actions"
PROCESS_USER_EMBEDDINGS = "process-user-embeddings"
EVALUATE_RECOMMENDATIONS = "evaluate-recommendations"
WARM_RECOMMENDATIONS = "warm-recommendations"
REFRESH_COLD_START = "refresh-cold-start"
BATCH_PROCESS = "actions/batch-process"


@job(
    PROCESS_USER_ACTIONS,
    name="User action processing",
    description="Store what users did, from the queue.",
    path=BATCH_PROCESS,
    body={"action": "process_user_actions"},
    cron="*/5 * * * * *",
    # Short, because the next call comes at once, and because a run whose process died stands in the
    # way of the next until its time is over.
    timeout_s=60,
)
def process_user_actions(run: Run) -> JobResult:
    return process(run)


@job(
    PROCESS_USER_EMBEDDINGS,
    name="User embedding update",
    description="Learn from what users did: vectors every 2 hours, new factors when enough has changed.",
    path=BATCH_PROCESS,
    body={"action": "process_user_embeddings"},
    cron="0 */2 * * *",
    timeout_s=300,
)
def process_user_embeddings(run: Run) -> JobResult:
    return learning.process_user_embeddings(run)


@job(
    EVALUATE_RECOMMENDATIONS,
    name="Evaluation of recommendations",
    description="Replay the stored history every night, against what is trending and popular.",
    path="recommend/evaluate",
    cron="30 3 * * *",
    timeout_s=300,
)
def evaluate_recommendations(run: Run) -> JobResult:
    return evaluating.evaluate(run)


@job(
    WARM_RECOMMENDATIONS,
    name="Recommendation cache warming",
    description="Make the lists of active users every hour, before they are asked for.",
    path="recommend/cache/warm",
    cron="0 * * * *",
)
def warm_recommendations(run: Run) -> JobResult:
    return warming.warm(run)


@job(
    REFRESH_COLD_START,
    name="Cold-start refresh",
    description="Find out every 6 hours what is popular and what is trending, topics too.",
    path="recommend/cold-start/refresh",
    cron="0 */6 * * *",
)
def refresh_cold_start(run: Run) -> JobResult:
    return cold_start.refresh(run)
