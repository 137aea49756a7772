"""The recurring work of this app, and the sending of single messages."""

import logging
import math
import uuid
from datetime import datetime

from django.utils import timezone

from alerts.delivering import DELIVER_ALERT, DELIVERY_LIMIT_S, deliver, publish_due
from alerts.evaluating import evaluate
from alerts.models import AlertEvent
from scheduling.errors import PayloadRefused
from scheduling.qstash import Message, QStashProblem
from scheduling.registry import job, registry
from scheduling.run import JobResult, Run
from scheduling.sync import publish_messages

logger = logging.getLogger(__name__)

Kind = AlertEvent.Kind

EVALUATE_ALERTS = "evaluate-alerts"
#: Whatever is synced within one slot of so many seconds is evaluated together at its end.
SLOT_S = 5


@job(
    EVALUATE_ALERTS,
    name="Alerts",
    description="Evaluate the alert rules every 5 minutes, and see to messages that are still to be sent.",
    path="cron/evaluate-alerts",
    cron="*/5 * * * *",
    retry_delay_ms="60000",
    timeout_s=120,
)
def evaluate_alerts(run: Run) -> JobResult:
    now = timezone.now()
    found = evaluate(now)
    try:
        published = publish_due(now)
    except QStashProblem as error:
        # The rows are there, and the next evaluation asks again.
        logger.warning("QStash did not take the messages of alerts: %s", error)
        published = 0
    counts = {
        "rules": found.rules,
        "opened": found.events[Kind.OPENED],
        "reminded": found.events[Kind.REMINDED],
        "recovered": found.events[Kind.RECOVERED],
        "messages": found.messages,
        "published": published,
    }
    return JobResult(message="Alert rules evaluated", counts=counts)


@job(
    DELIVER_ALERT,
    name="Alert delivery",
    description="Send one message about alerts.",
    path="alerts/deliver",
    # For a process that died; a channel that failed says itself when to come back.
    retry_delay_ms="10000",
    timeout_s=DELIVERY_LIMIT_S,
    concurrent=True,
)
def deliver_alert(run: Run) -> JobResult:
    try:
        delivery_id = uuid.UUID(run.payload["delivery"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise PayloadRefused('The body must name a delivery: {"delivery": "<its id>"}.') from error
    sent = deliver(delivery_id)
    message = "Message sent" if sent else "There was nothing to send"
    return JobResult(message=message, counts={"sent": int(sent)})


def request_evaluation() -> None:
    """Have the rules evaluated soon, by way of QStash. Raises QStashProblem."""
    publish_messages(registry[EVALUATE_ALERTS], [evaluation_message(timezone.now())])


def evaluation_message(now: datetime) -> Message:
    """Ask for an evaluation at the end of the current slot.

    A sync writes in parts, and each asks: the id of the slot makes one evaluation of those within it,
    and its delay makes that one see them all.
    """
    slot, within_s = divmod(now.timestamp(), SLOT_S)
    return Message(
        payload={},
        deduplication_id=f"{EVALUATE_ALERTS}-{slot:.0f}",
        delay_s=math.ceil(SLOT_S - within_s),
    )
