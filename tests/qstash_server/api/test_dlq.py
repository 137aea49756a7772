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
