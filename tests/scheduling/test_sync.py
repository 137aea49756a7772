"""Pushing to the QStash server of this repository, over real HTTP, and to servers that misbehave."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.db import transaction
from pytest_django import Settings
from qstash import QStash

from scheduling import sync
from scheduling.models import JobRun, ScheduledJob, ScheduleRemoval
from scheduling.qstash import Message, QStashAway, QStashRefused
from scheduling.qstash import QStash as QStashConnection
from scheduling.registry import Job, registry
from tests.scheduling.factories import scheduled_job
from tests.scheduling.work import Work

# Pushes happen after a commit, so these tests commit.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hanging_url() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class Refusing(BaseHTTPRequestHandler):
    """Answers every call with the status that the path of the base address asks for."""

    status = 400
    body = b'{"error": "quota exceeded"}'

    def do_POST(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_DELETE = do_PATCH = do_POST  # noqa: N815 - the names that http.server calls.

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def refusing_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_saved_row_stands_at_qstash_as_it_is(remote: QStash) -> None:
    job = scheduled_job(
        timezone="Europe/Vienna",
        method="PUT",
        headers={"X-One": "1"},
        secret_headers={"X-Key": "made-up-value"},
        body="hello",
        retries=5,
        retry_delay_ms="1000 * (1 + retried)",
        timeout_s=90,
        callback_url="https://example.com/cb",
        failure_callback_url="https://example.com/failed",
        label="weekly",
    )
    job.save()
    schedule = remote.schedule.get("soloboard-report")
    assert schedule.destination == "https://example.com/report"
    assert schedule.cron == "CRON_TZ=Europe/Vienna 0 7 * * MON"
    assert (schedule.method, schedule.body, schedule.retries) == ("PUT", "hello", 5)
    assert schedule.headers == {"X-One": ["1"], "X-Key": ["made-up-value"]}
    assert (schedule.retry_delay_expression, schedule.timeout) == ("1000 * (1 + retried)", 90)
    assert schedule.callback == "https://example.com/cb"
    assert schedule.failure_callback == "https://example.com/failed"
    assert (schedule.label, schedule.paused) == ("weekly", False)
    job.refresh_from_db()
    assert job.is_pushed
    assert job.pushed_at is not None


def test_the_default_sync_schedule_has_the_promised_form(
    remote: QStash, settings: Settings
) -> None:
    sync.reconcile()
    schedule = remote.schedule.get("soloboard-sync-sites")
    assert schedule.destination == f"{settings.APP_URL}/api/cron/sync-sites"
    assert (schedule.method, schedule.cron, schedule.retries) == ("GET", "*/15 * * * *", 3)
    assert (schedule.retry_delay_expression, schedule.timeout) == ("60000", 300)
    assert schedule.callback is None
    assert schedule.headers == {"Authorization": [f"Bearer {settings.CRON_SECRET}"]}


def test_an_edit_replaces_the_schedule(remote: QStash) -> None:
    job = scheduled_job(body="old")
    job.save()
    job.cron, job.body = "*/5 * * * *", ""
    job.save()
    schedule = remote.schedule.get("soloboard-report")
    assert (schedule.cron, schedule.body) == ("*/5 * * * *", None)
    assert len(remote.schedule.list()) == 1


def test_disabling_pauses_and_enabling_resumes(remote: QStash) -> None:
    job = scheduled_job(enabled=False)
    job.save()
    assert remote.schedule.get("soloboard-report").paused
    job.enabled = True
    job.save()
    assert not remote.schedule.get("soloboard-report").paused


def test_deleting_removes_the_schedule(remote: QStash) -> None:
    job = scheduled_job()
    job.save()
    job.delete()
    assert remote.schedule.list() == []
    assert not ScheduleRemoval.objects.exists()


def test_a_rolled_back_edit_reaches_nobody(remote: QStash) -> None:
    class RollbackError(Exception): ...

    def save_and_fail() -> None:
        with transaction.atomic():
            scheduled_job().save()
            raise RollbackError

    with pytest.raises(RollbackError):
        save_and_fail()
    assert remote.schedule.list() == []


def test_an_edit_of_the_description_alone_pushes_nothing(remote: QStash) -> None:
    job = scheduled_job()
    job.save()
    job.refresh_from_db()
    pushed_at = job.pushed_at
    job.description = "Words"
    job.save()
    job.refresh_from_db()
    assert job.pushed_at == pushed_at


def test_an_edit_is_kept_when_qstash_is_down_and_mended_by_the_next_reconcile(
    remote: QStash, settings: Settings
) -> None:
    url, settings.QSTASH_URL = settings.QSTASH_URL, "http://127.0.0.1:1"
    job = scheduled_job()
    job.save()
    job.refresh_from_db()
    assert job.push_status == ScheduledJob.Push.FAILED
    assert "cannot be reached" in job.push_error
    settings.QSTASH_URL = url
    sync.reconcile()
    job.refresh_from_db()
    assert job.is_pushed
    assert job.push_error == ""


def test_saving_returns_within_three_seconds_when_qstash_hangs(
    hanging_url: str, settings: Settings
) -> None:
    settings.QSTASH_URL = hanging_url
    started = time.monotonic()
    job = scheduled_job()
    job.save()
    assert time.monotonic() - started < 3
    job.refresh_from_db()
    assert "did not answer in time" in job.push_error


def test_many_rows_wait_for_a_hanging_qstash_once(hanging_url: str, settings: Settings) -> None:
    ScheduledJob.objects.bulk_create([scheduled_job(key=f"report-{n}") for n in range(10)])
    settings.QSTASH_URL = hanging_url
    started = time.monotonic()
    sync.push_all(ScheduledJob.objects.values_list("pk", flat=True))
    assert time.monotonic() - started < 3
    assert ScheduledJob.objects.filter(push_status=ScheduledJob.Push.FAILED).count() == 10


def test_a_refusal_stands_on_the_row_in_the_words_of_qstash(
    refusing_url: str, settings: Settings
) -> None:
    settings.QSTASH_URL = refusing_url
    job = scheduled_job()
    job.save()
    job.refresh_from_db()
    assert job.push_status == ScheduledJob.Push.FAILED
    assert "quota exceeded" in job.push_error


def test_a_wrong_token_is_named(remote: QStash, settings: Settings) -> None:
    settings.QSTASH_TOKEN = "wrong-made-up-token"
    with pytest.raises(QStashRefused, match="Check QSTASH_TOKEN") as caught:
        sync.make_plan()
    assert "wrong-made-up-token" not in str(caught.value)


def test_a_token_that_cannot_be_sent_is_refused_without_repeating_it(
    remote: QStash, settings: Settings
) -> None:
    settings.QSTASH_TOKEN = "made-up\ntoken"
    with pytest.raises(QStashRefused, match="QSTASH_TOKEN") as caught:
        sync.make_plan()
    assert "made-up" not in str(caught.value)


def test_a_server_that_is_no_qstash_is_said_to_be_none(
    refusing_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refusing, "status", 200)
    monkeypatch.setattr(Refusing, "body", b"<html>")
    settings.QSTASH_URL = refusing_url
    with pytest.raises(QStashAway, match="does not answer like QStash"):
        sync.make_plan()


def test_a_failed_removal_is_remembered_until_it_is_done(
    remote: QStash, settings: Settings
) -> None:
    job = scheduled_job()
    job.save()
    url, settings.QSTASH_URL = settings.QSTASH_URL, "http://127.0.0.1:1"
    job.delete()
    removal = ScheduleRemoval.objects.get()
    assert "cannot be reached" in removal.last_error
    settings.QSTASH_URL = url
    assert [schedule.schedule_id for schedule in remote.schedule.list()] == ["soloboard-report"]
    assert sync.reconcile().remove == ["soloboard-report"]
    assert "soloboard-report" not in {schedule.schedule_id for schedule in remote.schedule.list()}
    assert not ScheduleRemoval.objects.exists()


def test_a_key_that_is_used_again_withdraws_the_removal(remote: QStash, settings: Settings) -> None:
    job = scheduled_job()
    job.save()
    url, settings.QSTASH_URL = settings.QSTASH_URL, "http://127.0.0.1:1"
    job.delete()
    settings.QSTASH_URL = url
    scheduled_job(cron="*/5 * * * *").save()
    sync.reconcile()
    assert remote.schedule.get("soloboard-report").cron == "*/5 * * * *"


def test_reconciling_twice_changes_nothing_the_second_time(remote: QStash) -> None:
    first = sync.reconcile()
    assert first.create == [job.key for job in registry.scheduled]
    created_at = remote.schedule.get("soloboard-sync-sites").created_at
    second = sync.reconcile()
    assert second.is_empty
    assert sorted(second.unchanged) == first.create
    assert remote.schedule.get("soloboard-sync-sites").created_at == created_at


def test_reconciling_never_overwrites_an_edit(remote: QStash) -> None:
    sync.reconcile()
    job = ScheduledJob.objects.get(key="sync-sites")
    job.cron = "*/5 * * * *"
    job.save()
    sync.reconcile()
    assert remote.schedule.get("soloboard-sync-sites").cron == "*/5 * * * *"


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (lambda remote, job: remote.schedule.pause(job.schedule_id), "pause"),
        (lambda remote, job: remote.schedule.delete(job.schedule_id), "not at QStash"),
        (
            lambda remote, job: remote.schedule.create(
                destination="https://example.com/elsewhere",
                cron="1 1 1 1 1",
                schedule_id=job.schedule_id,
            ),
            "address, cron",
        ),
    ],
)
def test_what_somebody_changed_at_qstash_is_named_and_set_right(
    remote: QStash, tamper: object, named: str
) -> None:
    job = scheduled_job()
    job.save()
    tamper(remote, job)  # type: ignore[operator]
    assert named in sync.make_plan().push["report"]
    sync.reconcile()
    assert "report" in sync.make_plan().unchanged


def test_schedules_of_others_are_left_alone(remote: QStash) -> None:
    for schedule_id in ("soloboard-stranger", "elsewhere"):
        remote.schedule.create(
            destination="https://example.com", cron="1 1 1 1 1", schedule_id=schedule_id
        )
    plan = sync.reconcile()
    assert plan.unknown == ["soloboard-stranger"]
    assert len(remote.schedule.list()) == len(plan.create) + 2


def test_a_plan_changes_nothing(remote: QStash) -> None:
    plan = sync.make_plan()
    assert plan.create == [job.key for job in registry.scheduled]
    assert not ScheduledJob.objects.exists()
    assert remote.schedule.list() == []


def test_an_older_push_that_arrives_last_is_followed_by_the_newer_version(
    remote: QStash, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scheduled_job()
    job.save()
    upsert = QStashConnection.upsert_schedule
    edits = iter(["*/5 * * * *"])

    def edited_meanwhile(self: QStashConnection, row: ScheduledJob) -> None:
        upsert(self, row)
        for cron in edits:
            ScheduledJob.objects.filter(pk=row.pk).update(cron=cron)

    monkeypatch.setattr(QStashConnection, "upsert_schedule", edited_meanwhile)
    sync.push(job.pk)
    assert remote.schedule.get("soloboard-report").cron == "*/5 * * * *"
    job.refresh_from_db()
    assert job.is_pushed


def test_a_row_whose_job_has_gone_says_so(remote: QStash) -> None:
    ScheduledJob.objects.bulk_create([scheduled_job(job_key="gone")])
    sync.reconcile()
    job = ScheduledJob.objects.get(key="report")
    assert job.push_status == ScheduledJob.Push.FAILED
    assert "No job is registered as 'gone'" in job.push_error


def test_a_run_is_published_as_the_schedule_would_call(
    remote: QStash, tmp_path: Path, settings: Settings
) -> None:
    # Port 1 is closed, so the message stays at QStash to be looked at.
    settings.APP_URL = "http://127.0.0.1:1"
    row = sync.default_row(registry["sync-sites"])
    message_id = sync.publish_run(row, JobRun.Trigger.ADMIN, caller="jörg")
    message = remote.message.get(message_id)
    assert message.url == "http://127.0.0.1:1/api/cron/sync-sites"
    assert (message.method, message.max_retries) == ("GET", 3)
    headers = message.headers or {}
    assert headers["Soloboard-Trigger"] == ["admin"]
    assert headers["Soloboard-Caller"] == ["j?rg"]
    assert headers["Authorization"] == [f"Bearer {settings.CRON_SECRET}"]
    remote.message.cancel(message_id)


def test_messages_of_a_job_are_published_at_once_and_never_twice(
    remote: QStash, settings: Settings, unscheduled: Job
) -> None:
    settings.APP_URL = "http://127.0.0.1:1"
    begun_ms = int(time.time() * 1000) - 1
    messages = [
        Message(payload={"part": part}, deduplication_id=f"tests-{part}", delay_s=60)
        for part in range(3)
    ]
    assert sync.publish_messages(unscheduled, messages[:2]) == 2
    assert sync.publish_messages(unscheduled, messages) == 1
    logs = remote.log.list(filter={"from_time": begun_ms}).logs
    found = [remote.message.get(message_id) for message_id in {log.message_id for log in logs}]
    sent = [message for message in found if message.url == "http://127.0.0.1:1/api/tests/parts"]
    assert sorted(message.body or "" for message in sent) == [
        '{"action": "work", "part": 0}', '{"action": "work", "part": 1}', '{"action": "work", "part": 2}',
    ]  # fmt: skip
    for message in sent:
        assert message.method == "POST"
        assert (message.headers or {})["Soloboard-Trigger"] == ["message"]
        assert (message.not_before or 0) > begun_ms + 59_000
        remote.message.cancel(message.message_id)


def test_reconciling_makes_no_schedule_for_a_job_without_a_cadence(
    remote: QStash, unscheduled: Job
) -> None:
    assert unscheduled.key not in sync.reconcile().create
    assert not ScheduledJob.objects.filter(key=unscheduled.key).exists()


@pytest.fixture
def unscheduled() -> Iterator[Job]:
    job = Work().job(key="tests-parts", path="tests/parts", cron="")
    registry.register(job)
    yield job
    registry.unregister(job.key)
