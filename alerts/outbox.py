"""Which message goes over which channel, and when. Called within the transaction of an evaluation."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from alerts.models import AlertEvent, Channel, Delivery

#: For so long a message is tried, from when it is due.
TRIED_FOR = timedelta(days=2)


def put(events: Sequence[AlertEvent], now: datetime) -> int:
    """Write a message for each event and channel of its rule, of those that its rule was read with.

    Returns how many messages are new.

    Of one channel: more events than its limit become one message, and what falls into its quiet
    hours joins the one message that goes out when they end.
    """
    at_once: dict[Channel, list[AlertEvent]] = defaultdict(list)
    held: dict[tuple[Channel, datetime], list[AlertEvent]] = defaultdict(list)
    for event in events:
        rule = event.alert.rule
        for channel in rule.channels.all():
            quiet = None if rule.ignores_quiet_hours else channel.quiet_hours
            if quiet and (end := quiet.end_after(now)):
                held[channel, end].append(event)
            else:
                at_once[channel].append(event)
    new = [
        _write(channel, part, now, due_at=now)
        for channel, found in at_once.items()
        for part in _parts(found, channel.digest_above)
    ]
    new += [_hold(channel, found, now, end) for (channel, end), found in held.items()]
    return sum(new)


def _parts(events: list[AlertEvent], limit: int) -> list[list[AlertEvent]]:
    return [events] if len(events) > limit else [[event] for event in events]


def _hold(channel: Channel, events: list[AlertEvent], now: datetime, end: datetime) -> bool:
    """Add to the message that waits for the end of the quiet hours. Returns whether it is new."""
    waiting = Delivery.objects.select_for_update().filter(
        channel=channel, status=Delivery.Status.WAITING, attempts=0, due_at=end
    )
    if found := waiting.first():
        found.events.add(*events)
        return False
    return _write(channel, events, now, due_at=end)


def _write(channel: Channel, events: list[AlertEvent], now: datetime, *, due_at: datetime) -> bool:
    delivery = Delivery.objects.create(
        channel=channel, created_at=now, due_at=due_at, give_up_at=due_at + TRIED_FOR
    )
    delivery.events.add(*events)
    return True
