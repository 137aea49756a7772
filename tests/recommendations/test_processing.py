from functools import partial
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from recommendations import processing, queue
from recommendations.jobs import PROCESS_USER_ACTIONS
from recommendations.models import QuarantinedAction, UserAction
from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.runner import Call, Ending, run_job
from tests.recommendations.conftest import Drain, entry, raw

pytestmark = pytest.mark.django_db


def test_what_is_queued_is_stored(drain: Drain) -> None:
    queue.push([entry(id="a1"), entry(id="a2", user_id="ж", item_id="tab\t\\N\n", action="like")])
    result = drain()
    assert result.counts == {"processed": 2, "duplicates": 0, "quarantined": 0, "left": 0}
    assert result.continuation is None
    stored = UserAction.objects.order_by("action_id")
    assert list(stored.values_list("action_id", "user_id", "item_id", "action")) == [
        ("a1", "u1", "i1", "view"),
        ("a2", "ж", "tab\t\\N\n", "like"),
    ]


def test_an_empty_queue_is_no_work(drain: Drain) -> None:
    assert drain().counts == {"processed": 0, "duplicates": 0, "quarantined": 0, "left": 0}


def test_an_action_that_arrives_again_is_known(drain: Drain) -> None:
    queue.push([entry(id="a1"), entry(id="a1", item_id="other")])
    assert drain().counts["processed"] == 1
    queue.push([entry(id="a1"), entry(id="a2")])
    counts = drain().counts
    assert (counts["processed"], counts["duplicates"]) == (1, 1)
    assert UserAction.objects.get(action_id="a1").item_id == "i1"


def test_equal_actions_without_ids_are_two(drain: Drain) -> None:
    queue.push_raw([raw(), raw()])
    drain()
    queue.push_raw([raw()])
    drain()
    assert UserAction.objects.count() == 3


def test_a_call_works_until_nothing_is_left(drain: Drain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "BATCH_SIZE", 3)
    queue.push([entry(id=str(number)) for number in range(10)])
    assert drain().counts["processed"] == 10


def test_what_the_time_does_not_suffice_for_is_handed_on(
    drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing, "BATCH_SIZE", 3)
    store = processing._store

    def slowly(actions: Any) -> int:
        monkeypatch.setattr(processing, "BATCH_S", 1_000.0)
        return store(actions)

    monkeypatch.setattr(processing, "_store", slowly)
    queue.push([entry(id=str(number)) for number in range(10)])
    result = drain()
    assert (result.counts["processed"], result.counts["left"]) == (3, 7)
    assert result.continuation == {}
    monkeypatch.undo()
    assert drain().counts["processed"] == 7


@pytest.mark.parametrize("unreadable", [b"", b"{", b"\xff", b"\x00", b"[1]", raw(action="x")])
def test_what_is_no_action_goes_to_the_quarantine_as_it_is(drain: Drain, unreadable: bytes) -> None:
    queue.push_raw([raw(id="a1"), unreadable, raw(id="a2")])
    counts = drain().counts
    assert (counts["processed"], counts["quarantined"]) == (2, 1)
    kept = QuarantinedAction.objects.get()
    assert bytes(kept.raw) == unreadable
    assert kept.reason


def test_the_quarantine_knows_whom_an_entry_is_about(drain: Drain) -> None:
    queue.push_raw([raw(user_id=42), raw(user_id="u1", action="x"), b"{"])
    drain()
    assert sorted(QuarantinedAction.objects.values_list("user_id", flat=True)) == ["", "42", "u1"]


# --- Processes that die, and services that go -----------------------------------------------------


def stopping(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["acknowledge", "release"])
def test_a_batch_that_was_stored_and_not_acknowledged_is_stored_once(
    drain: Drain, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    queue.push_raw([raw(), raw(), raw(id="a1"), b"{"])
    with monkeypatch.context() as death:
        # A process that is killed does not release its claim either.
        death.setattr(queue, "acknowledge", stopping)
        if where == "release":
            death.setattr(queue, "release", stopping)
            death.setattr(queue, "LEASE_S", -1.0)
        with pytest.raises(KeyboardInterrupt):
            drain()
    assert UserAction.objects.count() == 3
    counts = drain().counts
    assert (counts["processed"], counts["duplicates"]) == (0, 3)
    assert UserAction.objects.count() == 3
    assert QuarantinedAction.objects.count() == 1


def test_a_batch_that_was_claimed_and_not_stored_is_stored_by_the_next(
    drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.push_raw([raw(), raw()])
    with monkeypatch.context() as death:
        death.setattr(processing, "_sort_out", stopping)
        with pytest.raises(KeyboardInterrupt):
            drain()
    assert drain().counts["processed"] == 2


def test_the_same_batch_in_two_hands_is_stored_once(drain: Drain) -> None:
    queue.push_raw([raw(), raw(), raw()])
    claim = queue.claim()
    assert claim is not None
    slow = queue.read(claim, 2)
    queue.release(claim)
    assert drain().counts["processed"] == 3
    # The slow one wakes up.
    assert processing._store(processing._sort_out(slow).actions) == 0
    queue.acknowledge(slow)
    assert UserAction.objects.count() == 3


# --- The job --------------------------------------------------------------------------------------


def test_the_job_is_what_the_schedule_calls(redis: Any) -> None:
    job = registry[PROCESS_USER_ACTIONS]
    assert (job.name, job.path, job.method) == (
        "User action processing",
        "actions/batch-process",
        "POST",
    )
    assert job.body == {"action": "process_user_actions"}
    queue.push([entry()])
    outcome = run_job(job, Call(trigger=JobRun.Trigger.COMMAND))
    assert outcome.answer is not None
    assert outcome.answer["result"]["processed"] == 1


def test_the_webhook_is_called_by_hand_with_the_secret_alone(
    redis: Any, settings: Settings
) -> None:
    queue.push([entry()])
    call = partial(
        Client().post,
        "/api/actions/batch-process",
        b'{"action": "process_user_actions"}',
        # As curl names a body that it is not told the type of.
        content_type="application/x-www-form-urlencoded",
    )
    assert call().status_code == 401
    answer = call(headers={"Authorization": f"Bearer {settings.CRON_SECRET}"})
    assert answer.status_code == 200
    assert answer.json()["result"]["processed"] == 1


def test_a_database_that_is_away_leaves_the_batch_for_later(
    drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.push([entry()])

    def away() -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as outage:
        outage.setattr(processing, "forget_nobody_meanwhile", away)
        outcome = run_job(registry[PROCESS_USER_ACTIONS], Call(trigger=JobRun.Trigger.COMMAND))
    assert outcome.ending is Ending.RETRY_LATER
    assert queue.depth() == 1
    assert drain().counts["processed"] == 1


def test_statements_depend_on_batches_alone(drain: Drain, django_assert_num_queries: Any) -> None:
    for count in (10, 1_000):
        queue.push([entry() for _ in range(count)])
        # The two of the transaction, lock, stage, COPY and merge.
        with django_assert_num_queries(6):
            drain()
