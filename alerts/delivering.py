"""Sending what is in the outbox: claim a row, send, write what came of it.

The claim is committed before anything is sent, and the outcome after the receiver has said that it has
the message. A process that dies in between leaves a row whose message may have arrived or not. It is
sent again, once the lease has ended: an alert that nobody gets is worse than one that comes twice. The
second has the id of the first (Message-ID, Idempotency-Key), so that a receiver can drop it, and says
that it may be a repetition.
"""

import logging
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from alerts.channels.base import ChannelError
from alerts.channels.base import Message as AlertMessage
from alerts.composing import compose, compose_test
from alerts.models import Channel, Delivery
from alerts.outbox import TRIED_FOR
from encryption.keyring import DecryptionFailed
from scheduling.errors import RetryLater
from scheduling.qstash import Message
from scheduling.registry import registry
from scheduling.runner import LEASE_GRACE_S
from scheduling.sync import publish_messages

logger = logging.getLogger(__name__)

Status = Delivery.Status

DELIVER_ALERT = "deliver-alert"
#: Longer than any channel takes: a mail server may take ten seconds for each of its answers.
DELIVERY_LIMIT_S = 120
#: As long as the lease of the run, so that a process that died holds up its message only once.
LEASE = timedelta(seconds=DELIVERY_LIMIT_S + LEASE_GRACE_S)
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)
#: A service may ask for patience, but not until the alert is of no use.
LONGEST_ASKED_WAIT_S = 6 * 3600.0
#: Of one call of QStash.
PUBLISHED_AT_ONCE = 100
DIED = "The process that sent it died, and the time for trying is over; it may have arrived."
DISABLED = "The channel is disabled."


def publish_due(now: datetime) -> int:
    """Have QStash call for each message that is due and not under way. Returns how many it did not
    have yet; raises QStashProblem.

    Repeating it is safe: QStash knows an attempt by its number, and the claim lets one call send.
    """
    left_behind = Delivery.objects.due(now).filter(status=Status.SENDING, give_up_at__lte=now)
    left_behind.update(status=Status.FAILED, error=DIED)
    due = Delivery.objects.due(now).order_by("due_at", "pk").only("pk", "attempts")
    messages = [
        Message(
            payload={"delivery": str(delivery.pk)},
            deduplication_id=f"alert-{delivery.pk}-{delivery.attempts}",
        )
        for delivery in due[:PUBLISHED_AT_ONCE]
    ]
    return publish_messages(registry[DELIVER_ALERT], messages) if messages else 0


def deliver(delivery_id: uuid.UUID) -> bool:
    """Send a message if it is due and nobody else has it. Returns whether it was sent now.

    Raises RetryLater when the channel failed, and while another process may be at it.
    """
    now = timezone.now()
    delivery = _read(delivery_id)
    if delivery is None or delivery.status in (Status.SENT, Status.FAILED):
        return False
    may_be_repetition = delivery.status == Status.SENDING
    if may_be_repetition and delivery.lease_expires_at and now < delivery.lease_expires_at:
        left = delivery.lease_expires_at - now
        raise RetryLater("Another process is sending it.", retry_after_s=_whole_s(left))
    if not _claim(delivery, now):
        return False
    if not delivery.events.exists():
        delivery.delete()  # The site that it was about has been deleted meanwhile.
        return False
    if not delivery.channel.enabled:
        _close(delivery, status=Status.FAILED, error=DISABLED)
        return False
    try:
        send_over(delivery.channel, compose(delivery, may_be_repetition=may_be_repetition))
    except ChannelError as error:
        return _fail(delivery, error)
    _close(delivery, status=Status.SENT, sent_at=timezone.now(), error="")
    logger.info("Alert delivery %s sent over channel %s", delivery.pk, delivery.channel_id)
    return True


def send_test(channel: Channel) -> None:
    """Send a test over a channel, now. Raises ChannelError."""
    send_over(channel, compose_test(channel))


def send_again(delivery: Delivery, now: datetime) -> bool:
    """Put a failed message back into the outbox. Returns whether it had failed."""
    failed = Delivery.objects.filter(pk=delivery.pk, status=Status.FAILED)
    fields = {"status": Status.WAITING, "due_at": now, "give_up_at": now + TRIED_FOR}
    return failed.update(**fields) == 1


def backoff(attempts: int) -> timedelta:
    """The wait after so many attempts, at least one: it doubles from a minute up to an hour."""
    return min(FIRST_WAIT * 2.0 ** min(attempts - 1, 20), LONGEST_WAIT)


def send_over(channel: Channel, message: AlertMessage) -> None:
    """Send a message over a channel. Raises ChannelError."""
    try:
        sender, secrets = channel.sender, channel.open_secrets()
    except KeyError as error:
        raise ChannelError(f"There is no channel of the kind {channel.kind!r} any more.") from error
    except DecryptionFailed as error:
        raise ChannelError(str(error)) from error
    if sender.required - set(secrets):
        raise ChannelError("A secret of the channel is missing; enter it again.")
    sender.send(message, sender.options(channel.options), secrets)


def _read(delivery_id: uuid.UUID) -> Delivery | None:
    deliveries = Delivery.objects.select_related("channel").defer("channel__secrets")
    return deliveries.filter(pk=delivery_id).first()


def _claim(delivery: Delivery, now: datetime) -> bool:
    """Take the message, if its row is still as it was read. Committed at once: no transaction is open."""
    as_read = Delivery.objects.due(now).filter(
        pk=delivery.pk, status=delivery.status, attempts=delivery.attempts
    )
    delivery.attempts += 1
    fields = {"attempts": delivery.attempts, "lease_expires_at": now + LEASE}
    return as_read.update(status=Status.SENDING, **fields) == 1


def _fail(delivery: Delivery, error: ChannelError) -> bool:
    """Write what went wrong, and try again later, unless that has gone on for long enough."""
    now = timezone.now()
    logger.warning("Alert delivery %s, attempt %s: %s", delivery.pk, delivery.attempts, error)
    if now >= delivery.give_up_at:
        _close(delivery, status=Status.FAILED, error=str(error))
        return False
    asked_s = min(error.retry_after_s or 0.0, LONGEST_ASKED_WAIT_S)
    wait = max(backoff(delivery.attempts), timedelta(seconds=asked_s))
    _close(delivery, status=Status.WAITING, due_at=now + wait, error=str(error))
    raise RetryLater(str(error), retry_after_s=_whole_s(wait)) from error


def _close(delivery: Delivery, **fields: Any) -> None:
    """Write the outcome of this attempt, unless its lease ended and another process took it up."""
    mine = Delivery.objects.filter(
        pk=delivery.pk, status=Status.SENDING, attempts=delivery.attempts
    )
    if not mine.update(lease_expires_at=None, **fields):
        logger.warning("Alert delivery %s lost its lease before it ended", delivery.pk)


def _whole_s(wait: timedelta) -> int:
    return int(wait.total_seconds()) + 1
