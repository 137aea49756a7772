"""Sending what is in the outbox, once, however often and from wherever it is asked for."""

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import Settings
from qstash import QStash

from alerts.delivering import DIED, DISABLED, LEASE, backoff, deliver, publish_due, send_again
from alerts.evaluating import evaluate
from alerts.models import Channel, Delivery
from scheduling.errors import RetryLater
from sites.models import MonitoredSite
from tests.alerts.conftest import AddChannel, AddPoint, AddRule, AddSite
from tests.scheduling.conftest import qstash_server, remote
from tests.sites.loopback import http
from tests.sites.website import Website, during

__all__ = ["qstash_server", "remote"]

DAY = timedelta(days=1)

Waiting = Callable[..., Delivery]


@pytest.fixture
def waiting(
    receiver: Website,
    add_site: AddSite,
    add_rule: AddRule,
    add_channel: AddChannel,
    add_point: AddPoint,
) -> Waiting:
    """Put a message about a site that is down into the outbox."""

    def add(name: str = "shop", at: datetime | None = None) -> Delivery:
        at = at or timezone.now()
        channel = add_channel(f"hook of {name}", secrets={"url": receiver.url("/hook")})
        site = add_site(name)
        add_rule(f"{name} is down", channel, site=site)
        add_point(site, at, "down", reason="no answer")
        evaluate(at)
        return Delivery.objects.get(channel=channel)

    return add


def reload(delivery: Delivery) -> Delivery:
    return Delivery.objects.get(pk=delivery.pk)


def test_a_message_is_sent_once_however_often_it_is_asked_for(
    waiting: Waiting, receiver: Website
) -> None:
    delivery = waiting()
    assert deliver(delivery.pk) is True
    assert deliver(delivery.pk) is False
    assert len(receiver.requests) == 1
    sent = reload(delivery)
    assert (sent.status, sent.attempts, sent.lease_expires_at) == ("sent", 1, None)
    assert deliver(uuid.uuid4()) is False


def test_a_failure_is_tried_again_later_with_the_same_id(
    waiting: Waiting, receiver: Website
) -> None:
    delivery = waiting()
    receiver.pages["/hook"] = http("no", status=500)
    with pytest.raises(RetryLater, match="answered 500") as caught:
        deliver(delivery.pk)
    assert caught.value.retry_after_s in (60, 61)
    failed = reload(delivery)
    assert failed.status == "waiting"
    assert failed.error == "127.0.0.1 answered 500; a status from 200 to 299 is expected."
    # Before its time it is left alone, and nobody is asked to come back for it.
    assert deliver(delivery.pk) is False

    receiver.pages["/hook"] = http("thanks")
    Delivery.objects.update(due_at=timezone.now())
    assert deliver(delivery.pk) is True
    assert reload(delivery).error == ""
    first, second = receiver.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    # It is known that the first did not arrive.
    assert first.body == second.body


def test_the_wait_doubles_up_to_an_hour_and_is_longer_where_that_is_asked_for(
    waiting: Waiting, receiver: Website
) -> None:
    minutes = [backoff(attempts) / timedelta(minutes=1) for attempts in (1, 2, 3, 6, 7, 99)]
    assert minutes == [1, 2, 4, 32, 60, 60]
    receiver.pages["/hook"] = http("slow down", status=429, headers={"Retry-After": "900"})
    with pytest.raises(RetryLater) as caught:
        deliver(waiting().pk)
    assert caught.value.retry_after_s in (900, 901)


def test_a_channel_that_is_down_is_tried_for_at_least_a_day_and_then_shown_as_failed(
    waiting: Waiting, receiver: Website
) -> None:
    delivery = waiting()
    assert delivery.give_up_at - delivery.created_at >= DAY
    receiver.pages["/hook"] = http("no", status=500)
    Delivery.objects.update(give_up_at=timezone.now())
    assert deliver(delivery.pk) is False
    assert reload(delivery).status == "failed"
    assert deliver(delivery.pk) is False
    assert len(receiver.requests) == 1


def test_a_failed_message_can_be_sent_again(waiting: Waiting, receiver: Website) -> None:
    delivery = waiting()
    assert send_again(delivery, timezone.now()) is False
    Delivery.objects.update(status="failed", give_up_at=timezone.now() - DAY)
    assert send_again(delivery, timezone.now()) is True
    assert reload(delivery).give_up_at > timezone.now() + DAY
    assert deliver(delivery.pk) is True


def test_a_message_that_another_process_is_sending_is_left_to_it(
    waiting: Waiting, receiver: Website
) -> None:
    delivery = waiting()
    Delivery.objects.update(status="sending", lease_expires_at=timezone.now() + LEASE)
    with pytest.raises(RetryLater, match="Another process") as caught:
        deliver(delivery.pk)
    assert caught.value.retry_after_s == pytest.approx(LEASE.total_seconds(), abs=2)
    assert receiver.requests == []


