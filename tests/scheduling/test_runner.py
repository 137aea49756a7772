"""run_job against the real database. What it makes webhooks answer: test_webhooks.py."""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from scheduling.errors import PayloadRefused, RetryLater
from scheduling.models import JobRun, ScheduledJob
from scheduling.run import JobResult, Run
from scheduling.runner import LEASE_GRACE_S, Call, Ending, Outcome, run_job, timestamp
from tests.scheduling.work import DONE, Work, fail_with

# Some of these lose their connection, and with it any transaction around the test.
pytestmark = pytest.mark.django_db(transaction=True)


def run_work(
    does: Callable[[Run], JobResult], *, job: dict[str, Any] | None = None, **call: Any
) -> Outcome:
    """Run a job that does this."""
    work = Work()
    work.does = does
    return run_job(work.job(**(job or {})), Call(**{"trigger": JobRun.Trigger.COMMAND, **call}))


def end_connection() -> None:
    """Have the server end this test's connection, as a restart of it does."""
    pid = connection.connection.info.backend_pid
    with psycopg.connect(connection.connection.info.dsn, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_finished_run_is_recorded_with_all_that_is_known_of_it() -> None:
    outcome = run_work(
        lambda run: DONE,
        trigger=JobRun.Trigger.SCHEDULE,
        caller="QStash",
        message_id="msg_1",
        signature_id="jwt_1",
        schedule_id="soloboard-work",
        attempt=3,
    )
    assert outcome.ending is Ending.DONE
    record = JobRun.objects.get()
    assert record.job_key == "tests-work"
    assert (record.trigger, record.caller, record.attempt) == ("schedule", "QStash", 3)
    assert (record.message_id, record.signature_id) == ("msg_1", "jwt_1")
    assert record.schedule_id == "soloboard-work"
    assert (record.status, record.error, record.traceback) == ("succeeded", "", "")
    assert record.counts == {"made": 2, "lost": 0}
    assert record.answer == outcome.answer
    assert record.finished_at is not None
    assert record.started_at <= record.finished_at <= timezone.now()


def test_the_duration_is_measured_in_milliseconds() -> None:
    def work(run: Run) -> JobResult:
        time.sleep(0.05)
        return DONE

    outcome = run_work(work)
    assert outcome.answer is not None
    duration_ms = outcome.answer["result"]["duration"]
    assert 50 <= duration_ms <= (JobRun.objects.get().duration_ms or 0) + 1


def test_counts_are_answered_in_the_order_of_the_job_and_followed_by_the_duration() -> None:
    outcome = run_work(lambda run: JobResult(message="Done", counts={"zebras": 1, "ants": 2}))
    assert outcome.answer is not None
    assert list(outcome.answer) == ["success", "message", "result", "timestamp"]
    assert list(outcome.answer["result"]) == ["zebras", "ants", "duration"]


def test_the_timestamp_is_utc_with_milliseconds() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp())


def test_a_job_is_given_its_payload_and_nine_tenths_of_its_time() -> None:
    runs: list[Run] = []

    def work(run: Run) -> JobResult:
        runs.append(run)
        assert 80 < run.time_left_s <= 90
        run.report(1, 2)
        return DONE

    reports: list[tuple[int, int]] = []
    run_work(
        work,
        job={"timeout_s": 100},
        payload={"size": 3},
        report=lambda done, total: reports.append((done, total)),
    )
    record = JobRun.objects.get()
    assert (runs[0].id, runs[0].payload) == (record.pk, {"size": 3})
    assert reports == [(1, 2)]
    lease = record.lease_expires_at - record.started_at
    assert lease == timedelta(seconds=100 + LEASE_GRACE_S)


def test_the_timeout_of_the_row_wins_over_that_of_the_job() -> None:
    row = {"job_key": "tests-work", "cron": "* * * * *", "name": "Work"}
    ScheduledJob.objects.bulk_create(
        [
            ScheduledJob(key="first", timeout_s=20, **row),
            ScheduledJob(key="second", timeout_s=40, **row),
        ]
    )
    for schedule_id, timeout_s in (("soloboard-second", 40), ("soloboard-first", 20), ("", 20)):
        run_work(lambda run: DONE, schedule_id=schedule_id)
        record = JobRun.objects.latest("pk")
        lease = record.lease_expires_at - record.started_at
        assert lease == timedelta(seconds=timeout_s + LEASE_GRACE_S)


def test_a_continuation_is_handed_to_the_caller() -> None:
    result = JobResult(message="Half", counts={}, continuation={"rest": [1]})
    assert run_work(lambda run: result).continuation == {"rest": [1]}


def test_a_failure_is_recorded_and_not_raised() -> None:
    expected = {
        RetryLater("Later.", retry_after_s=7): (Ending.RETRY_LATER, "Later.", 7, False),
        PayloadRefused("Never."): (Ending.REFUSED, "Never.", 0, False),
        ValueError("Bug."): (Ending.FAILED, "ValueError('Bug.')", 0, True),
    }
    for error, (ending, message, retry_after_s, has_trace) in expected.items():
        outcome = run_work(fail_with(error))
        assert (outcome.ending, outcome.error) == (ending, message)
        assert outcome.retry_after_s == retry_after_s
        record = JobRun.objects.latest("pk")
        assert (record.status, record.error) == ("failed", message)
        assert ("Traceback" in record.traceback) is has_trace


