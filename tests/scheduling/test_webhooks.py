"""The webhooks over real HTTP: what each outcome is answered. Who may call: test_authentication.py."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.db import InterfaceError, OperationalError
from pytest_django import Settings
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scheduling.errors import PayloadRefused, RetryLater
from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.run import JobResult
from scheduling.runner import LEASE_GRACE_S
from tests.scheduling.calls import PATH, TIMESTAMP, Calls, bearer, error_of
from tests.scheduling.server import running_server
from tests.scheduling.work import DONE, Gate, Work, fail_with

SYNC_SITES = "/api/cron/sync-sites"
LIMIT = 10 * 1024 * 1024


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield pool


@pytest.fixture
def running(
    calls: Calls, work: Work, pool: ThreadPoolExecutor
) -> Iterator[Future[httpx2.Response]]:
    """The delivery of message msg_running, whose job goes on until the end of the test."""
    gate = Gate()
    work.does = gate
    answer = pool.submit(calls.deliver, "msg_running")
    gate.wait_until_reached()
    work.does = lambda run: DONE
    yield answer
    gate.open()
    assert answer.result().status_code == 200


def test_a_finished_sync_is_answered_with_the_promised_json(calls: Calls) -> None:
    answer = calls.deliver("msg_1", "GET", SYNC_SITES)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert list(body) == ["success", "message", "result", "timestamp"]
    assert list(body["result"]) == ["total", "success", "failed", "duration"]
    assert body["success"] is True
    assert body["message"] == "Site data sync completed"
    assert TIMESTAMP.fullmatch(body["timestamp"])
    assert all(type(number) is int for number in body["result"].values())


def test_a_finished_job_is_answered_with_its_counts_and_recorded(calls: Calls, work: Work) -> None:
    headers = {"Upstash-Schedule-Id": "soloboard-work"}
    answer = calls.deliver("msg_1", body={"action": "work", "size": 3}, headers=headers)
    assert answer.status_code == 200
    body = answer.json()
    assert body["message"] == "Work done"
    assert list(body["result"]) == ["made", "lost", "duration"]
    assert [run.payload for run in work.runs] == [{"size": 3}]
    run = JobRun.objects.get()
    assert (run.status, run.trigger, run.attempt) == ("succeeded", "schedule", 1)
    assert (run.message_id, run.schedule_id) == ("msg_1", "soloboard-work")
    assert (run.job_key, run.caller, run.counts) == ("tests-work", "QStash", {"made": 2, "lost": 0})
    assert run.answer == body
    assert run.duration_ms is not None
    assert run.duration_ms >= body["result"]["duration"]


def test_a_message_that_was_done_is_answered_again_and_runs_nothing(
    calls: Calls, work: Work
) -> None:
    first = calls.deliver("msg_1")
    second = calls.deliver("msg_1", headers={"Upstash-Retried": "1"})
    assert (second.status_code, second.json()) == (200, first.json())
    assert len(work.runs) == JobRun.objects.count() == 1


def test_a_message_that_failed_runs_again_and_is_recorded_as_a_redelivery(
    calls: Calls, work: Work
) -> None:
    work.does = fail_with(ZeroDivisionError())
    assert calls.deliver("msg_1").status_code == 500
    work.does = lambda run: DONE
    assert calls.deliver("msg_1", headers={"Upstash-Retried": "1"}).status_code == 200
    again, first = JobRun.objects.all()
    assert (first.status, first.trigger, first.attempt) == ("failed", "api", 1)
    assert (again.status, again.trigger, again.attempt) == ("succeeded", "redelivery", 2)


def test_a_message_that_is_running_is_to_come_back_when_its_lease_ends(
    calls: Calls, work: Work, running: Future[httpx2.Response]
) -> None:
    answer = calls.deliver("msg_running", headers={"Upstash-Retried": "1"})
    assert answer.status_code == 503
    assert 300 < int(answer.headers["Retry-After"]) <= 300 + LEASE_GRACE_S + 1
    assert error_of(answer) == "This message is being worked on right now."
    assert len(work.runs) == JobRun.objects.count() == 1


def test_another_message_during_a_run_is_skipped_and_recorded(
    calls: Calls, work: Work, running: Future[httpx2.Response]
) -> None:
    answer = calls.deliver("msg_2")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["success", "skipped", "message", "timestamp"]
    assert (body["success"], body["skipped"]) == (True, True)
    assert re.fullmatch(r"Skipped: run \d+ of Work is still going", body["message"])
    skipped = JobRun.objects.get(message_id="msg_2")
    assert (skipped.status, skipped.answer) == ("skipped", body)
    assert len(work.runs) == 1
    assert calls.deliver("msg_2").json() == body


def test_a_bearer_call_during_a_run_is_skipped_each_time(
    calls: Calls, work: Work, running: Future[httpx2.Response]
) -> None:
    assert [calls.with_secret().json()["skipped"] for _ in range(2)] == [True, True]
    assert JobRun.objects.filter(status="skipped", trigger="api").count() == 2


@pytest.mark.parametrize(
    ("error", "message", "retry_after"),
    [
        (RetryLater("The platform rests.", retry_after_s=17), "The platform rests.", "17"),
        (RetryLater("The platform rests."), "The platform rests.", "60"),
        (OperationalError("gone"), "The database or Redis is away.", "60"),
        (InterfaceError("gone"), "The database or Redis is away.", "60"),
        (RedisConnectionError("gone"), "The database or Redis is away.", "60"),
        (RedisTimeoutError("gone"), "The database or Redis is away.", "60"),
    ],
)
def test_a_fault_that_may_pass_is_to_be_tried_again(
    calls: Calls, work: Work, error: Exception, message: str, retry_after: str
) -> None:
    work.does = fail_with(error)
    for answer in (calls.deliver("msg_1"), calls.with_secret()):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, retry_after)
        assert error_of(answer) == message
    runs = JobRun.objects.values_list("status", "error")
    assert list(runs) == [("failed", message)] * 2


NEVER_GOOD = {
    "unknown action": (b'{"action": "rest"}', "The action is 'rest'; known here: work."),
    "action of another type": (b'{"action": ["work"]}', "The action must be a text"),
    "nested action": (b'{"action": ' + b"[" * 900 + b"]" * 900 + b"}", "The "),
    "no object": (b"[]", "The body must be a JSON object"),
    "no object but a text": (b'"work"', "The body must be a JSON object"),
    "no object but null": (b"null", "The body must be a JSON object"),
    "malformed": (b'{"action": ', "The body is not JSON: Expecting value: line 1 column 12"),
    "a form": (b"action=work", "The body is not JSON"),
    "deep": (b'{"a": ' + b"[" * 100_000, "The body is not JSON: "),
    "long number": (b'{"a": ' + b"9" * 10_000 + b"}", "The body is not JSON: "),
    "not UTF-8": (b'{"name": "\xff\xfe"}', "The body is not text in UTF-8"),
    "surrogates as bytes": (b'{"name": "\xed\xa0\x80"}', "The body is not text in UTF-8"),
    "UTF-16": ('{"action": "work"}'.encode("utf-16"), "The body is not text in UTF-8"),
    "half a surrogate pair": (b'{"name": "\\ud800"}', "The body is not text in UTF-8"),
    "zero byte": (b'{"names": ["\\\\\\u0000"]}', "The body holds a zero byte"),
    "zero byte in a name": (b'{"\\u0000": 1}', "The body holds a zero byte"),
}


@pytest.mark.parametrize(("body", "message"), NEVER_GOOD.values(), ids=NEVER_GOOD)
def test_a_body_that_can_never_succeed_is_given_up(
    calls: Calls, work: Work, caplog: pytest.LogCaptureFixture, body: bytes, message: str
) -> None:
    for_qstash = calls.deliver("msg_1", body=body)
    assert for_qstash.status_code == 489
    assert for_qstash.headers["Upstash-NonRetryable-Error"] == "true"
    for_others = calls.with_secret(body=body)
    assert for_others.status_code == 400
    assert "Upstash-NonRetryable-Error" not in for_others.headers
    for answer in (for_qstash, for_others):
        assert error_of(answer).startswith(message)
    assert [record.getMessage() for record in caplog.records if message in record.getMessage()]
    assert work.runs == []
    refused = JobRun.objects.values_list("status", "message_id", "caller")
    assert set(refused) == {("failed", "msg_1", "QStash"), ("failed", "", "Bearer")}
    assert all(run.error.startswith(message) for run in JobRun.objects.all())


def test_a_payload_that_the_job_refuses_is_given_up_and_recorded(calls: Calls, work: Work) -> None:
    work.does = fail_with(PayloadRefused("'size' must be a number."))
    answer = calls.deliver("msg_1")
    assert answer.status_code == 489
    assert answer.headers["Upstash-NonRetryable-Error"] == "true"
    assert error_of(answer) == error_of(calls.with_secret()) == "'size' must be a number."
    assert calls.answers[-1].status_code == 400
    assert [run.status for run in JobRun.objects.all()] == ["failed", "failed"]


def test_a_field_that_a_sync_does_not_know_is_named(calls: Calls) -> None:
    answer = calls.with_secret(path=SYNC_SITES, body={"site": ["Shop"]})
    assert answer.status_code == 400
    assert error_of(answer).startswith("Unknown field 'site'; a sync takes sites, ")


def test_nesting_near_the_limit_of_the_interpreter_is_no_fault(calls: Calls, work: Work) -> None:
    for depth in range(850, 1000, 5):
        body = b'{"action": ' + b"[" * depth + b"]" * depth + b"}"
        assert calls.with_secret(body=body).status_code == 400


def test_a_bug_is_answered_without_its_traceback_which_stands_on_the_run(
    calls: Calls, work: Work, settings: Settings
) -> None:
    work.does = fail_with(ZeroDivisionError("made-up bug"))
    for answer in (calls.deliver("msg_1"), calls.with_secret()):
        assert answer.status_code == 500
        assert error_of(answer) == "The job failed; its run in the admin says where."
        assert "made-up bug" not in answer.text
    for run in JobRun.objects.all():
        assert (run.status, run.error) == ("failed", "ZeroDivisionError('made-up bug')")
        assert "work.py" in run.traceback


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("zero \x00 byte"), 500),
        (ValueError("x" * 10**6), 500),
        (PayloadRefused("zero \x00 byte, half a pair \ud800"), 489),
        (RetryLater("zero \x00 byte, half a pair \ud800"), 503),
    ],
    ids=["zero byte", "long", "refused", "retried"],
)
def test_an_error_that_the_database_cannot_hold_as_it_is_does_not_keep_the_run_open(
    calls: Calls, work: Work, error: Exception, status: int
) -> None:
    work.does = fail_with(error)
    assert calls.deliver("msg_1").status_code == status
    run = JobRun.objects.get()
    assert (run.status, bool(run.error)) == ("failed", True)


@pytest.mark.parametrize(
    "result",
    [None, JobResult(message="x", counts={"n": object()}), JobResult(message="\x00", counts={})],  # type: ignore[dict-item]
)
def test_a_result_that_cannot_be_recorded_is_a_bug_of_the_job(
    calls: Calls, work: Work, result: Any
) -> None:
    work.does = lambda run: result
    answer = calls.deliver("msg_1")
    assert answer.status_code == 500
    assert error_of(answer) == "The job failed; its run in the admin says where."
    assert JobRun.objects.get().status == "failed"
    assert "Traceback" in JobRun.objects.get().traceback


def test_the_action_chooses_among_the_jobs_of_one_path(calls: Calls, work: Work) -> None:
    rest = Work()
    registry.register(rest.job(key="tests-rest", body={"action": "rest"}))
    try:
        assert calls.deliver("msg_1", body={"action": "rest"}).status_code == 200
        assert calls.deliver("msg_2", body={"action": "work"}).status_code == 200
        missing = calls.deliver("msg_3")
    finally:
        registry.unregister("tests-rest")
    assert len(rest.runs) == len(work.runs) == 1
    assert missing.status_code == 489
    assert error_of(missing) == "The action is missing; known here: rest, work."


# --- Addresses, methods, sizes --------------------------------------------------------------------


def test_the_host_header_decides_nothing(calls: Calls, work: Work) -> None:
    answer = calls.deliver("msg_1", headers={"Host": "testserver.example"})
    assert answer.status_code == 200
    refused = calls.deliver("msg_2", headers={"Host": "evil.example"})
    assert refused.status_code == 400
    assert "APP_URL" in error_of(refused)
    headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    assert calls.deliver("msg_3", headers=headers).status_code == 200
    assert len(work.runs) == 2


@pytest.mark.parametrize(
    "path", [PATH + "/", SYNC_SITES + "/", "/api/cron/sync-site", "/api/", "/api/%00", "/api//"]
)
def test_an_unknown_route_is_a_404_in_json_and_never_a_redirect(
    calls: Calls, work: Work, path: str
) -> None:
    for method in ("GET", "POST"):
        answer = calls.deliver("msg_1", method, path)
        assert answer.status_code == 404
        assert "The routes have no trailing slash" in error_of(answer)


def test_a_method_that_no_job_is_called_with_is_refused(calls: Calls, work: Work) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        for path in (PATH, SYNC_SITES):
            answer = calls.deliver("msg_1", method, path)
            assert answer.status_code == 405
            assert error_of(answer) == f'Method "{method}" not allowed.'


def test_a_job_that_is_posted_to_does_not_run_on_a_get(calls: Calls, work: Work) -> None:
    for answer in (calls.deliver("msg_1", "GET"), calls.with_secret("GET")):
        assert answer.status_code == 405
        assert error_of(answer) == 'Method "GET" not allowed.'
    assert work.runs == []


def test_a_body_of_ten_mebibytes_is_read_and_a_larger_one_refused(calls: Calls, work: Work) -> None:
    largest = b'{"text": "' + b"x" * (LIMIT - 12) + b'"}'
    assert len(largest) == LIMIT
    assert calls.deliver("msg_1", body=largest).status_code == 200
    assert len(work.runs[0].payload["text"]) == LIMIT - 12
    for answer in (
        calls.deliver("msg_2", body=largest + b" "),
        calls.with_secret(body=largest + b" "),
    ):
        assert answer.status_code == 413
        assert error_of(answer) == f"The body is larger than {LIMIT} bytes."
    assert len(work.runs) == 1


def test_a_body_without_a_length_is_refused_instead_of_read_as_empty(
    calls: Calls, work: Work
) -> None:
    answer = calls._http.post(PATH, content=iter([b'{"size": 1}']), headers=bearer())
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 411
    assert "Content-Length" in error_of(answer)
    assert work.runs == []


def test_a_caller_that_accepts_none_of_our_formats_is_answered_in_json(
    calls: Calls, work: Work
) -> None:
    for number, accept in enumerate(["application/xml", "*/*", "nonsense", ""]):
        answer = calls.deliver(f"msg_{number}", headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json()["message"] == "Work done"


def test_json_is_read_whatever_its_content_type(calls: Calls, work: Work) -> None:
    types = [
        "text/plain",
        "application/x-www-form-urlencoded",  # what curl -d says by itself
        "multipart/form-data",
        "nonsense",
        "application/json; charset=x",
    ]
    for content_type in types:
        headers = {"Content-Type": content_type}
        assert calls.call(body={"size": 1}, headers={**bearer(), **headers}).status_code == 200
        answer = calls.deliver(content_type, body={"size": 1}, headers=headers)
        assert answer.status_code == 200
    assert [run.payload for run in work.runs] == [{"size": 1}] * 2 * len(types)


@pytest.mark.django_db(transaction=True)
def test_behind_https_no_webhook_is_redirected(settings: Settings, tmp_path: Path) -> None:
    settings.APP_URL = "https://board.example"
    server = running_server(tmp_path, environment={"APP_URL": settings.APP_URL})
    with server as running, Calls(running.address) as calls:
        assert calls.call("GET", "/admin/").status_code == 301
        assert calls.deliver("msg_1", "GET", SYNC_SITES).status_code == 200
        assert calls.deliver("msg_2", "GET", SYNC_SITES + "/").status_code == 404
        assert calls.call("POST", SYNC_SITES).status_code == 401
        too_large = calls.with_secret(path=SYNC_SITES, body=b" " * (LIMIT + 1))
        assert (too_large.status_code, "larger than" in error_of(too_large)) == (413, True)
    assert JobRun.objects.get().message_id == "msg_1"
