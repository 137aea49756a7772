"""The words of a message."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Prefetch
from django.urls import reverse

from alerts.channels.base import Message
from alerts.models import Alert, AlertEvent, Channel, Delivery
from alerts.rules.base import in_words

Kind = AlertEvent.Kind

WORDS = {Kind.OPENED: "ALERT", Kind.REMINDED: "STILL", Kind.RECOVERED: "OK"}
REPETITION = "(This may be a repetition: whether the first attempt arrived is not known. It has the same id.)"
#: A digest lists so many, and counts the rest.
LISTED = 50
TEST_TITLE = "SoloBoard: a test of this channel"


def compose(delivery: Delivery, *, may_be_repetition: bool = False) -> Message:
    """The message of a delivery with its events. The same events give the same words."""
    alerts = Prefetch("alert", Alert.objects.with_names())
    events = list(delivery.events.prefetch_related(alerts))
    zone = ZoneInfo(delivery.channel.timezone)
    if len(events) == 1:
        title = _headline(events[0])
        lines = [title, *_details(events[0], zone)]
    else:
        title = _digest_title(events)
        lines = [title, "", *_listed(events, zone)]
    if may_be_repetition:
        lines += ["", REPETITION]
    return Message(
        id=str(delivery.pk),
        title=title,
        text="\n".join(lines),
        url=_url(events),
        events=[_as_json(event) for event in events],
    )


def compose_test(channel: Channel) -> Message:
    """What 'Send a test' sends; each has an id of its own."""
    text = f"{TEST_TITLE}\nIf you can read this, alerts over “{channel}” arrive."
    return Message(id=str(uuid.uuid4()), title=TEST_TITLE, text=text, url=settings.APP_URL)


def _headline(event: AlertEvent) -> str:
    return f"{WORDS[Kind(event.kind)]}: {event.alert.about}: {event.alert.rule}"


def _details(event: AlertEvent, zone: ZoneInfo) -> list[str]:
    lines = [event.reason, f"{_clock(event.at, zone)}"]
    if event.kind != Kind.OPENED:
        began, lasted = event.alert.opened_at, in_words(event.at - event.alert.opened_at)
        lines[1] += f", after {lasted} (since {_clock(began, zone)})"
    return lines


def _digest_title(events: Sequence[AlertEvent]) -> str:
    counts = [
        f"{count} {words}"
        for kind, words in (
            (Kind.OPENED, "new"),
            (Kind.REMINDED, "going on"),
            (Kind.RECOVERED, "over"),
        )
        if (count := sum(event.kind == kind for event in events))
    ]
    return f"{len(events)} alerts: {', '.join(counts)}"


def _listed(events: Sequence[AlertEvent], zone: ZoneInfo) -> list[str]:
    lines = [
        f"{_clock(event.at, zone)} {_headline(event)}. {event.reason}".strip()
        for event in events[:LISTED]
    ]
    return lines + ([f"… and {len(events) - LISTED} more."] if len(events) > LISTED else [])


def _clock(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%a %d %b %H:%M %Z}"


def _url(events: Sequence[AlertEvent]) -> str:
    page = (
        reverse("admin:alerts_alert_change", args=[events[0].alert_id])
        if len(events) == 1
        else reverse("admin:alerts_alert_changelist")
    )
    return settings.APP_URL + page


def _as_json(event: AlertEvent) -> dict[str, Any]:
    alert = event.alert
    return {
        "id": event.pk,
        "event": event.kind,
        "alert_id": alert.pk,
        "rule": str(alert.rule),
        "kind": alert.rule.kind,
        "site": str(alert.site) if alert.site else None,
        "subject": alert.subject,
        "reason": event.reason,
        "at": event.at.isoformat(),
        "opened_at": alert.opened_at.isoformat(),
        "closed_at": alert.closed_at and alert.closed_at.isoformat(),
    }