def test_the_record_survives_the_rollback_of_the_work() -> None:
    def work(run: Run) -> JobResult:
        with transaction.atomic():
            Group.objects.create(name="made by the job")
            raise ValueError("in the middle")

    assert run_work(work).ending is Ending.FAILED
    assert not Group.objects.exists()
    assert JobRun.objects.get().status == "failed"


def test_a_run_that_lost_its_connection_is_closed_on_a_new_one() -> None:
    def work(run: Run) -> JobResult:
        end_connection()
        return DONE

    assert run_work(work).ending is Ending.DONE
    record = JobRun.objects.get()
    assert (record.status, record.counts) == ("succeeded", {"made": 2, "lost": 0})


def test_work_that_lost_its_connection_is_to_be_tried_again() -> None:
    def work(run: Run) -> JobResult:
        with transaction.atomic():
            Group.objects.create(name="made by the job")
            end_connection()
            Group.objects.create(name="never made")
        return DONE

    outcome = run_work(work)
    assert (outcome.ending, outcome.retry_after_s) == (Ending.RETRY_LATER, 60)
    assert outcome.error == "The database or Redis is away."
    record = JobRun.objects.get()
    assert record.status == "failed"
    assert "OperationalError" in record.traceback
    assert not Group.objects.exists()


def test_a_run_that_cannot_be_recorded_is_to_be_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(run: Run) -> JobResult:
        monkeypatch.setitem(connection.settings_dict, "HOST", "/nowhere")
        connection.close()
        return DONE

    outcome = run_work(work, message_id="msg_1")
    monkeypatch.undo()
    assert outcome.ending is Ending.RETRY_LATER
    assert JobRun.objects.get().status == "running"
    again = run_work(lambda run: DONE, message_id="msg_1")
    assert again.ending is Ending.STILL_RUNNING


def test_a_run_that_cannot_be_opened_raises_what_the_database_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connection.settings_dict, "HOST", "/nowhere")
    connection.close()
    with pytest.raises(OperationalError):
        run_work(lambda run: DONE)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupted_run_is_closed_as_failed(error: BaseException) -> None:
    with pytest.raises(type(error)):
        run_work(fail_with(error))
    record = JobRun.objects.get()
    assert (record.status, record.error) == ("failed", "Interrupted.")
    assert run_work(lambda run: DONE).ending is Ending.DONE


def test_a_run_that_outlived_its_lease_does_not_overwrite_what_took_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work(run: Run) -> JobResult:
        expire_leases()
        others.append(run_work(lambda run: DONE, message_id="msg_2").ending)
        return DONE

    others: list[Ending] = []
    run_work(work, message_id="msg_1")
    assert others == [Ending.DONE]
    first, second = JobRun.objects.order_by("pk")
    assert (first.status, first.answer) == ("abandoned", None)
    assert first.error == "The process died; the lease of the run has ended."
    assert second.status == "succeeded"
    assert f"Run {first.pk} lost its lease before it ended" in caplog.text


def expire_leases() -> None:
    past = timezone.now() - timedelta(seconds=1)
    JobRun.objects.filter(status="running").update(lease_expires_at=past)


def leave_running(**fields: Any) -> JobRun:
    """A run whose process died."""
    lease = timezone.now() + timedelta(seconds=100)
    return JobRun.objects.create(
        job_key="tests-work", trigger="schedule", lease_expires_at=lease, **fields
    )


def test_a_dead_run_holds_its_place_until_its_lease_ends() -> None:
    dead = leave_running(message_id="msg_1")
    repeated = run_work(lambda run: DONE, message_id="msg_1")
    assert repeated.ending is Ending.STILL_RUNNING
    assert 95 <= repeated.retry_after_s <= 100
    assert run_work(lambda run: DONE, message_id="msg_2").ending is Ending.SKIPPED
    expire_leases()
    assert run_work(lambda run: DONE, message_id="msg_1").ending is Ending.DONE
    dead.refresh_from_db()
    assert dead.status == "abandoned"
    assert dead.finished_at is not None


def test_a_dead_run_of_another_job_holds_nobody_up() -> None:
    leave_running(message_id="msg_1")
    assert run_work(lambda run: DONE, job={"key": "tests-rest"}).ending is Ending.DONE


def test_the_answer_of_a_finished_message_is_repeated() -> None:
    first = run_work(lambda run: DONE, message_id="msg_1", signature_id="jwt_1")
    for message_id, signature_id in (("msg_1", "jwt_2"), ("msg_2", "jwt_1")):
        must_not_run = fail_with(ValueError("It ran again."))
        again = run_work(must_not_run, message_id=message_id, signature_id=signature_id)
        assert (again.ending, again.answer) == (Ending.REPEATED, first.answer)
        assert again.continuation is None
    assert JobRun.objects.count() == 1


def test_calls_without_a_message_are_never_the_same() -> None:
    assert [run_work(lambda run: DONE).ending for _ in range(2)] == [Ending.DONE, Ending.DONE]
    assert JobRun.objects.count() == 2


def test_runs_of_a_concurrent_job_go_beside_each_other() -> None:
    others = []

    def work(run: Run) -> JobResult:
        beside = run_work(lambda run: DONE, message_id="msg_2", job={"concurrent": True})
        again = run_work(lambda run: DONE, message_id="msg_1", job={"concurrent": True})
        others.extend([beside.ending, again.ending])
        return DONE

    outcome = run_work(work, message_id="msg_1", job={"concurrent": True})
    assert (outcome.ending, others) == (Ending.DONE, [Ending.DONE, Ending.STILL_RUNNING])
    assert [run.status for run in JobRun.objects.all()] == ["succeeded", "succeeded"]
