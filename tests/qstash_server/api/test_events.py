from typing import Any

import pytest
from qstash.log import LogFilter, LogState

from tests.qstash_server.running import Reply, Running, Sink


def publish(server: Running, url: str, **options: Any) -> str:
    message_id = server.publish(url, **options)
    server.settle()
    return message_id


def test_log_of_the_sdk_shows_newest_first_with_every_field(
    server: Running, sink: Sink, capsys: pytest.CaptureFixture[str]
) -> None:
    message_id = publish(
        server,
        sink.url + "/x",
        retry_delay="15000",
        headers={"X-A": "1"},
        label="l",
        timeout=30,
        callback="http://127.0.0.1:9/c",
        callback_headers={"Forward-b": "2"},
    )
    logs = server.sdk.log.list(filter={"message_id": message_id}).logs
    assert [log.state for log in logs] == [LogState.DELIVERED, LogState.ACTIVE, LogState.CREATED]
    newest = logs[0]
    assert newest.retry_delay_expression == "15000"
    assert (newest.url, newest.method, newest.max_retries) == (sink.url + "/x", "POST", 3)
    assert (newest.headers, newest.label, newest.timeout) == ({"X-A": ["1"]}, "l", 30_000)
    assert (newest.callback, newest.callback_headers) == ("http://127.0.0.1:9/c", {"B": ["2"]})
    assert newest.body_base64 == "eA=="
    assert newest.time == server.clock.now_ms()


def test_failed_attempt_tells_the_response_and_the_next_delivery(
    server: Running, sink: Sink
) -> None:
    url = sink.reply("/bad", Reply(status=500, body=b"broken", headers={"X-R": "1"}))
    message_id = publish(server, url)
    events = server.request("GET", f"/v2/events?messageId={message_id}").json["events"]
    retry, error = events[0], events[1]
    assert (retry["state"], retry["nextDeliveryTime"]) == ("RETRY", server.clock.now_ms() + 12_000)
    assert (error["state"], error["responseStatus"]) == ("ERROR", 500)
    assert error["responseBody"] == "broken"
    assert error["responseHeader"]["X-R"] == error["responseHeaders"]["X-R"] == ["1"]


def test_filters_select(server: Running, sink: Sink) -> None:
    one = publish(server, sink.url + "/one", label="a,c")
    server.advance(10)
    two = publish(server, sink.url + "/two", label="b")
    now_ms = server.clock.now_ms()

    def found(**filters: object) -> set[str]:
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        events = server.request("GET", f"/v2/events?{query}").json["events"]
        return {event["messageId"] for event in events}

    assert found() == {one, two}
    assert found(label="a") == found(label="c") == {one}
    assert found(messageIds=f"{one},{two}") == {one, two}
    assert found(messageIds=two) == {two}
    assert found(url=sink.url + "/one") == {one}
    assert found(fromDate=now_ms) == {two}
    assert found(toDate=now_ms - 1) == {one}
    assert found(scheduleId="s") == found(topicName="t") == found(queueName="q") == set()
    repeated = server.request("GET", f"/v2/events?messageIds={one}&messageIds={two}").json["events"]
    assert len(repeated) == 6


def test_states_filter_and_in_progress_stands_for_three(server: Running, sink: Sink) -> None:
    publish(server, sink.reply("/bad", Reply(status=500)))

    def states(text: str) -> list[str]:
        answer = server.request("GET", f"/v2/events?state={text}&order=earliestFirst")
        return [event["state"] for event in answer.json["events"]]

    assert states("CREATED") == ["CREATED"]
    assert states("IN_PROGRESS") == ["ACTIVE", "ERROR", "RETRY"]
    assert states("CREATED,RETRY") == ["CREATED", "RETRY"]
    server.sdk.message.cancel_all()
    assert states("CANCELED") == states("CANCELLED") == ["CANCELED"]
    assert server.request("GET", "/v2/events?state=DONE").status == 400


def test_cursor_leads_through_all_pages(server: Running, sink: Sink) -> None:
    for _ in range(3):
        publish(server, sink.url + "/x")
    seen: list[tuple[str, LogState]] = []
    cursor: str | None = None
    while True:
        page = server.sdk.log.list(cursor=cursor, count=4, filter=LogFilter())
        seen += [(log.message_id, log.state) for log in page.logs]
        if page.cursor is None:
            break
        cursor = page.cursor
    assert len(seen) == len(set(seen)) == 9


def test_logs_is_the_same_list_under_its_openapi_name(server: Running, sink: Sink) -> None:
    publish(server, sink.url + "/x")
    answer = server.request("GET", "/v2/logs")
    assert list(answer.json) == ["logs"]
    assert answer.json["logs"] == server.request("GET", "/v2/events").json["events"]


@pytest.mark.parametrize("query", ["count=0", "count=x", "order=random", "cursor=x", "stat=ACTIVE"])
def test_bad_query_is_400(server: Running, query: str) -> None:
    answer = server.request("GET", f"/v2/events?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.json["error"]


def test_large_body_of_a_delivered_message_does_not_stay(server: Running, sink: Sink) -> None:
    message_id = server.publish(sink.url + "/x", body="x" * 100_000)
    server.settle()
    [event] = server.request("GET", f"/v2/events?messageId={message_id}&count=1").json["events"]
    assert "body" not in event
