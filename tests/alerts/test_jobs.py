import json
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings
from qstash import QStash

from alerts import jobs
from alerts.models import Alert, AlertRule, Delivery
from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.runner import Call, Ending, run_job
from sites.signals import sites_synced
from tests.alerts.conftest import AddChannel, AddPoint, AddRule, AddSite
from tests.scheduling.conftest import qstash_server, remote

__all__ = ["qstash_server", "remote"]

EVALUATE, DELIVER = registry["evaluate-alerts"], registry["deliver-alert"]


def call(**payload: object) -> Call:
    return Call(trigger=JobRun.Trigger.COMMAND, payload=payload)


def messages(remote: QStash, path: str) -> list[dict[str, object]]:
    """The bodies of the messages for a path that QStash has and has not delivered."""
    events = remote.event.list().events
    created = [it for it in events if it.state == "CREATED" and it.url.endswith(path)]
    return [json.loads(it.body or "{}") for it in created]


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


def test_parts_of_a_sync_ask_for_one_evaluation_after_the_last_of_them(
    add_rule: AddRule, remote: QStash, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_rule()
    begin = timezone.now().replace(microsecond=0, second=0) + timedelta(minutes=1)
    published = []
    monkeypatch.setattr(
        jobs, "publish_messages", lambda job, them: published.extend((job, it) for it in them)
    )
    for second in (0, 2, 4.9, 5):
        at = begin + timedelta(seconds=second)
        monkeypatch.setattr(jobs.timezone, "now", lambda at=at: at)
        assert [it for _, it in sites_synced.send_robust(sender=None, site_ids=[1])] == [None]
    slots = [message.deduplication_id for _, message in published]
    assert len(set(slots[:3])) == 1
    assert slots[3] != slots[0]
    for second, (job, message) in zip((0, 2, 4.9, 5), published, strict=True):
        assert job is EVALUATE
        end = 5 if second < 5 else 10
        assert end <= second + message.delay_s <= end + 1


def test_qstash_takes_one_of_the_requests_of_a_slot(
    add_rule: AddRule, remote: QStash, caplog: pytest.LogCaptureFixture
) -> None:
    add_rule()
    caplog.set_level("INFO", "scheduling.qstash")
    for _ in range(4):
        sites_synced.send(sender=None, site_ids=[1])
    taken = [record.args for record in caplog.records if record.name == "scheduling.qstash"]
    # The slot may have ended in between.
    assert sum(args[0] for args in taken if isinstance(args, tuple)) in (1, 2)


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
