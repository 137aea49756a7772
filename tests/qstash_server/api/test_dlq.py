import json
from typing import Any

import pytest
from qstash.errors import QStashError

from tests.qstash_server.running import Reply, Running, Sink


def fail(server: Running, sink: Sink, path: str = "/bad", **options: Any) -> str:
    """Bring a message into the DLQ and return its id there."""
    url = sink.reply(path, Reply(status=404, body=b"404 Not Found"))
    message_id = server.publish(url, retries=0, **options)
    server.settle()
    [entry] = server.sdk.dlq.list(filter={"message_id": message_id}, count=1).messages
    return entry.dlq_id


def test_entry_can_be_read_and_deleted(server: Running, sink: Sink) -> None:
    dlq_id = fail(server, sink, retry_delay="15000")
    entry = server.sdk.dlq.get(dlq_id)
    assert (entry.dlq_id, entry.response_body) == (dlq_id, "404 Not Found")
    assert entry.retry_delay_expression == "15000"
    server.sdk.dlq.delete(dlq_id)
    for action in (server.sdk.dlq.get, server.sdk.dlq.delete):
        with pytest.raises(QStashError, match="404"):
            action(dlq_id)
    states = server.request("GET", f"/v2/events?messageId={entry.message_id}&state=FAILED")
    assert len(states.json["events"]) == 1


def test_many_entries_are_deleted_at_once(server: Running, sink: Sink) -> None:
    ids = [fail(server, sink) for _ in range(5)]
    assert server.sdk.dlq.delete_many(ids[:3]) == 3
    assert server.sdk.dlq.delete_many([]) == 0
    assert server.request("DELETE", f"/v2/dlq?dlqIds={ids[3]}").json == {"deleted": 1}
    assert [entry.dlq_id for entry in server.sdk.dlq.list().messages] == [ids[4]]


def test_everything_is_never_deleted_unasked(server: Running, sink: Sink) -> None:
    fail(server, sink)
    assert server.request("DELETE", "/v2/dlq").status == 400
    assert len(server.sdk.dlq.list().messages) == 1


def test_filters_select(server: Running, sink: Sink) -> None:
    first = fail(server, sink, "/one", label="a")
    server.advance(10)
    second = fail(server, sink, "/two", label="b")
    now_ms = server.clock.now_ms()

    def found(**filters: object) -> list[str]:
        listed = server.sdk.dlq.list(filter=filters)  # type: ignore[arg-type]
        return [entry.dlq_id for entry in listed.messages]

    assert found() == [second, first]
    assert found(label="a") == [first]
    assert found(url=sink.url + "/two") == [second]
    assert found(response_status=404) == [second, first]
    assert found(response_status=500) == []
    assert found(from_time=now_ms) == [second]
    assert found(to_time=now_ms - 1) == [first]
    assert found(caller_ip="10.0.0.1") == []
    assert found(url_group="g") == found(queue="q") == found(schedule_id="s") == []


def test_cursor_leads_through_all_pages_and_is_absent_on_the_last(
    server: Running, sink: Sink
) -> None:
    ids = [fail(server, sink) for _ in range(5)]
    found: list[str] = []
    cursor = None
    for _ in range(3):
        page = server.sdk.dlq.list(cursor=cursor, count=2)
        found += [entry.dlq_id for entry in page.messages]
        cursor = page.cursor
    assert cursor is None
    assert found == ids[::-1]
    earliest = server.request("GET", "/v2/dlq?order=earliestFirst&count=4").json
    assert [entry["dlqId"] for entry in earliest["messages"]] == ids[:4]
    rest = server.request("GET", f"/v2/dlq?order=earliestFirst&cursor={earliest['cursor']}").json
    assert [entry["dlqId"] for entry in rest["messages"]] == ids[4:]
    assert "cursor" not in rest


