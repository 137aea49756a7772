"""The recurring work of this app."""

from recommendations import cold_start, warming
from scheduling.registry import job
from scheduling.run import JobResult, Run

WARM_RECOMMENDATIONS = "warm-recommendations"
REFRESH_COLD_START = "refresh-cold-start"


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
