import base64
from pathlib import Path

from qstash_server.clock import ManualClock, SystemClock
from qstash_server.dispatch.delivery import MAX_RESPONSE_BYTES
from tests.qstash_server.running import LoopThread, Reply, Running, Sink, settings


def test_retries_follow_the_back_off_and_keep_the_message_id(server: Running, sink: Sink) -> None:
    url = sink.reply("/flaky", Reply(status=500), Reply(status=503), Reply())
    message_id = server.publish(url, body="x")
    server.settle()
    server.advance(11)
    assert len(sink.to("/flaky")) == 1
    server.advance(1)
    assert len(sink.to("/flaky")) == 2
    server.advance(147)
    assert len(sink.to("/flaky")) == 2
    server.advance(1)
    deliveries = sink.to("/flaky")
    assert [d.headers["Upstash-Retried"] for d in deliveries] == ["0", "1", "2"]
    assert {d.headers["Upstash-Message-Id"] for d in deliveries} == {message_id}
    assert len({d.headers["Upstash-Signature"] for d in deliveries}) == 3
    attempt = ["ACTIVE", "ERROR", "RETRY"]
    assert server.states(message_id) == ["CREATED", *attempt, *attempt, "ACTIVE", "DELIVERED"]


def test_exhausted_message_stands_in_the_dlq_with_the_last_response(
    server: Running, sink: Sink
) -> None:
    url = sink.reply("/404", Reply(status=404, body=b"404 Not Found", headers={"X-Why": "gone"}))
    message_id = server.publish(url, body="x", retries=1, retry_delay="1000", label="l")
    server.settle()
    server.advance(1)
    [entry] = server.sdk.dlq.list().messages
    assert entry.message_id == message_id
    assert (entry.response_status, entry.response_body) == (404, "404 Not Found")
    assert entry.response_headers is not None
    assert entry.response_headers["X-Why"] == ["gone"]
    assert (entry.body, entry.label, entry.retry_delay_expression) == ("x", "l", "1000")
    assert server.states(message_id)[-2:] == ["ERROR", "FAILED"]


def test_non_retryable_error_goes_to_the_dlq_at_once(server: Running, sink: Sink) -> None:
    reply = Reply(status=489, headers={"Upstash-NonRetryable-Error": "true"})
    server.sdk.message.publish(url=sink.reply("/no", reply), body="x", retries=5)
    server.settle()
    assert [entry.response_status for entry in server.sdk.dlq.list().messages] == [489]


def test_retry_after_moves_the_next_attempt(server: Running, sink: Sink) -> None:
    url = sink.reply("/busy", Reply(status=503, headers={"Retry-After": "45"}), Reply())
    server.sdk.message.publish(url=url, body="x")
    server.settle()
    server.advance(44)
    assert len(sink.to("/busy")) == 1
    server.advance(1)
    assert len(sink.to("/busy")) == 2


def test_destination_that_cannot_be_reached_is_a_failed_attempt_with_a_reason(
    server: Running,
) -> None:
    # Port 9 of the loopback: nobody listens there.
    message_id = server.publish("http://127.0.0.1:9/x", body="x", retries=0)
    server.settle()
    [entry] = server.request("GET", "/v2/dlq").json["messages"]
    assert entry["responseStatus"] == 0
    assert "127.0.0.1:9" in entry["error"]
    assert server.states(message_id)[-1] == "FAILED"


def test_slow_destination_is_given_up_after_the_timeout(server: Running, sink: Sink) -> None:
    url = sink.reply("/slow", Reply(delay_s=30))
    server.sdk.message.publish(url=url, body="x", retries=0, timeout=1)
    server.settle()
    [entry] = server.request("GET", "/v2/dlq").json["messages"]
    assert (entry["responseStatus"], entry["error"]) == (0, "no answer within 1 s")


def test_response_body_is_capped(server: Running, sink: Sink) -> None:
    url = sink.reply("/big", Reply(status=500, body=b"x" * (3 * MAX_RESPONSE_BYTES)))
    server.sdk.message.publish(url=url, body="x", retries=0)
    server.settle()
    [entry] = server.sdk.dlq.list().messages
    assert entry.response_body is not None
    assert len(entry.response_body) == MAX_RESPONSE_BYTES