def test_retry_sends_a_new_message_and_takes_the_entry_away(server: Running, sink: Sink) -> None:
    dlq_id = fail(server, sink, headers={"X-A": "1"}, content_type="text/csv")
    old_id = server.sdk.dlq.get(dlq_id).message_id
    sink.reply("/bad", Reply())
    answer = server.request("POST", f"/v2/dlq/retry/{dlq_id}", b"", {"Content-Type": "text/x"})
    assert answer.status == 201
    server.settle()
    again = sink.to("/bad")[1]
    assert again.headers["Upstash-Message-Id"] == answer.json["messageId"] != old_id
    assert (again.body, again.headers["X-A"], again.headers["Upstash-Retried"]) == (b"x", "1", "0")
    assert again.headers["Content-Type"] == "text/csv"
    assert server.sdk.dlq.list().messages == []
    assert server.request("POST", f"/v2/dlq/retry/{dlq_id}").status == 404


def test_retry_takes_overrides(server: Running, sink: Sink) -> None:
    dlq_id = fail(server, sink, headers={"X-A": "1"})
    server.request(
        "POST",
        f"/v2/dlq/retry/{dlq_id}",
        headers={"Upstash-Delay": "1m", "Upstash-Forward-X-A": "2"},
    )
    server.advance(59)
    assert len(sink.to("/bad")) == 1
    server.advance(1)
    assert sink.to("/bad")[1].headers["X-A"] == "2"


def test_retry_of_many_by_ids_and_by_filters(server: Running, sink: Sink) -> None:
    ids = [fail(server, sink, label="l") for _ in range(3)]
    answer = server.request("POST", f"/v2/dlq/retry?dlqIds={ids[0]}")
    assert (answer.status, len(answer.json["responses"])) == (201, 1)
    answer = server.request("POST", "/v2/dlq/retry?label=l&count=1")
    assert len(answer.json["responses"]) == 1
    assert "cursor" in answer.json


def test_delete_with_a_count_alone_goes_through_everything(server: Running, sink: Sink) -> None:
    ids = [fail(server, sink) for _ in range(5)]
    first = server.request("DELETE", "/v2/dlq?count=2").json
    assert (first["deleted"], first["cursor"]) == (2, ids[3])
    assert [e.dlq_id for e in server.sdk.dlq.list().messages] == ids[2::-1]
    second = server.request("DELETE", f"/v2/dlq?count=2&cursor={first['cursor']}").json
    assert (second["deleted"], second["cursor"]) == (2, ids[1])
    last = server.request("DELETE", f"/v2/dlq?count=2&cursor={second['cursor']}").json
    assert last == {"deleted": 1}
    assert server.request("DELETE", "/v2/dlq?count=2").json == {"deleted": 0}


def test_delete_by_filter_with_count_and_cursor_leaves_the_others(
    server: Running, sink: Sink
) -> None:
    red = [fail(server, sink, label="red") for _ in range(3)]
    blue = fail(server, sink, label="blue")
    first = server.request("DELETE", "/v2/dlq?label=red&count=2&order=earliestFirst").json
    assert first == {"deleted": 2, "cursor": red[1]}
    path = f"/v2/dlq?label=red&count=2&order=earliestFirst&cursor={first['cursor']}"
    assert server.request("DELETE", path).json == {"deleted": 1}
    assert [e.dlq_id for e in server.sdk.dlq.list().messages] == [blue]
    assert server.request("DELETE", "/v2/dlq?label=red&count=100").json == {"deleted": 0}


@pytest.mark.parametrize("operation", ["delete", "retry"])
def test_ids_beat_filters_and_count(server: Running, sink: Sink, operation: str) -> None:
    ids = [fail(server, sink, label="l") for _ in range(3)]
    query = f"dlqIds={ids[0]}&dlqIds={ids[1]}&label=other&count=1&responseStatus=999"
    if operation == "delete":
        assert server.request("DELETE", f"/v2/dlq?{query}").json == {"deleted": 2}
    else:
        answer = server.request("POST", f"/v2/dlq/retry?{query}&upstash-delay=1h")
        assert (answer.status, len(answer.json["responses"])) == (201, 2)
        assert "cursor" not in answer.json
    assert [e.dlq_id for e in server.sdk.dlq.list().messages] == [ids[2]]


