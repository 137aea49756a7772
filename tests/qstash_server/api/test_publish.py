import base64
import json

import pytest
from qstash import Receiver

from qstash_server.settings import DEVELOPMENT_KEYS
from tests.qstash_server.running import Reply, Running, Sink
from tests.qstash_server.running import publish as publish_by_sdk


def test_delivery_carries_body_headers_and_a_signature_that_the_sdk_accepts(
    server: Running, sink: Sink
) -> None:
    url = sink.url + "/hook"
    message_id = server.publish(
        url, body='{"a": 1}', content_type="application/json", headers={"X-Test": "yes"}
    )
    [delivery] = sink.wait_for("/hook")
    assert delivery.method == "POST"
    assert delivery.json == {"a": 1}
    assert delivery.headers["Content-Type"] == "application/json"
    assert delivery.headers["X-Test"] == "yes"
    assert delivery.headers["User-Agent"] == "Upstash-QStash"
    assert delivery.headers["Upstash-Message-Id"] == message_id
    assert delivery.headers["Upstash-Retried"] == "0"
    assert delivery.headers["Upstash-Region"] == "EU-CENTRAL-1"
    assert delivery.headers["Upstash-Caller-Ip"] == "127.0.0.1"
    Receiver(DEVELOPMENT_KEYS.current, DEVELOPMENT_KEYS.next).verify(
        signature=delivery.headers["Upstash-Signature"], body=delivery.body.decode(), url=url
    )


def test_raw_path_and_query_of_the_destination_are_called_byte_for_byte(
    server: Running, sink: Sink
) -> None:
    target = "/a%20b//c/%C3%BC/%2F/../d?x=1&y=a%2Fb&z=%20+&empty="
    answer = server.request(
        "POST",
        f"/v2/publish/{sink.url}{target}&upstash-retries=0",
        headers={"Upstash-Method": "PUT"},
    )
    assert answer.status == 200
    server.settle()
    [delivery] = sink.deliveries
    assert (delivery.method, delivery.target) == ("PUT", target)
    message = server.sdk.message.get(answer.json["messageId"])
    assert (message.url, message.max_retries) == (sink.url + target, 0)


def test_token_in_the_query_is_not_passed_on(server: Running, sink: Sink) -> None:
    answer = server.request(
        "POST", f"/v2/publish/{sink.url}/hook?a=b&qstash_token={server.token}", token=""
    )
    assert answer.status == 200
    assert sink.wait_for("/hook")[0].target == "/hook?a=b"


def test_body_bytes_arrive_unchanged(server: Running, sink: Sink) -> None:
    body = bytes(range(256)) * 40
    response = publish_by_sdk(server.sdk, sink.url + "/bytes", body=body)
    assert sink.wait_for("/bytes")[0].body == body
    message = server.sdk.message.get(response.message_id)
    assert message.body is None
    assert message.body_base64 is not None
    assert base64.b64decode(message.body_base64) == body


def test_compressed_body_is_not_unpacked(server: Running, sink: Sink) -> None:
    answer = server.request(
        "POST", f"/v2/publish/{sink.url}/gzip", b"\x1f\x8bnot", {"Content-Encoding": "gzip"}
    )
    assert answer.status == 200
    assert sink.wait_for("/gzip")[0].body == b"\x1f\x8bnot"


def test_delayed_message_leaves_when_it_is_due_and_not_before(server: Running, sink: Sink) -> None:
    server.sdk.message.publish(url=sink.url + "/later", body="x", delay="1m30s")
    server.advance(89)
    assert sink.to("/later") == []
    server.advance(1)
    assert len(sink.to("/later")) == 1


def test_not_before_is_unix_seconds_and_wins_over_the_delay(server: Running, sink: Sink) -> None:
    at_s = server.clock.now_ms() // 1000 + 10
    server.sdk.message.publish(url=sink.url + "/at", body="x", delay=500, not_before=at_s)
    server.advance(9)
    assert sink.to("/at") == []
    server.advance(1)
    assert len(sink.to("/at")) == 1


