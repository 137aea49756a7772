"""The recurring work of this app."""

from recommendations import evaluating, learning
from scheduling.registry import job
from scheduling.run import JobResult, Run

PROCESS_USER_EMBEDDINGS = "process-user-embeddings"
EVALUATE_RECOMMENDATIONS = "evaluate-recommendations"


@job(
    PROCESS_USER_EMBEDDINGS,
    name="User embedding update",
    description="Learn from what users did: vectors every 2 hours, new factors when enough has changed.",
    path="actions/batch-process",
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
