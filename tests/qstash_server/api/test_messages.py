import json

import pytest
from qstash.errors import QStashError

from tests.qstash_server.running import Reply, Running, Sink


def test_message_reads_back_as_it_was_published(server: Running) -> None:
    now_ms = server.clock.now_ms()
    message_id = server.publish(
        "https://example.com/x?y=z",
        delay=60,
        method="PATCH",
        headers={"test-header": "v"},
        retries=0,
        callback="https://example.com/c",
        callback_headers={"Forward-a": "1"},
        failure_callback="https://example.com/f",
        timeout="1m",
    )
    message = server.sdk.message.get(message_id)
    assert (message.url, message.method, message.body) == (
        "https://example.com/x?y=z",
        "PATCH",
        "x",
    )
    assert (message.max_retries, message.headers) == (0, {"Test-Header": ["v"]})
    assert (message.created_at, message.not_before) == (now_ms, now_ms + 60_000)
    assert (message.callback, message.callback_headers) == (
        "https://example.com/c",
        {"A": ["1"]},
    )
    assert (message.failure_callback, message.caller_ip) == ("https://example.com/f", "127.0.0.1")


def test_delivered_message_can_be_read_a_few_seconds_more(server: Running, sink: Sink) -> None:
    message_id = server.publish(sink.url + "/x", label="l")
    server.settle()
    assert server.sdk.message.get(message_id).label == "l"
    server.advance(10)
    with pytest.raises(QStashError, match="404"):
        server.sdk.message.get(message_id)


def test_cancelled_message_is_not_delivered(server: Running, sink: Sink) -> None:
    message_id = server.publish(sink.url + "/x", delay=60)
    server.sdk.message.cancel(message_id)
    server.advance(60)
    assert sink.deliveries == []
    assert server.states(message_id) == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]
    for action in (server.sdk.message.get, server.sdk.message.cancel):
        with pytest.raises(QStashError, match="404"):
            action(message_id)


def test_cancel_counts_messages_that_wait_for_a_retry_or_are_in_flight(
    server: Running, sink: Sink
) -> None:
    failing = sink.reply("/404", Reply(status=404))
    slow = sink.reply("/slow", Reply(delay_s=0.5, status=500))
    ids = [server.publish(failing), server.publish(slow)]
    sink.wait_for("/404")
    sink.wait_for("/slow")
    assert server.sdk.message.cancel_many(ids) == 2
    server.settle()
    server.advance(86_400)
    assert len(sink.deliveries) == 2
    assert server.sdk.dlq.list().messages == []


def test_cancel_all_cancels_what_waits_and_nothing_else(server: Running, sink: Sink) -> None:
    server.publish(sink.url + "/done")
    server.settle()
    for _ in range(3):
        server.publish(sink.url + "/later", delay=60)
    assert server.sdk.message.cancel_all() == 3
    assert server.sdk.message.cancel_all() == 0


def test_empty_list_of_ids_cancels_nothing(server: Running, sink: Sink) -> None:
    server.publish(sink.url, delay=60)
    assert server.sdk.message.cancel_many([]) == 0


@pytest.mark.parametrize("path", ["/v2/messages/", "/v2/schedules/", "/v2/dlq/"])
def test_empty_id_is_refused_instead_of_meaning_everything(server: Running, path: str) -> None:
    server.publish("http://127.0.0.1:9", delay=60)
    answer = server.request("DELETE", path)
    assert answer.status == 400
    assert "empty" in answer.json["error"]
    assert server.sdk.message.cancel_all() == 1


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("label=red", 2),
        ("label=red&label=green", 3),
        ("label=red,green", 3),
        ("label=green,blue", 2),
        ("label=green,nothing", 1),
        ("label=blue%2Cred", 2),
        ("host=a.example", 2),
        ("host=a.example,b.example", 3),
        ("path=/x", 2),
        ("label=red&host=b.example", 1),
        ("url=http%3A%2F%2Fa.example%2Fx", 1),
        ("callerIp=127.0.0.1", 3),
        ("callerIp=10.0.0.1", 0),
        ("queueName=q", 0),
        ("label=", 0),
        ("count=2", 2),
        ("count=0", 0),
        ("count=500", 3),
        ("label=red&count=1", 1),
        ("fromDate=99999999999999", 0),
        ("toDate=99999999999999", 3),
    ],
)
def test_bulk_cancel_by_filters(server: Running, query: str, count: int) -> None:
    server.publish("http://a.example/x", delay=60, label="red")
    server.publish("http://a.example/y", delay=60, label="green")
    server.publish("http://b.example/x", delay=60, label="blue,red")
    answer = server.request("DELETE", f"/v2/messages?{query}")
    assert (answer.status, answer.json) == (202, {"cancelled": count})
    assert server.sdk.message.cancel_all() == 3 - count