def test_same_deduplication_id_answers_202_with_the_first_message(
    server: Running, sink: Sink
) -> None:
    def publish() -> tuple[int, dict[str, object]]:
        path = f"/v2/publish/{sink.url}/once"
        answer = server.request("POST", path, "x", {"Upstash-Deduplication-Id": "one"})
        return answer.status, answer.json

    status, first = publish()
    assert (status, list(first)) == (200, ["messageId"])
    assert publish() == (202, {"messageId": first["messageId"], "deduplicated": True})
    server.settle()
    assert len(sink.to("/once")) == 1
    server.advance(601)
    assert publish()[0] == 200


def test_content_based_deduplication_looks_at_body_destination_and_headers(
    server: Running, sink: Sink
) -> None:
    def publish(path: str, body: str, header: str) -> bool:
        return publish_by_sdk(
            server.sdk,
            sink.url + path,
            body=body,
            headers={"X-A": header},
            content_based_deduplication=True,
        ).deduplicated

    assert not publish("/a", "1", "h")
    assert publish("/a", "1", "h")
    assert not publish("/b", "1", "h")
    assert not publish("/a", "2", "h")
    assert not publish("/a", "1", "i")


def test_batch_answers_in_order_and_a_bad_item_stops_no_other(server: Running, sink: Sink) -> None:
    items = [
        {"destination": sink.url + "/1", "headers": {"Upstash-Forward-N": "1"}, "body": "one"},
        {"destination": "example.com/no-scheme", "headers": {}, "body": None, "queue": None},
        {"destination": sink.url + "/3", "headers": {"Upstash-Retries": "many"}},
        {"destination": sink.url + "/4", "queue": "q/r"},
        {"destination": sink.url + "/5"},
        "nonsense",
    ]
    answer = server.request("POST", "/v2/batch", json.dumps(items))
    assert answer.status == 200
    assert [sorted(entry) for entry in answer.json] == [
        ["messageId"],
        ["error", "status"],
        ["error", "status"],
        ["error", "status"],
        ["messageId"],
        ["error", "status"],
    ]
    assert "add http:// or https://" in answer.json[1]["error"]
    server.settle()
    assert {d.target: d.body for d in sink.deliveries} == {"/1": b"one", "/5": b""}
    assert sink.to("/1")[0].headers["N"] == "1"


def test_batch_of_the_sdk_is_delivered(server: Running, sink: Sink) -> None:
    receipts = server.sdk.message.batch_json(
        [{"url": sink.url + "/a", "body": {"n": 1}}, {"url": sink.url + "/b", "method": "GET"}]
    )
    assert len(receipts) == 2
    server.settle()
    assert sink.to("/a")[0].json == {"n": 1}
    assert sink.to("/b")[0].method == "GET"