def test_callback_reports_every_attempt_and_the_failure_callback_the_last(
    server: Running, sink: Sink
) -> None:
    url = sink.reply("/fails", Reply(status=500, body=b"why", headers={"X-R": "1"}))
    message_id = server.publish(
        url,
        body="source",
        retries=1,
        retry_delay="1000",
        callback=sink.url + "/callback",
        callback_headers={"Forward-X-C": "c", "Method": "PUT"},
        failure_callback=sink.url + "/failure",
        headers={"X-S": "s"},
    )
    server.settle()
    server.advance(1)
    first, last = sink.to("/callback")
    assert (first.method, first.headers["X-C"]) == ("PUT", "c")
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["Upstash-Message-Id"] != message_id
    payload = first.json
    assert (payload["status"], payload["retried"], payload["maxRetries"]) == (500, 0, 1)
    assert base64.b64decode(payload["body"]) == b"why"
    assert base64.b64decode(payload["sourceBody"]) == b"source"
    assert payload["header"]["X-R"] == ["1"]
    assert payload["sourceHeader"]["X-S"] == ["s"]
    assert (payload["sourceMessageId"], payload["url"], payload["method"]) == (
        message_id,
        url,
        "POST",
    )
    assert isinstance(payload["createdAt"], str)
    assert "dlqId" not in payload
    assert last.json["retried"] == 1
    [failure] = sink.to("/failure")
    assert server.sdk.dlq.get(failure.json["dlqId"]).message_id == message_id


def test_callback_of_a_success_is_sent_once_and_no_failure_callback(
    server: Running, sink: Sink
) -> None:
    server.sdk.message.publish(
        url=sink.url + "/ok",
        body="x",
        callback=sink.url + "/callback",
        failure_callback=sink.url + "/failure",
    )
    server.settle()
    assert [d.json["status"] for d in sink.to("/callback")] == [200]
    assert sink.to("/failure") == []


def test_failing_callback_is_retried_like_any_message(server: Running, sink: Sink) -> None:
    callback = sink.reply("/callback", Reply(status=500), Reply())
    server.sdk.message.publish(url=sink.url + "/ok", body="x", callback=callback, retries=2)
    server.settle()
    server.advance(12)
    assert [d.headers["Upstash-Retried"] for d in sink.to("/callback")] == ["0", "1"]


def test_hanging_destination_does_not_hold_up_others(server: Running, sink: Sink) -> None:
    url = sink.reply("/hangs", Reply(delay_s=5))
    server.sdk.message.publish(url=url, body="x")
    server.sdk.message.publish(url=sink.url + "/quick", body="x")
    sink.wait_for("/quick")


def test_parallelism_bounds_what_is_in_flight(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    url = sink.reply("/slow", Reply(delay_s=0.3))
    with Running(loop, settings(state, parallelism=2), clock) as server:
        server.sdk.message.batch([{"url": url, "body": str(n)} for n in range(5)])
        sink.wait_for("/slow", 2)
        assert len(sink.to("/slow")) == 2
        server.settle()
        assert sorted(d.body for d in sink.to("/slow")) == [b"0", b"1", b"2", b"3", b"4"]


def test_what_waits_survives_a_restart_and_goes_out_when_due(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    with Running(loop, settings(state), clock) as server:
        soon = server.publish(sink.url + "/soon", body="1", delay=60)
        late = server.publish(sink.url + "/late", body="2", delay="1d")
    clock.advance(120_000)
    with Running(loop, settings(state), clock) as server:
        server.settle()
        assert [d.headers["Upstash-Message-Id"] for d in sink.deliveries] == [soon]
        assert server.sdk.message.get(late).body == "2"
        server.advance(86_400)
        assert len(sink.to("/late")) == 1


def test_delivery_in_flight_at_the_stop_is_repeated_with_the_same_id(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    url = sink.reply("/slow", Reply(delay_s=5), Reply())
    with Running(loop, settings(state), clock) as server:
        message_id = server.publish(url, body="x")
        sink.wait_for("/slow")
    with Running(loop, settings(state), clock) as server:
        server.settle()
        assert server.states(message_id)[-1] == "DELIVERED"
    deliveries = sink.to("/slow")
    assert [d.headers["Upstash-Message-Id"] for d in deliveries] == [message_id] * 2
    assert [d.headers["Upstash-Retried"] for d in deliveries] == ["0", "0"]


def test_due_message_leaves_promptly_by_the_clock_of_the_machine(
    loop: LoopThread, state: Path, sink: Sink
) -> None:
    with Running(loop, settings(state), SystemClock()) as server:
        message_id = server.publish(sink.url + "/x", body="x", delay=1)
        sink.wait_for("/x")
        server.settle()
        events = server.request(
            "GET", f"/v2/events?messageId={message_id}&order=earliestFirst"
        ).json["events"]
        created, active = events[0], events[1]
        assert 1000 <= active["time"] - created["time"] < 1250