@pytest.mark.parametrize("where", ["query", "body"])
def test_misspelt_filter_is_an_error_and_cancels_nothing(server: Running, where: str) -> None:
    server.publish("http://a.example", delay=60)
    if where == "query":
        answer = server.request("DELETE", "/v2/messages?lable=red")
    else:
        answer = server.request("DELETE", "/v2/messages", json.dumps({"lable": "red"}))
    assert answer.status == 400
    assert "unknown filter 'lable'" in answer.json["error"]
    assert server.sdk.message.cancel_all() == 1


def test_ids_may_stand_in_the_query_too(server: Running) -> None:
    ids = [server.publish("http://a.example", delay=60) for _ in range(3)]
    answer = server.request("DELETE", f"/v2/messages?messageIds={ids[0]},{ids[1]}")
    assert answer.json == {"cancelled": 2}


@pytest.mark.parametrize("body", ["[]", "{}", "nonsense", "[" * 100_000])
def test_body_that_names_nothing_is_refused(server: Running, body: str) -> None:
    server.publish("http://a.example", delay=60)
    assert server.request("DELETE", "/v2/messages", body).status == 400
    assert server.sdk.message.cancel_all() == 1


def test_waiting_message_can_be_hurried(server: Running, sink: Sink) -> None:
    message_id = server.publish(sink.url + "/x", delay="1d")
    assert server.request("POST", f"/v2/messages/{message_id}/retry").status == 200
    server.settle()
    assert len(sink.to("/x")) == 1
    server.advance(86_400)
    assert len(sink.to("/x")) == 1
    assert server.request("POST", f"/v2/messages/{message_id}/retry").status == 404


@pytest.mark.parametrize("where", ["query", "body"])
def test_ids_beat_filters_and_count_of_a_bulk_cancel(server: Running, where: str) -> None:
    ids = [server.publish("http://a.example", delay=60, label="l") for _ in range(3)]
    query = "label=other&host=b.example&count=1"
    if where == "query":
        query += f"&messageIds={ids[0]}&messageIds={ids[1]},msg_unknown"
    body = json.dumps({"messageIds": ids[:2]}) if where == "body" else None
    answer = server.request("DELETE", f"/v2/messages?{query}", body)
    assert (answer.status, answer.json) == (202, {"cancelled": 2})
    assert server.sdk.message.get(ids[2]).label == "l"


def test_count_cancels_the_earliest_first(server: Running) -> None:
    ids = [server.publish("http://a.example", delay=60) for _ in range(3)]
    assert server.request("DELETE", "/v2/messages?count=2").json == {"cancelled": 2}
    assert server.sdk.message.get(ids[2]).message_id == ids[2]
    assert server.request("GET", f"/v2/messages/{ids[0]}").status == 404


@pytest.mark.parametrize("count", ["-1", "x", "1.5", "9" * 10])
def test_bad_count_cancels_nothing(server: Running, count: str) -> None:
    server.publish("http://a.example", delay=60)
    assert server.request("DELETE", f"/v2/messages?count={count}").status == 400
    assert server.sdk.message.cancel_all() == 1


def test_cancel_of_one_answers_202_with_a_body(server: Running) -> None:
    message_id = server.publish("http://a.example", delay=60)
    answer = server.request("DELETE", f"/v2/messages/{message_id}")
    assert (answer.status, answer.json) == (202, {"cancelled": 1})
    gone = server.request("DELETE", f"/v2/messages/{message_id}")
    assert gone.status == 404
    assert "not found" in gone.json["error"]
