from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings
from qstash import QStash

from alerts.jobs import SLOT_S, evaluation_message
from alerts.models import Alert, AlertRule, Delivery
from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.runner import Call, Ending, run_job
from sites.signals import sites_synced
from tests.alerts.conftest import NOW, AddChannel, AddPoint, AddRule, AddSite
from tests.scheduling.conftest import qstash_server, remote

__all__ = ["qstash_server", "remote"]

EVALUATE, DELIVER = registry["evaluate-alerts"], registry["deliver-alert"]


def call(**payload: object) -> Call:
    return Call(trigger=JobRun.Trigger.COMMAND, payload=payload)


def test_the_jobs_propose_what_the_documentation_says() -> None:
    assert (EVALUATE.path, EVALUATE.cron) == ("cron/evaluate-alerts", "*/5 * * * *")
    assert (DELIVER.path, DELIVER.cron, DELIVER.concurrent) == ("alerts/deliver", "", True)


def test_an_evaluation_whose_messages_qstash_does_not_take_has_them_in_the_outbox(
    add_site: AddSite,
    add_rule: AddRule,
    add_channel: AddChannel,
    add_point: AddPoint,
    caplog: pytest.LogCaptureFixture,
) -> None:
    add_rule("Down", add_channel())
    add_point(add_site(), timezone.now(), "down")
    outcome = run_job(EVALUATE, call())  # The tests' QSTASH_URL leads nowhere.
    assert outcome.ending is Ending.DONE
    assert outcome.answer is not None
    assert outcome.answer["result"]["opened"] == outcome.answer["result"]["messages"] == 1
    assert outcome.answer["result"]["published"] == 0
    assert "did not take the messages" in caplog.text
    assert Delivery.objects.due(timezone.now()).count() == 1


def test_the_next_evaluation_publishes_what_the_last_one_could_not(
    add_site: AddSite,
    add_rule: AddRule,
    add_channel: AddChannel,
    add_point: AddPoint,
    settings: Settings,
    remote: QStash,
) -> None:
    add_rule("Down", add_channel())
    add_point(add_site(), timezone.now(), "down")
    here, settings.QSTASH_URL = settings.QSTASH_URL, "http://127.0.0.1:1"
    run_job(EVALUATE, call())
    settings.QSTASH_URL = here
    outcome = run_job(EVALUATE, call())
    assert outcome.answer is not None
    assert outcome.answer["result"]["opened"] == 0
    assert outcome.answer["result"]["published"] == 1
    assert Alert.objects.count() == Delivery.objects.count() == 1


@pytest.mark.parametrize("payload", [{}, {"delivery": 7}, {"delivery": "x"}, {"delivery": None}])
@pytest.mark.django_db
def test_a_delivery_without_a_usable_id_can_never_succeed(payload: dict[str, object]) -> None:
    assert run_job(DELIVER, call(**payload)).ending is Ending.REFUSED


def test_a_channel_that_fails_asks_qstash_to_come_back(
    add_site: AddSite, add_rule: AddRule, add_channel: AddChannel, add_point: AddPoint
) -> None:
    add_rule("Down", add_channel(secrets={"url": "http://127.0.0.1:9/"}))
    add_point(add_site(), timezone.now(), "down")
    run_job(EVALUATE, call())
    outcome = run_job(DELIVER, call(delivery=str(Delivery.objects.get().pk)))
    assert (outcome.ending, outcome.retry_after_s) == (Ending.RETRY_LATER, 61)


def test_parts_of_a_sync_ask_for_one_evaluation_after_the_last_of_them() -> None:
    first, second, third, next_slot = (
        evaluation_message(NOW + timedelta(seconds=it)) for it in (0, 2, 4.9, 5)
    )
    assert first.deduplication_id == second.deduplication_id == third.deduplication_id
    assert next_slot.deduplication_id != first.deduplication_id
    assert [it.delay_s for it in (first, second, third, next_slot)] == [5, 3, 1, 5]


@given(later_s=st.floats(0, 3600))
def test_an_evaluation_comes_when_its_slot_is_over(later_s: float) -> None:
    now = NOW + timedelta(seconds=later_s)
    message = evaluation_message(now)
    then = now + timedelta(seconds=message.delay_s)
    assert 1 <= message.delay_s <= SLOT_S
    assert evaluation_message(then).deduplication_id != message.deduplication_id


def test_qstash_takes_one_of_the_requests_of_a_slot(
    add_rule: AddRule, remote: QStash, caplog: pytest.LogCaptureFixture
) -> None:
    add_rule()
    caplog.set_level("INFO", "scheduling.qstash")
    for _ in range(4):
        sites_synced.send(sender=None, site_ids=[1])
    taken = [text for text in caplog.messages if "messages for evaluate-alerts" in text]
    assert len(taken) == 4
    # A slot may have ended in between.
    assert sum("took 1 of 1" in text for text in taken) in (1, 2)


def test_without_a_rule_a_sync_asks_for_nothing(db: None, caplog: pytest.LogCaptureFixture) -> None:
    sites_synced.send(sender=None, site_ids=[1])
    assert caplog.text == ""


def test_a_sync_does_not_fail_because_qstash_is_away(
    add_rule: AddRule, caplog: pytest.LogCaptureFixture
) -> None:
    add_rule()
    sites_synced.send(sender=None, site_ids=[1])
    assert "was not asked to evaluate" in caplog.text
    assert AlertRule.objects.count() == 1