def test_ids_that_are_gone_are_200_to_delete_and_404_to_retry(server: Running, sink: Sink) -> None:
    dlq_id = fail(server, sink)
    assert server.request("DELETE", "/v2/dlq?dlqIds=1-1,2-2").json == {"deleted": 0}
    assert server.sdk.dlq.delete_many([dlq_id, "1-1"]) == 1
    for path in (f"/v2/dlq/retry/{dlq_id}", f"/v2/dlq/retry?dlqIds={dlq_id}"):
        answer = server.request("POST", path)
        assert answer.status == 404
        assert "not found" in answer.json["error"]
    body = json.dumps({"dlqIds": [dlq_id]})
    assert server.request("POST", "/v2/dlq/retry", body).status == 404


def test_misspelt_filter_or_option_deletes_and_retries_nothing(server: Running, sink: Sink) -> None:
    fail(server, sink)
    for method, path in (
        ("DELETE", "/v2/dlq?lable=x&count=100"),
        ("DELETE", "/v2/dlq?upstash-label=x"),
        ("POST", "/v2/dlq/retry?lable=x&count=100"),
    ):
        answer = server.request(method, path)
        assert answer.status == 400
        assert "unknown filter" in answer.json["error"]
    assert len(server.sdk.dlq.list().messages) == 1


@pytest.mark.parametrize(
    "condition",
    [
        "messageId=msg_1",
        "url=http%3A%2F%2Fnowhere.example",
        "topicName=t",
        "scheduleId=s",
        "queueName=q",
        "callerIp=10.0.0.1",
        "label=other",
        "flowControlKey=f",
        "responseStatus=999",
        "fromDate=99999999999999",
        "toDate=1",
    ],
)
def test_filter_that_matches_nothing_does_nothing(
    server: Running, sink: Sink, condition: str
) -> None:
    fail(server, sink, label="l")
    query = f"{condition}&count=100"
    assert server.request("GET", f"/v2/dlq?{query}").json == {"messages": []}
    assert server.request("DELETE", f"/v2/dlq?{query}").json == {"deleted": 0}
    answer = server.request("POST", f"/v2/dlq/retry?{query}")
    assert (answer.status, answer.json) == (201, {"responses": []})
    assert len(server.sdk.dlq.list().messages) == 1


def test_retry_keeps_group_endpoint_queue_flow_control_and_schedule(
    server: Running, sink: Sink
) -> None:
    url = sink.reply("/bad", Reply(status=500), Reply(status=500), Reply())
    server.sdk.url_group.upsert_endpoints("g", [{"url": url, "name": "e"}])
    server.sdk.schedule.create(
        destination="g",
        cron="* * * * *",
        schedule_id="s",
        queue="q",
        retries=0,
        flow_control={"key": "f", "parallelism": 3, "rate": 4, "period": "1d"},
        label="l",
    )
    server.advance(60)
    server.sdk.schedule.delete("s")
    path = "/v2/dlq/retry?queueName=q&topicName=g&flowControlKey=f&scheduleId=s&label=l"
    kept = {
        "topicName": "g",
        "endpointName": "e",
        "queueName": "q",
        "flowControlKey": "f",
        "parallelism": 3,
        "rate": 4,
        "period": 86_400,
        "scheduleId": "s",
        "label": "l",
    }
    [entry] = server.request("GET", "/v2/dlq").json["messages"]
    assert kept.items() <= entry.items()
    [response] = server.request("POST", path).json["responses"]
    message = server.request("GET", f"/v2/messages/{response['messageId']}").json
    assert kept.items() <= message.items()
    server.settle()
    [entry] = server.request("GET", "/v2/dlq").json["messages"]
    assert kept.items() <= entry.items()
    assert entry["messageId"] == response["messageId"]


def test_retry_of_a_redacted_message_sends_it_in_clear(server: Running, sink: Sink) -> None:
    dlq_id = fail(server, sink, body="secret", redact={"body": True})
    assert server.request("GET", f"/v2/dlq/{dlq_id}").json["body"].startswith("REDACTED:")
    answer = server.request("POST", f"/v2/dlq/retry/{dlq_id}")
    server.settle()
    assert sink.to("/bad")[1].body == b"secret"
    message = server.request("GET", f"/v2/messages/{answer.json['messageId']}").json
    assert message["body"].startswith("REDACTED:")
