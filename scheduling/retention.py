"""How long runs are kept: a job that runs every few seconds would fill any disk."""

import logging
import time
from datetime import timedelta

from django.db import DatabaseError, transaction
from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from scheduling.models import DIED, JobRun

logger = logging.getLogger(__name__)

KEPT_FOR = timedelta(days=30)
#: Of one job. A run every five seconds comes to 17,280 a day, so a whole day can be looked at.
KEPT_PER_JOB = 20_000
#: However old they are, so that a job of every month still shows how it went.
ALWAYS_KEPT = 10
#: What one round removes at the most, because a call is waiting for its answer.
ROUND = 5_000
PERIOD_S = 3600

_next_round = 0.0


def prune_when_due() -> None:
    """Remove old runs, once an hour in each process. Never raises: it comes after a job's own work."""
    global _next_round
    if time.monotonic() < _next_round:
        return
    _next_round = time.monotonic() + PERIOD_S
    try:
        with transaction.atomic():
            abandon_dead()
            prune()
    except DatabaseError as error:
        logger.warning("Old runs were not removed: %s", error)


def abandon_dead() -> int:
    """Close runs whose processes died. The next run of a job does it for its own; one of messages
    that run beside each other has no next one in its place. Returns how many.
    """
    now = timezone.now()
    dead = JobRun.objects.filter(status=JobRun.Status.RUNNING, lease_expires_at__lte=now)
    return dead.update(status=JobRun.Status.ABANDONED, finished_at=now, error=DIED)


def prune() -> int:
    """Remove runs that have ended and are too old or too many. Returns how many."""
    place = Window(RowNumber(), partition_by="job_key", order_by=F("started_at").desc())
    too_many = Q(place__gt=KEPT_PER_JOB)
    too_old = Q(place__gt=ALWAYS_KEPT, started_at__lt=timezone.now() - KEPT_FOR)
    ended = JobRun.objects.exclude(status=JobRun.Status.RUNNING).annotate(place=place).order_by()
    ids = list(ended.filter(too_many | too_old).values_list("pk", flat=True)[:ROUND])
    if ids:
        JobRun.objects.filter(pk__in=ids).delete()
        logger.info("%s old runs removed", len(ids))
    return len(ids)