@pytest.mark.parametrize(
    ("destination", "headers", "status", "text"),
    [
        ("ftp://example.com", {}, 400, "add http:// or https://"),
        ("localhost:3000/api", {}, 400, "add http:// or https://"),
        ("https:/example.com", {}, 400, "add http:// or https://"),
        ("https://", {}, 400, "no host"),
        ("https://[::1", {}, 400, "invalid destination url"),
        ("my-group", {}, 404, "not found"),
        ("api/llm", {}, 400, "api/llm"),
        ("{sink}", {"Upstash-Retries": "-1"}, 400, "Upstash-Retries"),
        ("{sink}", {"Upstash-Retries": "1.5"}, 400, "whole number"),
        ("{sink}", {"Upstash-Delay": "5 minutes"}, 400, "1d10h30m"),
        ("{sink}", {"Upstash-Delay": "9" * 12 + "d"}, 400, "longer than"),
        ("{sink}", {"Upstash-Not-Before": "1795314421786"}, 400, "in seconds, not milliseconds"),
        ("{sink}", {"Upstash-Timeout": "soon"}, 400, "Upstash-Timeout"),
        ("{sink}", {"Upstash-Retry-Delay": "retried +"}, 400, "retry delay expression"),
        ("{sink}", {"Upstash-Method": "TRACE"}, 400, "GET, POST"),
        ("{sink}", {"Upstash-Callback": "example.com"}, 400, "invalid callback url"),
        (
            "{sink}",
            {"Upstash-Callback": "https://a.b", "Upstash-Callback-Delay": "1s"},
            400,
            "cannot be delayed",
        ),
        ("{sink}", {"Upstash-Cron": "* * * * *"}, 400, "/v2/schedules/"),
        ("{sink}", {"Upstash-Flow-Control-Value": "rate=1"}, 400, "Flow-Control-Key"),
        ("http://does-not-exist.invalid/x", {}, 400, "unable to resolve host: does-not-exist"),
        ("example.com", {}, 400, "add http:// or https://"),
        ("{sink}", {"Upstash-Forward-Content-Length": "5"}, 400, "belongs to the connection"),
        ("{sink}", {"Upstash-Redact-Fields": "url"}, 400, "Upstash-Redact-Fields"),
        ("{sink}", {"Upstash-Content-Based-Deduplication": "maybe"}, 400, "true or false"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    server: Running, sink: Sink, destination: str, headers: dict[str, str], status: int, text: str
) -> None:
    path = f"/v2/publish/{destination.format(sink=sink.url)}"
    answer = server.request("POST", path, "x", headers)
    assert answer.status == status
    assert text in answer.json["error"]
    server.settle()
    assert sink.deliveries == []


def test_header_cannot_be_injected_through_a_query_parameter(server: Running, sink: Sink) -> None:
    answer = server.request(
        "POST", f"/v2/publish/{sink.url}/x?upstash-forward-a=b%0d%0aEvil:%201", "x"
    )
    assert answer.status == 400
    assert "control characters" in answer.json["error"]


def test_header_cannot_be_injected_through_a_batch(server: Running, sink: Sink) -> None:
    items = [{"destination": sink.url, "headers": {"Upstash-Forward-A\r\nEvil": "1"}}]
    answer = server.request("POST", "/v2/batch", json.dumps(items))
    assert "invalid header name" in answer.json[0]["error"]


def test_header_forward_passes_all_headers_but_those_of_the_connection_and_the_token(
    server: Running, sink: Sink
) -> None:
    server.request(
        "POST",
        f"/v2/publish/{sink.url}/all",
        "x",
        {"Upstash-Header-Forward": "true", "X-Mine": "1", "Content-Type": "text/csv"},
    )
    [delivery] = sink.wait_for("/all")
    assert delivery.headers["X-Mine"] == "1"
    assert delivery.headers["Content-Type"] == "text/csv"
    assert delivery.headers["Host"] == sink.url.removeprefix("http://")
    assert "Authorization" not in delivery.headers


def test_forwarded_content_type_wins(server: Running, sink: Sink) -> None:
    server.sdk.message.publish(
        url=sink.url + "/t",
        body="x",
        content_type="text/plain",
        headers={"content-type": "text/csv", "Upstash-Signature": "mine"},
    )
    [delivery] = sink.wait_for("/t")
    assert delivery.headers["Content-Type"] == "text/csv"
    assert delivery.headers["Upstash-Signature"] != "mine"


def test_oversized_body_is_412(server: Running, sink: Sink) -> None:
    answer = server.request("POST", f"/v2/publish/{sink.url}", b"x" * 10_000_001)
    assert answer.status == 412
    assert "10000000" in answer.json["error"]


def test_labels_and_redaction_show_in_the_api_and_leave_the_delivery_alone(
    server: Running, sink: Sink
) -> None:
    message_id = server.publish(
        sink.url + "/r",
        body="secret",
        headers={"Authorization": "Bearer s", "X-Open": "o"},
        label="first, second",
        redact={"body": True, "header": ["Authorization"]},
    )
    [delivery] = sink.wait_for("/r")
    assert (delivery.body, delivery.headers["Authorization"]) == (b"secret", "Bearer s")
    answer = server.request("GET", f"/v2/messages/{message_id}")
    assert answer.json["label"] == "first"
    assert answer.json["labels"] == ["first", "second"]
    assert answer.json["body"].startswith("REDACTED:")
    assert answer.json["header"]["Authorization"][0].startswith("REDACTED:")
    assert answer.json["header"]["X-Open"] == ["o"]
    events = server.request("GET", f"/v2/events?messageId={message_id}").text
    assert "secret" not in events
    assert base64.b64encode(b"secret").decode() not in events


@pytest.mark.parametrize(
    ("redact", "hidden"),
    [
        ("body", {"body"}),
        ("header", {"X-A", "X-B", "Content-Type"}),
        ("headers", {"X-A", "X-B", "Content-Type"}),
        ("header[X-A]", {"X-A"}),
        ("headers[X-A]", {"X-A"}),
        ("HEADER[x-a]", {"X-A"}),
        ("Headers[X-A], header[x-b]", {"X-A", "X-B"}),
        ("body,header[X-A]", {"body", "X-A"}),
        ("header[X-C]", set()),
    ],
)
def test_every_spelling_of_redaction_hides_what_it_names(
    server: Running, sink: Sink, redact: str, hidden: set[str]
) -> None:
    headers = {
        "Upstash-Redact-Fields": redact,
        "Upstash-Forward-X-A": "a",
        "Upstash-Forward-X-B": "b",
        "Content-Type": "text/csv",
    }
    path = f"/v2/publish/{sink.url}/r"
    message_id = server.request("POST", path, "secret", headers).json["messageId"]
    server.settle()
    [delivery] = sink.to("/r")
    assert (delivery.body, delivery.headers["X-A"]) == (b"secret", "a")
    message = server.request("GET", f"/v2/messages/{message_id}").json
    shown = {name: values[0] for name, values in message["header"].items()}
    shown["body"] = message["body"]
    assert {n for n, v in shown.items() if v.startswith("REDACTED:")} == hidden
    for event in server.request("GET", f"/v2/events?messageId={message_id}").json["events"]:
        assert event["header"] == message["header"]
        assert event["body"].startswith("REDACTED:") == ("body" in hidden)


@pytest.mark.parametrize("redact", ["body", "header[X-A]"])
def test_callback_shows_nothing_of_what_is_redacted_in_its_message(
    server: Running, sink: Sink, redact: str
) -> None:
    headers = {
        "Upstash-Redact-Fields": redact,
        "Upstash-Forward-X-A": "top-secret",
        "Upstash-Callback": sink.url + "/callback",
        "Upstash-Callback-Forward-X-A": "top-secret",
    }
    server.request("POST", f"/v2/publish/{sink.url}/r", "top-secret", headers)
    server.settle()
    [told] = sink.to("/callback")
    assert base64.b64decode(told.json["sourceBody"]) == b"top-secret"
    message_id = told.headers["Upstash-Message-Id"]
    message = server.request("GET", f"/v2/messages/{message_id}").json
    assert message["body"].startswith("REDACTED:")
    assert message["header"]["X-A"][0].startswith("REDACTED:") == (redact != "body")
    for event in server.request("GET", f"/v2/events?messageId={message_id}").json["events"]:
        assert event["body"].startswith("REDACTED:")


def test_redirect_of_a_destination_is_a_failed_attempt(server: Running, sink: Sink) -> None:
    url = sink.reply("/moved", Reply(status=301, headers={"Location": "/elsewhere"}))
    message_id = server.publish(url, body="x", retries=0)
    server.settle()
    assert server.states(message_id)[-1] == "FAILED"
    assert sink.to("/elsewhere") == []


def test_user_and_password_of_the_url_are_sent_unless_authorization_is_forwarded(
    server: Running, sink: Sink
) -> None:
    url = sink.url.replace("http://", "http://user:pass@")
    server.publish(url + "/a%2Fb")
    server.publish(url + "/forwarded", headers={"Authorization": "Bearer mine"})
    server.settle()
    basic = "Basic " + base64.b64encode(b"user:pass").decode()
    assert sink.to("/a%2Fb")[0].headers["Authorization"] == basic
    assert sink.to("/forwarded")[0].headers["Authorization"] == "Bearer mine"
