"""What follows from verdicts: alerts, their timelines, and the messages in the outbox."""

from datetime import UTC, datetime, time, timedelta

import pytest
from django.db import IntegrityError, transaction
from pytest_django import DjangoAssertNumQueries

from alerts.evaluating import evaluate
from alerts.models import Alert, AlertEvent, AlertRule, Channel, Delivery
from sites.models import Incident, MonitoredSite
from tests.alerts.conftest import NOW, AddChannel, AddPoint, AddRule, AddSite

MINUTE = timedelta(minutes=1)


def timeline(alert: Alert) -> list[str]:
    return [event.kind for event in alert.events.all()]


def told() -> list[list[str]]:
    """Of each message, oldest first, the kinds of its events."""
    return [
        [event.kind for event in delivery.events.order_by("pk")]
        for delivery in Delivery.objects.order_by("created_at", "pk")
    ]


@pytest.fixture
def shop(add_site: AddSite) -> MonitoredSite:
    return add_site("shop")


def test_an_alert_opens_is_reminded_of_and_recovers(
    shop: MonitoredSite, add_rule: AddRule, add_channel: AddChannel, add_point: AddPoint
) -> None:
    add_rule("Down", add_channel(), remind_minutes=20, options={"minutes": 10})
    add_point(shop, NOW, "down", reason="no answer")
    evaluate(NOW)
    assert not Alert.objects.exists()
    for minutes in (10, 20, 29):
        evaluate(NOW + minutes * MINUTE)
    add_point(shop, NOW + 29 * MINUTE, "down")
    evaluate(NOW + 30 * MINUTE)
    add_point(shop, NOW + 35 * MINUTE, "up")
    evaluate(NOW + 35 * MINUTE)
    evaluate(NOW + 36 * MINUTE)

    alert = Alert.objects.get()
    assert timeline(alert) == ["opened", "reminded", "recovered"]
    assert (alert.opened_at, alert.closed_at) == (NOW + 10 * MINUTE, NOW + 35 * MINUTE)
    assert alert.reason == "Down for 10 minutes. no answer"
    assert told() == [["opened"], ["reminded"], ["recovered"]]


def test_within_the_cooldown_no_further_alert_opens(
    shop: MonitoredSite, add_rule: AddRule, add_point: AddPoint
) -> None:
    add_rule(cooldown_minutes=30)
    for minutes in range(0, 40, 5):
        add_point(shop, NOW + minutes * MINUTE, "up" if minutes % 10 else "down")
        evaluate(NOW + minutes * MINUTE)
    opened = Alert.objects.order_by("opened_at").values_list("opened_at", flat=True)
    assert list(opened) == [NOW, NOW + 30 * MINUTE]


def test_a_rule_for_all_sites_alerts_for_each_and_one_for_a_site_for_that_one(
    add_site: AddSite, add_rule: AddRule, add_point: AddPoint
) -> None:
    one, two = add_site("one"), add_site("two")
    add_site("asleep", enabled=False)
    everything, single = add_rule("all"), add_rule("single", site=two)
    for site in MonitoredSite.objects.all():
        add_point(site, NOW, "down")
    evaluate(NOW)
    found = set(Alert.objects.values_list("rule", "site"))
    assert found == {(everything.pk, one.pk), (everything.pk, two.pk), (single.pk, two.pk)}


def test_while_our_own_network_is_away_no_site_is_said_to_be_down_or_up(
    shop: MonitoredSite, add_site: AddSite, add_rule: AddRule, add_point: AddPoint
) -> None:
    add_rule()
    other = add_site("other")
    add_point(other, NOW, "down")
    evaluate(NOW)
    Incident.objects.create(site=None, state="offline", opened_at=NOW + MINUTE)
    add_point(shop, NOW + MINUTE, "down")
    add_point(other, NOW + MINUTE, "up")
    evaluate(NOW + 2 * MINUTE)
    alert = Alert.objects.get()
    assert (alert.site, alert.closed_at) == (other, None)


def test_the_recovery_is_told_only_where_that_is_wanted_and_stands_in_the_timeline_anyway(
    shop: MonitoredSite, add_rule: AddRule, add_channel: AddChannel, add_point: AddPoint
) -> None:
    add_rule("Down", add_channel(), tells_recovery=False)
    add_point(shop, NOW, "down")
    evaluate(NOW)
    add_point(shop, NOW + MINUTE, "up")
    evaluate(NOW + MINUTE)
    assert timeline(Alert.objects.get()) == ["opened", "recovered"]
    assert told() == [["opened"]]


@pytest.mark.parametrize("what", ["rule", "site"])
def test_an_alert_of_what_is_disabled_ends_and_nobody_is_told_that_all_is_well(
    shop: MonitoredSite, add_rule: AddRule, add_channel: AddChannel, add_point: AddPoint, what: str
) -> None:
    add_rule("Down", add_channel())
    add_point(shop, NOW, "down")
    evaluate(NOW)
    rows = AlertRule.objects.all() if what == "rule" else MonitoredSite.objects.all()
    rows.update(enabled=False)
    evaluate(NOW + MINUTE)
    assert timeline(Alert.objects.get()) == ["opened", "dropped"]
    assert Alert.objects.get().closed_at == NOW + MINUTE
    assert told() == [["opened"]]


