"""An evaluation: what all rules say now, the alerts that follow, and the messages to be sent."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Prefetch, Q

from alerts import outbox
from alerts.firing import Step, Track, step
from alerts.judging import judge
from alerts.models import Alert, AlertEvent, AlertRule, Channel
from alerts.rules import RULES
from alerts.rules.base import Target, Verdict

logger = logging.getLogger(__name__)

Kind = AlertEvent.Kind

KIND_OF_STEP = {Step.OPEN: Kind.OPENED, Step.REMIND: Kind.REMINDED, Step.CLOSE: Kind.RECOVERED}
NO_LONGER_WATCHED = "The site or the rule was disabled."


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of one: how many rules were looked at, and how many events of each kind followed."""

    rules: int
    events: Mapping[Kind, int]
    messages: int


def evaluate(now: datetime) -> Evaluation:
    """Judge by all enabled rules, and write what follows: alerts, their events and the messages about
    them in one transaction, so that no alert is without its messages.

    Reading comes before, with no transaction open.
    """
    channels = Prefetch("channels", Channel.objects.filter(enabled=True))
    rules = _readable(AlertRule.objects.filter(enabled=True).prefetch_related(channels))
    verdicts = [(rule, judge(rule, now)) for rule in rules]
    with transaction.atomic():
        events = [event for rule, said in verdicts for event in _apply(rule, said, now)]
        dropped = _drop_unwatched(now)
        messages = outbox.put([event for event in events if _is_told(event)], now)
    return Evaluation(
        rules=len(rules),
        events={kind: sum(event.kind == kind for event in [*events, *dropped]) for kind in Kind},
        messages=messages,
    )


def _readable(rules: Iterable[AlertRule]) -> list[AlertRule]:
    """Leave out rules whose code has gone; they are shown in the admin, and cost no other rule."""
    found = list(rules)
    for rule in found:
        if rule.kind not in RULES:
            logger.warning("Alert rule %s: there is no kind %r any more", rule.pk, rule.kind)
    return [rule for rule in found if rule.kind in RULES]


def _apply(rule: AlertRule, verdicts: Mapping[Target, Verdict], now: datetime) -> list[AlertEvent]:
    """Open, remind and close; six statements at the most, however many targets."""
    open_alerts = {_target(it): it for it in rule.alerts.filter(closed_at=None)}
    tracks = _tracks(rule, now)
    events = []
    for target, verdict in verdicts.items():
        taken = step(tracks.get(target, Track()), verdict, now, rule.policy)
        if taken is None:
            continue
        alert = open_alerts.get(target) or _new_alert(rule, target, verdict, now)
        alert.told_at = now
        alert.closed_at = now if taken is Step.CLOSE else None
        events.append(
            AlertEvent(alert=alert, kind=KIND_OF_STEP[taken], at=now, reason=verdict.reason)
        )
    gone = [alert for target, alert in open_alerts.items() if target not in verdicts]
    return _write(events) + _drop(gone, now)


def _tracks(rule: AlertRule, now: datetime) -> dict[Target, Track]:
    """What has happened of late: with open alerts, and with those that are still cooling down."""
    recent = Q(closed_at=None) | Q(opened_at__gt=now - rule.policy.cooldown)
    return {
        _target(alert): Track(
            is_open=alert.closed_at is None, opened_at=alert.opened_at, told_at=alert.told_at
        )
        for alert in rule.alerts.filter(recent).order_by("opened_at", "pk")
    }


def _target(alert: Alert) -> Target:
    return Target(site_id=alert.site_id, subject=alert.subject)


def _new_alert(rule: AlertRule, target: Target, verdict: Verdict, now: datetime) -> Alert:
    return Alert(
        rule=rule,
        site_id=target.site_id,
        subject=target.subject,
        reason=verdict.reason,
        opened_at=now,
    )


def _write(events: list[AlertEvent]) -> list[AlertEvent]:
    alerts = [event.alert for event in events]
    Alert.objects.bulk_create([alert for alert in alerts if alert.pk is None])
    known = [event.alert for event in events if event.kind != Kind.OPENED]
    Alert.objects.bulk_update(known, ["told_at", "closed_at"])
    return AlertEvent.objects.bulk_create(events)


def _drop_unwatched(now: datetime) -> list[AlertEvent]:
    """End the alerts of rules that are not evaluated any more."""
    return _drop(list(Alert.objects.filter(closed_at=None, rule__enabled=False)), now)


def _drop(alerts: list[Alert], now: datetime) -> list[AlertEvent]:
    """End alerts that nothing is known about any more; nobody is told that all is well."""
    Alert.objects.filter(pk__in=[alert.pk for alert in alerts]).update(closed_at=now)
    return AlertEvent.objects.bulk_create(
        AlertEvent(alert=alert, kind=Kind.DROPPED, at=now, reason=NO_LONGER_WATCHED)
        for alert in alerts
    )


def _is_told(event: AlertEvent) -> bool:
    if event.kind == Kind.DROPPED:
        return False
    return event.kind != Kind.RECOVERED or event.alert.rule.tells_recovery
