from typing import Any

from qstash_server.page.data import LONGEST_TEXT
from tests.qstash_server.page.conftest import PAGE
from tests.qstash_server.running import Raw, Reply, Running, Sink

SECRET = "made-up-secret"


def look(server: Running) -> Any:
    answer = server.request("GET", "/page/data", headers=PAGE, token="")
    assert answer.status == 200
    return answer.json


def act(server: Running, method: str, path: str) -> Raw:
    answer = server.request(method, path, headers=PAGE, token="")
    server.settle()
    return answer


def test_empty_server_shows_nothing(server: Running) -> None:
    nothing = {"rows": [], "total": 0}
    assert look(server) == {
        "now": server.clock.now_ms(),
        "counted": 100_000,
        "schedules": nothing,
        "waiting": nothing,
        "deadLetters": nothing,
        "events": {"rows": []},
    }


def test_schedule_with_its_times_and_how_it_went(server: Running, sink: Sink) -> None:
    server.sdk.schedule.create(
        destination=sink.url + "/t", cron="* * * * *", schedule_id="s", label="l", delay="1m"
    )
    start_ms = server.clock.now_ms()
    server.advance(60)
    server.advance(60)
    [row] = look(server)["schedules"]["rows"]
    [state] = row.pop("lastScheduleStates").values()
    assert state == "IN_PROGRESS"
    assert row == {
        "scheduleId": "s",
        "destination": sink.url + "/t",
        "method": "POST",
        "cron": "* * * * *",
        "delay": 60,
        "isPaused": False,
        "lastScheduleTime": start_ms + 120_000,
        "nextScheduleTime": start_ms + 180_000,
        "labels": ["l"],
    }


def test_waiting_messages_with_the_earliest_first(server: Running, sink: Sink) -> None:
    now_ms = server.clock.now_ms()
    later = server.publish(sink.url + "/later", delay="2h", label="a,b", retries=1)
    sooner = server.publish(sink.reply("/bad", Reply(status=500)))
    server.settle()
    waiting = look(server)["waiting"]
    assert waiting["total"] == 2
    assert [row["messageId"] for row in waiting["rows"]] == [sooner, later]
    assert [row["retried"] for row in waiting["rows"]] == [1, 0]
    assert waiting["rows"][1] == {
        "messageId": later,
        "url": sink.url + "/later",
        "method": "POST",
        "maxRetries": 1,
        "createdAt": now_ms,
        "labels": ["a", "b"],
        "dueAt": now_ms + 7_200_000,
        "retried": 0,
        "isInFlight": False,
    }


def test_message_that_is_being_delivered_says_so(server: Running, sink: Sink) -> None:
    server.publish(sink.reply("/slow", Reply(delay_s=20)))
    sink.wait_for("/slow")
    assert [row["isInFlight"] for row in look(server)["waiting"]["rows"]] == [True]


def test_dead_letters_tell_what_came_back_and_the_newest_first(server: Running, sink: Sink) -> None:
    answered = server.publish(sink.reply("/bad", Reply(status=404, body=b"gone")), retries=0)
    server.settle()
    server.advance(1)
    unanswered = server.publish("http://127.0.0.1:9/x", retries=0)
    server.settle()
    shown = look(server)["deadLetters"]
    assert shown["total"] == 2
    first, second = shown["rows"]
    assert (first["messageId"], second["messageId"]) == (unanswered, answered)
    assert (second["responseStatus"], second["error"]) == (404, None)
    assert first["responseStatus"] == 0
    assert "Cannot connect" in first["error"]
    assert first["failedAt"] == second["failedAt"] + 1000 == server.clock.now_ms()


def test_events_tell_what_happened(server: Running, sink: Sink) -> None:
    server.publish(sink.reply("/bad", Reply(status=500)))
    server.settle()
    rows = look(server)["events"]["rows"]
    assert [row["state"] for row in rows] == ["RETRY", "ERROR", "ACTIVE", "CREATED"]
    assert rows[0]["nextDeliveryTime"] == server.clock.now_ms() + 12_000
    assert (rows[1]["responseStatus"], rows[1]["error"]) == (500, "status 500")
    assert [row["key"] for row in rows] == sorted((row["key"] for row in rows), reverse=True)


def test_bodies_and_headers_stay_out_of_the_list(server: Running, sink: Sink) -> None:
    bad = sink.reply("/bad", Reply(status=404, body=SECRET.encode(), headers={"X-S": SECRET}))
    headers = {"Authorization": SECRET}
    server.publish(bad, body=SECRET, headers=headers, retries=0)
    server.publish(bad, body=SECRET, headers=headers, delay="1h")
    server.sdk.schedule.create(destination=bad, cron="@daily", body=SECRET, headers=headers)
    server.settle()
    assert SECRET not in server.request("GET", "/page/data", headers=PAGE, token="").text


def test_redacted_body_of_a_dead_letter_stays_redacted(server: Running, sink: Sink) -> None:
    headers = {"Upstash-Redact-Fields": "body", "Upstash-Retries": "0"}
    url = sink.reply("/bad", Reply(status=404))
    server.request("POST", f"/v2/publish/{url}", SECRET, headers)
    server.settle()
    [row] = look(server)["deadLetters"]["rows"]
    entry = act(server, "GET", f"/page/dlq/{row['dlqId']}")
    assert entry.json["body"].startswith("REDACTED:")
    assert SECRET not in entry.text


def test_rows_and_texts_are_bounded(server: Running, sink: Sink) -> None:
    url = sink.url + "/" + "x" * 10_000
    for _ in range(60):
        server.publish(url, delay="1h", label=",".join(f"l{n}" for n in range(50)))
    data = look(server)
    assert (len(data["waiting"]["rows"]), data["waiting"]["total"]) == (50, 60)
    assert len(data["events"]["rows"]) == 50
    assert data["waiting"]["rows"][0]["url"] == url[:LONGEST_TEXT] + "…"
    assert len(data["waiting"]["rows"][0]["labels"]) == 10


def test_page_can_redeliver_and_delete_dead_letters(server: Running, sink: Sink) -> None:
    for _ in range(2):
        server.publish(sink.reply("/bad", Reply(status=404)), retries=0)
        server.settle()
    first, second = [row["dlqId"] for row in look(server)["deadLetters"]["rows"]]
    sink.reply("/bad", Reply())
    assert act(server, "POST", f"/page/dlq/{first}/retry").status == 201
    assert len(sink.to("/bad")) == 3
    assert act(server, "DELETE", f"/page/dlq/{second}").status == 200
    assert look(server)["deadLetters"] == {"rows": [], "total": 0}
    assert act(server, "POST", f"/page/dlq/{first}/retry").status == 404


def test_page_can_send_and_cancel_waiting_messages(server: Running, sink: Sink) -> None:
    sent = server.publish(sink.url + "/sent", delay="1h")
    cancelled = server.publish(sink.url + "/cancelled", delay="1h")
    assert act(server, "POST", f"/page/messages/{sent}/retry").status == 200
    assert act(server, "DELETE", f"/page/messages/{cancelled}").status == 202
    assert look(server)["waiting"]["total"] == 0
    server.advance(3600)
    assert [delivery.target for delivery in sink.deliveries] == ["/sent"]


def test_page_can_pause_and_resume_a_schedule(server: Running) -> None:
    server.sdk.schedule.create(destination="https://a.example", cron="@daily", schedule_id="s")
    for action, paused in (("pause", True), ("resume", False)):
        assert act(server, "POST", f"/page/schedules/s/{action}").status == 200
        assert [row["isPaused"] for row in look(server)["schedules"]["rows"]] == [paused]
