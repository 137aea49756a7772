"""The recurring work of a demonstration; an installation in earnest has none of it."""

from django.conf import settings
from django.utils import timezone

from recommendations import queue
from recommendations.models import ContentItem
from scheduling.registry import job
from scheduling.run import JobResult, Run
from soloboard.demo_readers import PREFIX, visits

READERS_A_MINUTE = 5


def simulate_readers(run: Run) -> JobResult:
    """Have made-up readers read, as long as the made-up magazine is there."""
    shown = ContentItem.objects.filter(external_id__startswith=PREFIX).listable()
    items = list(shown.values_list("external_id", flat=True))
    actions = visits(items, timezone.now(), READERS_A_MINUTE) if items else []
    if actions:
        queue.push(actions)
    return JobResult(message="Demo readers have read", counts={"actions": len(actions)})


if settings.SOLOBOARD_DEMO:
    job(
        "demo-readers",
        name="Demo readers",
        description="Made-up readers of the demo magazine. Disable this job to be rid of them.",
        path="demo/readers",
        cron="* * * * *",
        retries=0,
    )(simulate_readers)
