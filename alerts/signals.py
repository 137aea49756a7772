"""Looking at the rules as soon as something new is known."""

import logging
from typing import Any

from django.dispatch import receiver

from alerts.jobs import request_evaluation
from alerts.models import AlertRule
from scheduling.qstash import QStashProblem
from sites.signals import sites_synced

logger = logging.getLogger(__name__)


@receiver(sites_synced)
def evaluate_after_sync(sender: Any, **kwargs: Any) -> None:
    if not AlertRule.objects.filter(enabled=True).exists():
        return
    try:
        request_evaluation()
    except QStashProblem as error:
        # Nothing is lost: the job of every five minutes looks by itself.
        logger.warning("QStash was not asked to evaluate the alert rules: %s", error)
