"""How every kind of error looks to the caller."""

import json
from typing import Any

import pytest

from tests.qstash_server.running import Running, Sink

OK = "/v2/publish/http://127.0.0.1:9/x"
SCHEDULE = "/v2/schedules/http://127.0.0.1:9/x"
TOO_LARGE = 10_000_001

CASES: list[tuple[str, str, dict[str, str], Any, int, str]] = [
    # A bad option.
    ("POST", SCHEDULE, {}, "", 400, "Invalid cron expression empty spec string"),
    ("POST", SCHEDULE, {"Upstash-Cron": "every day"}, "", 400, "Invalid cron expression"),
    ("POST", SCHEDULE, {"Upstash-Cron": "0 * * * * *"}, "", 400, "exactly 5 fields, found 6"),
    ("POST", SCHEDULE, {"Upstash-Cron": "61 * * * *"}, "", 400, "end of range (61) above maximum"),
    ("POST", OK, {"Upstash-Delay": "soon"}, "", 400, "invalid Upstash-Delay 'soon': a duration is"),
    ("POST", OK, {"Upstash-Timeout": "5"}, "", 400, "invalid Upstash-Timeout '5': a duration is"),
    ("POST", OK, {"Upstash-Retry-Delay": "os.exit()"}, "", 400, "invalid retry delay expression"),
    ("POST", OK, {"Upstash-Retries": "-1"}, "", 400, "invalid Upstash-Retries '-1'"),
    # A bad destination.
    ("POST", "/v2/publish/http://x.invalid/", {}, "", 400,
     "invalid destination url: unable to resolve host: x.invalid"),
    ("POST", "/v2/publish/example.com/x", {}, "", 400,
     "invalid destination url: endpoint has invalid scheme, add http:// or https://"),
    ("POST", "/v2/publish/my-group", {}, "", 404, "url group 'my-group' not found"),
    ("GET", "/v2/topics/my-group", {}, None, 404, "url group 'my-group' not found"),
    ("POST", "/v2/publish/api/llm", {}, "", 400, "LLM and e-mail providers are Upstash's own"),
    ("POST", "/v2/publish/api/llm/v1/chat/completions", {}, "", 400, "LLM and e-mail providers"),
    ("POST", "/v2/publish/api/email", {}, "", 400, "LLM and e-mail providers"),
    # What is not here.
    ("GET", "/v2/messages/msg_1", {}, None, 404, "message msg_1 not found"),
    ("DELETE", "/v2/messages/msg_1", {}, None, 404, "message msg_1 not found"),
    ("POST", "/v2/messages/msg_1/retry", {}, "", 404, "message msg_1 not found"),
    ("GET", "/v2/schedules/s", {}, None, 404, "schedule s not found"),
    ("GET", "/v2/dlq/1-1", {}, None, 404, "dlq message 1-1 not found"),
    ("POST", "/v2/dlq/retry/1-1", {}, "", 404, "dlq message 1-1 not found"),
    ("GET", "/v2/nothing", {}, None, 404, "no such path: /v2/nothing"),
    ("PUT", "/v2/messages/msg_1", {}, "", 405, "PUT is not allowed here: DELETE, GET"),
    ("GET", OK, {}, None, 405, "GET is not allowed here: POST"),
    # A bad body.
    ("POST", "/v2/batch", {}, "{", 400, "the body is not valid JSON"),
    ("POST", "/v2/batch", {}, "{}", 400, "a batch is a JSON array of messages"),
    ("POST", "/v2/queues", {}, "nonsense", 400, "the body is not valid JSON"),
    ("POST", "/v2/topics/g/endpoints", {}, "nonsense", 400, "the body is not valid JSON"),
    ("DELETE", "/v2/messages", {}, "nonsense", 400, "the body is not valid JSON"),
    ("DELETE", "/v2/dlq", {}, "nonsense", 400, "the body is not valid JSON"),
    ("POST", OK, {}, b"x" * TOO_LARGE, 412, "the body has 10000001 bytes; the limit is 10000000"),
    # A caller who may not ask.
    ("GET", "/v2/keys", {"Authorization": "Bearer wrong"}, None, 401, "unauthorized"),
    ("GET", "/v2/nothing", {"Authorization": "Bearer wrong"}, None, 401, "unauthorized"),
    ("POST", OK, {"Authorization": "Basic eDp5"}, "", 401, "unauthorized"),
    ("GET", "/v2/keys", {"Origin": "https://evil.example"}, None, 403, "evil.example"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "text"),
    CASES,
    ids=[f"{case[4]} {case[0]} {case[1]} {case[5]}"[:60] for case in CASES],
)
def test_error_is_one_text_in_a_json_object(
    server: Running,
    method: str,
    path: str,
    headers: dict[str, str],
    body: Any,
    status: int,
    text: str,
) -> None:
    answer = server.request(method, path, body, headers)
    assert answer.status == status
    assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
    assert list(answer.json) == ["error"]
    assert text in answer.json["error"]
    assert server.sdk.message.cancel_all() == 0
    assert server.sdk.schedule.list() == []


def test_batch_says_what_is_wrong_with_each_item(server: Running, sink: Sink) -> None:
    items = [
        {"destination": sink.url, "body": "x" * TOO_LARGE},
        {"destination": "http://x.invalid/"},
        {"destination": "example.com"},
        {"destination": "my-group"},
        {"destination": "api/llm"},
        {"destination": sink.url, "headers": {"Upstash-Retry-Delay": "1 +"}},
        {"destination": sink.url, "headers": {"Upstash-Delay": "soon"}},
        {"destination": sink.url, "headers": {"Upstash-Retries": 3}},
        {"destination": sink.url, "body": {"n": 1}},
        {"body": "x"},
        {"destination": sink.url, "body": "fine"},
    ]
    answer = server.request("POST", "/v2/batch", json.dumps(items))
    assert answer.status == 200
    errors = [(entry.get("status"), entry.get("error", "")) for entry in answer.json]
    expected = [
        (412, "the limit is 10000000"),
        (400, "unable to resolve host: x.invalid"),
        (400, "add http:// or https://"),
        (404, "url group 'my-group' not found"),
        (400, "LLM and e-mail providers"),
        (400, "invalid retry delay expression"),
        (400, "invalid Upstash-Delay"),
        (400, "the headers of a message are an object of strings"),
        (400, "the body of a message is a string or null"),
        (400, "an object with a destination"),
        (None, ""),
    ]
    assert [status for status, _ in errors] == [status for status, _ in expected]
    assert all(text in error for (_, error), (_, text) in zip(errors, expected, strict=True))
    server.settle()
    assert [delivery.body for delivery in sink.deliveries] == [b"fine"]
