"""Cadences within a minute: which ticks are due, and the whole way of them over a QStash server."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any

import httpx2
import pytest
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer
from qstash import QStash
from qstash.errors import QStashError
from qstash.message import Message

from scheduling import sync
from scheduling.models import MINUTE_TIMEOUT_S, JobRun, ScheduledJob
from scheduling.qstash import PATIENT_TIMEOUT
from scheduling.runner import LEASE_GRACE_S
from scheduling.ticks import due_ticks
from tests.scheduling.calls import PATH, Calls, error_of
from tests.scheduling.factories import scheduled_job
from tests.scheduling.work import DONE, Gate, Work

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
#: QStash knows the ticks of the tests before, so each has a schedule of its own.
KEYS = (f"report-{number}" for number in count())


def due(
    cron: str,
    *,
    late_s: float = 0,
    until_s: float | None = None,
    edited_s: float = -9999,
    **fields: Any,
) -> list[str]:
    """The ticks at so many seconds after noon, as minute and second.

    until_s: how far the last call came. edited_s: when the row was saved.
    """
    row = scheduled_job(
        cron=cron,
        updated_at=NOON + timedelta(seconds=edited_s),
        ticked_until=None if until_s is None else NOON + timedelta(seconds=until_s),
        **fields,
    )
    return [f"{tick.at:%M:%S}" for tick in due_ticks(row, NOON + timedelta(seconds=late_s))]


def test_a_call_publishes_until_the_next_one_and_somewhat_further() -> None:
    assert due("*/20 * * * * *", until_s=10) == ["00:20", "00:40", "01:00"]
    assert due("*/20 * * * * *", late_s=60, until_s=70) == ["01:20", "01:40", "02:00"]


def test_calls_that_come_late_leave_no_gap_and_double_nothing() -> None:
    published: list[str] = []
    until_s: float | None = 0
    for late_s in (0.3, 61, 129.9, 180, 180, 240):
        published += due("*/5 * * * * *", late_s=late_s, until_s=until_s)
        until_s = late_s + 70
    expected = [NOON + timedelta(seconds=second) for second in range(5, 311, 5)]
    assert published == [f"{at:%M:%S}" for at in expected]


def test_of_missed_ticks_the_last_one_is_made_up_for() -> None:
    assert due("*/5 * * * * *", late_s=1800.5, until_s=70)[:3] == ["30:00", "30:05", "30:10"]
    assert due("*/20 * * * * *", late_s=33, until_s=-60) == [
        "00:20",
        "00:40",
        "01:00",
        "01:20",
        "01:40",
    ]


def test_a_rare_tick_is_made_up_for_by_a_retry_and_not_on_the_next_day() -> None:
    assert due("30 0 12 * * *", late_s=0, until_s=-86_330) == ["00:30"]
    assert due("30 0 12 * * *", late_s=148, until_s=-86_330) == ["00:30"]
    assert due("30 0 12 * * *", late_s=3700, until_s=-86_330) == []


def test_what_fired_before_an_edit_is_not_made_up_for() -> None:
    assert due("*/20 * * * * *", late_s=33, edited_s=25) == ["00:40", "01:00", "01:20", "01:40"]


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    assert due("*/20 * * * * *", late_s=1, until_s=7200, edited_s=7000)[0] == "00:20"


def test_a_paused_schedule_has_no_ticks() -> None:
    assert due("*/5 * * * * *", enabled=False) == []


def test_the_time_zone_decides_in_which_minutes_ticks_lie() -> None:
    assert due("30 * 14 * * *", timezone="Europe/Vienna", until_s=0) == ["00:30"]
    assert due("30 * 12 * * *", timezone="Europe/Vienna", until_s=0) == []


def test_a_tick_is_not_tried_again_when_the_next_one_is_near() -> None:
    row = scheduled_job(cron="0,30 0 12 * * *", retries=5, updated_at=NOON)
    assert [tick.retries for tick in due_ticks(row, NOON - timedelta(seconds=5))] == [0, 5]


# --- At QStash ------------------------------------------------------------------------------------


@pytest.fixture
def app(
    remote: QStash,
    qstash_server: dict[str, str],
    live_server: LiveServer,
    settings: Settings,
    work: Work,
) -> Iterator[QStash]:
    """The QStash server and the app, with a job to run, reach each other; returned is the former."""
    settings.APP_URL = live_server.url
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.QSTASH_CURRENT_SIGNING_KEY = qstash_server["QSTASH_CURRENT_SIGNING_KEY"]
    settings.QSTASH_NEXT_SIGNING_KEY = qstash_server["QSTASH_NEXT_SIGNING_KEY"]
    yield remote
    # What is left would be delivered to the tests that follow.
    remote.message.cancel_all()


def schedule(**fields: Any) -> ScheduledJob:
    """A row that was there before this minute, and is not pushed."""
    defaults = {"key": next(KEYS), "job_key": "tests-work", "body": '{"action": "work"}'}
    row = scheduled_job(**{**defaults, "cron": "*/2 * * * * *", **fields})
    ScheduledJob.objects.bulk_create([row])
    long_ago = timezone.now() - timedelta(days=1)
    ScheduledJob.objects.filter(pk=row.pk).update(updated_at=long_ago, ticked_until=timezone.now())
    return row


def call_minute(
    calls: Calls, row: ScheduledJob, message_id: str, **headers: str
) -> httpx2.Response:
    """Call for the ticks of a row as its schedule at QStash does."""
    headers = {"Upstash-Schedule-Id": row.schedule_id, **headers}
    return calls.deliver(message_id, path=f"/api/ticks/{row.key}", headers=headers)


def published(remote: QStash, row: ScheduledJob) -> list[Message]:
    """The ticks of a row that QStash has, in order."""
    answer = remote.http.request(path="/v2/events?count=1000&state=CREATED", method="GET")
    messages = []
    for event in answer["events"]:
        with suppress(QStashError):  # It was delivered a while ago.
            messages.append(remote.message.get(event["messageId"]))
    mark = ("Soloboard-Schedule", [row.schedule_id])
    own = [message for message in messages if mark in (message.headers or {}).items()]
    return sorted(own, key=lambda message: message.not_before)


@pytest.mark.django_db(transaction=True)
def test_qstash_has_a_schedule_of_the_minutes(
    remote: QStash, settings: Settings, work: Work
) -> None:
    row = scheduled_job(
        job_key="tests-work",
        cron="0,30 * 9-17 * * 1-5",
        timezone="Europe/Vienna",
        headers={"X-One": "1"},
        callback_url="https://example.com/cb",
        label="work",
    )
    row.save()
    there = remote.schedule.get("soloboard-report")
    assert there.destination == f"{settings.APP_URL}/api/ticks/report"
    assert there.cron == "CRON_TZ=Europe/Vienna * 9-17 * * 1-5"
    assert (there.method, there.body, there.callback) == ("POST", None, None)
    assert (there.retries, there.timeout, there.label) == (3, 25, "work")
    assert there.headers == {
        "X-One": ["1"],
        "Authorization": [f"Bearer {settings.CRON_SECRET}"],
    }
    row.refresh_from_db()
    assert row.is_pushed
    assert sync.make_plan().unchanged == ["report"]
    row.cron = "*/5 * * * *"
    row.save()
    assert remote.schedule.get("soloboard-report").destination == f"{settings.APP_URL}{PATH}"


@pytest.mark.django_db(transaction=True)
def test_an_address_of_others_may_have_such_a_cadence_and_keeps_its_secrets(
    app: QStash, calls: Calls, settings: Settings
) -> None:
    row = schedule(
        job_key="",
        url="http://127.0.0.1:1/hook",
        secret_headers={"X-Key": "made-up-value"},
        body="hello",
    )
    sync.reconcile()
    there = app.schedule.get(row.schedule_id)
    assert there.destination == f"{settings.APP_URL}/api/ticks/{row.key}"
    assert not there.headers
    assert call_minute(calls, row, "msg_1").status_code == 200
    message = published(app, row)[-1]
    assert (message.url, message.body) == ("http://127.0.0.1:1/hook", "hello")
    assert (message.headers or {})["X-Key"] == ["made-up-value"]


@pytest.mark.django_db(transaction=True)
def test_a_new_app_url_is_pushed_for_an_address_of_others_too(
    remote: QStash, settings: Settings
) -> None:
    scheduled_job(cron="*/5 * * * * *").save()
    settings.APP_URL = "https://elsewhere.example"
    assert not ScheduledJob.objects.get().is_pushed


def test_a_call_of_the_minute_is_answered_with_what_it_published_and_recorded(
    app: QStash, calls: Calls, work: Work
) -> None:
    row = schedule(cron="*/5 * * * * *")
    answer = call_minute(calls, row, "msg_1")
    assert answer.status_code == 200
    assert answer.json()["message"] == "Ticks published"
    run = JobRun.objects.get(message_id="msg_1")
    assert (run.job_key, run.trigger) == (f"ticks/{row.key}", "minute")
    assert (run.status, run.schedule_id) == ("succeeded", row.schedule_id)
    assert run.counts in ({"published": 14, "known": 0}, {"published": 15, "known": 0})
    assert not JobRun.objects.filter(job_key="tests-work", trigger="minute").exists()


def test_a_tick_is_a_message_for_its_instant_with_the_path_and_body_of_the_job(
    app: QStash, calls: Calls, work: Work, settings: Settings
) -> None:
    row = schedule(cron="*/20 * * * * *", retries=4, label="work")
    call_minute(calls, row, "msg_1")
    message = published(app, row)[-1]
    assert message.url == f"{settings.APP_URL}{PATH}"
    assert (message.method, message.body) == ("POST", '{"action": "work"}')
    assert (message.max_retries, message.label) == (0, "work")
    assert message.not_before % 20_000 == 0
    assert 30_000 < message.not_before - time.time() * 1000 <= 70_000
    assert (message.headers or {})["Soloboard-Schedule"] == [row.schedule_id]


def test_repeated_calls_of_a_minute_double_no_tick(app: QStash, calls: Calls, work: Work) -> None:
    row = schedule(cron="*/5 * * * * *")
    first = call_minute(calls, row, "msg_1").json()
    assert call_minute(calls, row, "msg_1").json() == first
    second = call_minute(calls, row, "msg_2").json()["result"]
    # The row was not written, as when the process died just before: QStash knows the ticks itself.
    long_ago = timezone.now() - timedelta(minutes=5)
    ScheduledJob.objects.filter(pk=row.pk).update(ticked_until=long_ago)
    third = call_minute(calls, row, "msg_3").json()["result"]
    assert third["known"] >= 12
    instants = [message.not_before for message in published(app, row)]
    assert len(instants) == len(set(instants))
    # New are the last tick before the row was made, and what came within reach between the calls.
    assert second["published"] + third["published"] <= 3
    assert len(instants) <= first["result"]["published"] + second["published"] + third["published"]


def test_a_minute_that_qstash_does_not_take_is_to_be_tried_again_soon(
    app: QStash, calls: Calls, work: Work, settings: Settings
) -> None:
    row = schedule()
    url, settings.QSTASH_URL = settings.QSTASH_URL, "http://127.0.0.1:1"
    refused = call_minute(calls, row, "msg_1")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "cannot be reached" in error_of(refused)
    settings.QSTASH_URL = url
    again = call_minute(calls, row, "msg_1", **{"Upstash-Retried": "1"})
    assert again.json()["result"]["published"] > 30
    assert list(JobRun.objects.filter(message_id="msg_1").values_list("trigger", "attempt")) == [
        ("minute", 2),
        ("minute", 1),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_schedule_that_has_gone_is_given_up(calls: Calls) -> None:
    answer = calls.deliver("msg_1", path="/api/ticks/report")
    assert answer.status_code == 489
    assert "no schedule 'report'" in error_of(answer)


def test_a_schedule_whose_job_has_gone_is_given_up(app: QStash, calls: Calls) -> None:
    row = schedule(job_key="gone")
    assert call_minute(calls, row, "msg_1").status_code == 489


def test_a_call_for_a_paused_schedule_publishes_nothing_and_costs_no_tick_after_the_pause(
    app: QStash, calls: Calls
) -> None:
    row = schedule(enabled=False)
    assert call_minute(calls, row, "msg_1").json()["result"]["published"] == 0
    ScheduledJob.objects.filter(pk=row.pk).update(enabled=True)
    assert call_minute(calls, row, "msg_2").json()["result"]["published"] >= 35


def test_nobody_publishes_ticks_without_a_credential(app: QStash, calls: Calls, work: Work) -> None:
    path = f"/api/ticks/{schedule().key}"
    assert calls.call(path=path).status_code == 401
    assert not JobRun.objects.exists()
    assert calls.with_secret("GET", path).status_code == 405
    assert calls.with_secret(path=path).status_code == 200


def test_a_captured_tick_is_no_call_of_the_minute(app: QStash, calls: Calls, work: Work) -> None:
    row, body = schedule(), {"action": "work"}
    calls.deliver("msg_1", body=body)
    captured = {"Upstash-Signature": calls.answers[-1].request.headers["Upstash-Signature"]}
    path = f"/api/ticks/{row.key}"
    assert calls.deliver("msg_2", path=path, body=body, headers=captured).status_code == 401


def test_a_tick_is_skipped_while_the_former_one_runs(app: QStash, calls: Calls, work: Work) -> None:
    row = schedule(cron="* * * * * *")
    gate = Gate()
    work.does = gate
    call_minute(calls, row, "msg_1")
    gate.wait_until_reached()
    wait_until(lambda: JobRun.objects.filter(status="skipped").count() >= 2)
    gate.open()
    assert len(work.runs) == 1
    skipped = JobRun.objects.filter(status="skipped")
    assert set(skipped.values_list("schedule_id", flat=True)) == {row.schedule_id}


def test_ticks_run_the_job_at_their_seconds(app: QStash, calls: Calls, work: Work) -> None:
    started: list[float] = []

    def note_time(run: Any) -> Any:
        started.append(time.time())
        return DONE

    work.does = note_time
    row = schedule()
    call_minute(calls, row, "msg_1")
    wait_until(lambda: len(started) >= 4)
    assert max(at % 2 for at in started) < 1.5
    instants = [at // 2 for at in started]
    assert [later - earlier for earlier, later in pairwise(instants)] == [1] * (len(instants) - 1)
    run = JobRun.objects.filter(job_key="tests-work", status="succeeded").latest("pk")
    assert (run.trigger, run.schedule_id, run.caller) == ("schedule", row.schedule_id, "QStash")
    assert run.message_id.startswith("msg_")


def wait_until(is_so: Any, timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "It never happened."
        time.sleep(0.05)


def test_the_call_of_a_minute_ends_before_the_next_one() -> None:
    assert MINUTE_TIMEOUT_S + LEASE_GRACE_S < 60
    patience_s = (PATIENT_TIMEOUT.connect or 0) + (PATIENT_TIMEOUT.read or 0)
    assert patience_s < MINUTE_TIMEOUT_S