def test_a_rule_whose_code_has_gone_costs_no_other_rule(
    shop: MonitoredSite, add_rule: AddRule, add_point: AddPoint
) -> None:
    add_rule("old", kind="horoscope")
    add_rule("Down")
    add_point(shop, NOW, "down")
    assert evaluate(NOW).events[AlertEvent.Kind.OPENED] == 1


def test_two_open_alerts_of_a_rule_for_one_site_are_refused_by_the_database(
    add_rule: AddRule,
) -> None:
    rule = add_rule(kind="overdue")
    one = {"rule": rule, "site": None, "subject": "sync", "opened_at": NOW, "told_at": NOW}
    Alert.objects.create(**one)
    with pytest.raises(IntegrityError, match="alert_one_open"), transaction.atomic():
        Alert.objects.create(**one)
    Alert.objects.update(closed_at=NOW)
    Alert.objects.create(**one)


def test_the_number_of_queries_does_not_depend_on_the_number_of_sites(
    add_site: AddSite,
    add_rule: AddRule,
    add_point: AddPoint,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    add_rule()
    for number in range(20):
        add_point(add_site(f"shop {number}"), NOW, "down")
    # Rules, channels, sites, points, incidents; savepoint, open alerts, those that cool down, alerts,
    # events, unwatched alerts, release; nothing to drop costs nothing.
    with django_assert_num_queries(12):
        evaluate(NOW)
    assert Alert.objects.count() == 20


# --- The outbox -----------------------------------------------------------------------------------


def test_every_channel_of_a_rule_gets_a_message_of_its_own_and_a_disabled_one_none(
    shop: MonitoredSite, add_rule: AddRule, add_channel: AddChannel, add_point: AddPoint
) -> None:
    channels = add_channel("one"), add_channel("two"), add_channel("off", enabled=False)
    add_channel("of no rule")
    add_rule("Down", *channels)
    add_point(shop, NOW, "down")
    assert evaluate(NOW).messages == 2
    assert set(Delivery.objects.values_list("channel__name", flat=True)) == {"one", "two"}


@pytest.mark.parametrize(("alerts", "messages"), [(3, 3), (4, 1), (50, 1)])
def test_more_alerts_at_once_than_the_channel_takes_become_one_message(
    add_site: AddSite,
    add_rule: AddRule,
    add_channel: AddChannel,
    add_point: AddPoint,
    alerts: int,
    messages: int,
) -> None:
    add_rule("Down", add_channel(digest_above=3))
    for number in range(alerts):
        add_point(add_site(f"shop {number}"), NOW, "down")
    evaluate(NOW)
    assert len(told()) == messages
    assert sum(map(len, told())) == alerts


def quiet(add_channel: AddChannel, name: str = "phone") -> Channel:
    """Quiet from 22:00 to 7:00 in Vienna, which is 20:00 to 5:00 UTC in June."""
    return add_channel(name, quiet_from=time(22), quiet_until=time(7), timezone="Europe/Vienna")


NIGHT = datetime(2026, 6, 1, 21, 0, tzinfo=UTC)
MORNING = datetime(2026, 6, 2, 5, 0, tzinfo=UTC)


def test_what_happens_in_quiet_hours_waits_for_their_end_as_one_message(
    add_site: AddSite, add_rule: AddRule, add_channel: AddChannel, add_point: AddPoint
) -> None:
    add_rule("Down", quiet(add_channel), add_channel("log"))
    one, two = add_site("one"), add_site("two")
    add_point(one, NIGHT, "down")
    evaluate(NIGHT)
    add_point(two, NIGHT + 5 * MINUTE, "down")
    add_point(one, NIGHT + 5 * MINUTE, "up")
    evaluate(NIGHT + 5 * MINUTE)

    held = Delivery.objects.get(channel__name="phone")
    assert held.due_at == MORNING
    assert not Delivery.objects.due(MORNING - MINUTE).filter(pk=held.pk).exists()
    assert Delivery.objects.due(MORNING).filter(pk=held.pk).exists()
    events = held.events.order_by("pk").values_list("kind", "alert__site__name")
    assert sorted(events) == [("opened", "one"), ("opened", "two"), ("recovered", "one")]
    assert Delivery.objects.filter(channel__name="log", due_at__lt=MORNING).count() == 3


def test_a_critical_rule_does_not_wait_for_the_morning(
    shop: MonitoredSite, add_rule: AddRule, add_channel: AddChannel, add_point: AddPoint
) -> None:
    add_rule("Down", quiet(add_channel), ignores_quiet_hours=True)
    add_point(shop, NIGHT, "down")
    evaluate(NIGHT)
    assert Delivery.objects.get().due_at == NIGHT


def test_each_night_has_a_message_of_its_own(
    shop: MonitoredSite, add_rule: AddRule, add_channel: AddChannel, add_point: AddPoint
) -> None:
    add_rule("Down", quiet(add_channel), cooldown_minutes=0)
    day = timedelta(days=1)
    for night in (NIGHT, NIGHT + day):
        add_point(shop, night, "down")
        evaluate(night)
        add_point(shop, night + MINUTE, "up")
        evaluate(night + MINUTE)
    due = Delivery.objects.order_by("due_at").values_list("due_at", flat=True)
    assert list(due) == [MORNING, MORNING + day]