def test_a_message_that_a_dead_process_left_behind_is_sent_and_says_that_it_may_be_a_repetition(
    waiting: Waiting, receiver: Website
) -> None:
    delivery = waiting()
    Delivery.objects.update(status="sending", attempts=1, lease_expires_at=timezone.now())
    assert deliver(delivery.pk) is True
    assert "may be a repetition" in json.loads(receiver.requests[0].body)["text"]
    assert reload(delivery).attempts == 2


@pytest.mark.django_db(transaction=True)
def test_of_two_processes_at_the_same_instant_one_sends(
    waiting: Waiting, receiver: Website
) -> None:
    deliveries = [waiting(f"shop {number}") for number in range(10)]
    barrier = threading.Barrier(4)

    def attempt(delivery: Delivery) -> bool:
        barrier.wait(30)
        try:
            return deliver(delivery.pk)
        except RetryLater:
            return False
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        for number, delivery in enumerate(deliveries, start=1):
            assert sum(pool.map(attempt, [delivery] * 4)) == 1
            assert len(receiver.requests) == number


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_message_is_on_its_way(
    waiting: Waiting, receiver: Website
) -> None:
    delivery, seen = waiting(), []
    receiver.pages["/hook"] = during(lambda: seen.append(reload(delivery).status))
    deliver(delivery.pk)
    assert seen == ["sending"]


@pytest.mark.django_db(transaction=True)
def test_an_outcome_that_comes_after_the_lease_does_not_overwrite_that_of_who_took_over(
    waiting: Waiting, receiver: Website, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = waiting()

    def take_over() -> None:
        Delivery.objects.update(attempts=2, lease_expires_at=timezone.now() + LEASE)

    receiver.pages["/hook"] = during(take_over, status=500)
    with pytest.raises(RetryLater):
        deliver(delivery.pk)
    assert (reload(delivery).status, reload(delivery).attempts) == ("sending", 2)
    assert "lost its lease" in caplog.text


def test_a_message_about_a_site_that_was_deleted_is_not_sent(
    waiting: Waiting, receiver: Website
) -> None:
    delivery = waiting()
    MonitoredSite.objects.all().delete()
    assert deliver(delivery.pk) is False
    assert receiver.requests == []
    assert not Delivery.objects.exists()


def test_a_disabled_channel_is_sent_nothing_and_the_message_says_why(
    waiting: Waiting, receiver: Website
) -> None:
    delivery = waiting()
    Channel.objects.update(enabled=False)
    assert deliver(delivery.pk) is False
    assert (reload(delivery).status, reload(delivery).error) == ("failed", DISABLED)
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"kind": "carrier pigeon"}, "no channel of the kind"), ({"secrets": {}}, "enter it again")],
)
def test_a_channel_that_cannot_work_keeps_the_message_and_says_why(
    waiting: Waiting, receiver: Website, fields: dict[str, object], words: str
) -> None:
    delivery = waiting()
    Channel.objects.update(**fields)
    with pytest.raises(RetryLater, match=words):
        deliver(delivery.pk)
    assert reload(delivery).status == "waiting"


def test_a_missing_key_keeps_the_message_and_is_named(waiting: Waiting, settings: Settings) -> None:
    delivery = waiting()
    settings.SOLOBOARD_SECRET_KEYS = ["another-key-" * 4]
    with pytest.raises(RetryLater, match="SOLOBOARD_SECRET_KEYS"):
        deliver(delivery.pk)
    assert reload(delivery).status == "waiting"


# --- Publishing -----------------------------------------------------------------------------------


def test_what_is_due_and_not_under_way_is_published_once_for_each_attempt(
    waiting: Waiting, remote: QStash
) -> None:
    now = timezone.now()
    due, left, later, busy, done = (waiting(f"shop {number}", now) for number in range(5))
    Delivery.objects.filter(pk=left.pk).update(status="sending", lease_expires_at=now)
    Delivery.objects.filter(pk=later.pk).update(due_at=now + DAY)
    Delivery.objects.filter(pk=busy.pk).update(status="sending", lease_expires_at=now + LEASE)
    Delivery.objects.filter(pk=done.pk).update(status="sent")
    assert publish_due(now) == 2
    assert publish_due(now) == 0
    Delivery.objects.filter(pk=due.pk).update(attempts=1)
    assert publish_due(now) == 1


def test_what_was_left_behind_after_the_time_for_trying_has_failed(
    waiting: Waiting, remote: QStash
) -> None:
    delivery, now = waiting(), timezone.now()
    Delivery.objects.update(status="sending", lease_expires_at=now, give_up_at=now)
    assert publish_due(now) == 0
    assert (reload(delivery).status, reload(delivery).error) == ("failed", DIED)


def test_what_waited_while_everything_was_away_is_tried_however_late_it_is(
    waiting: Waiting, remote: QStash
) -> None:
    delivery = waiting()
    assert publish_due(timezone.now() + 9 * DAY) == 1
    Delivery.objects.update(due_at=timezone.now() - 9 * DAY, give_up_at=timezone.now() - 7 * DAY)
    assert deliver(delivery.pk) is True
