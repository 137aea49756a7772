from pathlib import Path

import pytest
from qstash.errors import QStashError
from qstash.schedule import ScheduleState

from qstash_server.clock import ManualClock
from tests.qstash_server.running import LoopThread, Reply, Running, Sink, settings


def test_schedule_reads_back_as_it_was_created(server: Running) -> None:
    schedule_id = server.sdk.schedule.create_json(
        destination="https://example.com/hook?a=b",
        cron="1 1 1 1 1",
        schedule_id="my.schedule-1",
        body={"a": 1},
        method="PUT",
        headers={"test-header": "v"},
        callback_headers={"Forward-x": "c"},
        retries=7,
        retry_delay="15000",
        callback="https://example.com/callback",
        failure_callback="https://example.com/failure",
        delay="1h30m3s",
        timeout=30,
        label="l",
    )
    assert schedule_id == "my.schedule-1"
    schedule = server.sdk.schedule.get(schedule_id)
    assert schedule.cron == "1 1 1 1 1"
    assert (schedule.destination, schedule.method) == ("https://example.com/hook?a=b", "PUT")
    assert schedule.headers == {"Content-Type": ["application/json"], "Test-Header": ["v"]}
    assert schedule.callback_headers == {"X": ["c"]}
    assert (schedule.body, schedule.retries, schedule.label) == ('{"a": 1}', 7, "l")
    assert (schedule.delay, schedule.timeout) == (5403, 30)
    assert schedule.retry_delay_expression == "15000"
    assert schedule.callback == "https://example.com/callback"
    assert schedule.failure_callback == "https://example.com/failure"
    assert (schedule.paused, schedule.last_schedule_time) == (False, None)
    assert schedule.next_schedule_time is not None
    assert schedule.next_schedule_time > server.clock.now_ms()
    assert [s.schedule_id for s in server.sdk.schedule.list()] == [schedule_id]


def test_schedule_fires_at_every_full_minute_that_its_cron_names(
    server: Running, sink: Sink
) -> None:
    start_ms = server.clock.now_ms()
    schedule_id = server.sdk.schedule.create(
        destination=sink.url + "/tick", cron="* * * * *", body="tick", headers={"X-A": "1"}
    )
    assert schedule_id.startswith("scd_")
    server.advance(59)
    assert sink.to("/tick") == []
    server.advance(1)
    [delivery] = sink.to("/tick")
    assert delivery.headers["Upstash-Schedule-Id"] == schedule_id
    assert (delivery.body, delivery.headers["X-A"]) == (b"tick", "1")
    schedule = server.sdk.schedule.get(schedule_id)
    assert schedule.last_schedule_time == start_ms + 60_000
    assert schedule.next_schedule_time == start_ms + 120_000
    assert schedule.last_schedule_states == {
        delivery.headers["Upstash-Message-Id"]: ScheduleState.SUCCESS
    }
    server.advance(60)
    assert len(sink.to("/tick")) == 2
    assert len({d.headers["Upstash-Message-Id"] for d in sink.to("/tick")}) == 2


def test_last_states_tell_a_retry_from_a_failure(server: Running, sink: Sink) -> None:
    url = sink.reply("/bad", Reply(status=500))
    schedule_id = server.sdk.schedule.create(
        destination=url, cron="@hourly", retries=1, retry_delay="1000"
    )
    server.advance(3600)

    def states() -> list[ScheduleState]:
        return list((server.sdk.schedule.get(schedule_id).last_schedule_states or {}).values())

    assert states() == [ScheduleState.IN_PROGRESS]
    server.advance(1)
    assert states() == [ScheduleState.FAIL]


def test_upsert_replaces_everything_but_the_creation(server: Running, sink: Sink) -> None:
    server.sdk.schedule.create(
        destination=sink.url + "/old",
        cron="* * * * *",
        schedule_id="s",
        body="old",
        headers={"X-Old": "1"},
        label="old",
        retries=9,
    )
    created_ms = server.sdk.schedule.get("s").created_at
    server.sdk.schedule.pause("s")
    server.advance(5)
    server.sdk.schedule.create(destination=sink.url + "/new", cron="*/2 * * * *", schedule_id="s")
    schedule = server.sdk.schedule.get("s")
    assert schedule.created_at == created_ms
    assert (schedule.body, schedule.headers, schedule.label) == (None, None, None)
    assert (schedule.retries, schedule.paused) == (3, False)
    server.advance(120)
    assert [d.target for d in sink.deliveries] == ["/new"]
    assert len(server.sdk.schedule.list()) == 1


def test_paused_schedule_skips_its_times_and_resumes_with_the_next(
    server: Running, sink: Sink
) -> None:
    server.sdk.schedule.create(destination=sink.url + "/t", cron="* * * * *", schedule_id="s")
    for _ in range(2):
        server.sdk.schedule.pause("s")
    assert server.sdk.schedule.get("s").paused
    server.advance(300)
    for _ in range(2):
        server.sdk.schedule.resume("s")
    server.settle()
    assert sink.to("/t") == []
    server.advance(60)
    assert len(sink.to("/t")) == 1


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_pause_and_resume_take_both_documented_methods(server: Running, method: str) -> None:
    server.sdk.schedule.create(destination="https://a.example", cron="@daily", schedule_id="s")
    assert server.request(method, "/v2/schedules/s/pause").status == 200
    assert server.sdk.schedule.get("s").paused
    assert server.request(method, "/v2/schedules/s/resume").status == 200
    assert not server.sdk.schedule.get("s").paused


def test_deleted_schedule_fires_no_more(server: Running, sink: Sink) -> None:
    server.sdk.schedule.create(destination=sink.url + "/t", cron="* * * * *", schedule_id="s")
    server.sdk.schedule.delete("s")
    server.advance(60)
    assert sink.deliveries == []
    with pytest.raises(QStashError, match=r"404.*schedule s not found"):
        server.sdk.schedule.get("s")


@pytest.mark.parametrize("action", ["", "/pause", "/resume"])
def test_unknown_schedule_is_404(server: Running, action: str) -> None:
    method = "PATCH" if action else "DELETE"
    answer = server.request(method, f"/v2/schedules/nobody{action}")
    assert (answer.status, answer.json) == (404, {"error": "schedule nobody not found"})


def test_delay_holds_back_each_message_and_not_the_schedule(server: Running, sink: Sink) -> None:
    server.sdk.schedule.create(destination=sink.url + "/t", cron="* * * * *", delay=90)
    server.advance(60)
    server.advance(60)
    assert sink.deliveries == []
    server.advance(30)
    assert len(sink.deliveries) == 1


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, "Invalid cron expression empty spec string"),
        ({"Upstash-Cron": "* * * * * *"}, "expected exactly 5 fields, found 6"),
        ({"Upstash-Cron": "CRON_TZ=Nowhere * * * * *"}, "bad location Nowhere"),
        ({"Upstash-Cron": "@daily", "Upstash-Schedule-Id": "a b"}, "invalid schedule id"),
        ({"Upstash-Cron": "@daily", "Upstash-Queue-Name": "q r"}, "invalid queue name"),
    ],
)
def test_bad_schedule_is_refused_and_stores_nothing(
    server: Running, headers: dict[str, str], text: str
) -> None:
    answer = server.request("POST", "/v2/schedules/https://example.com", headers=headers)
    assert answer.status == 400
    assert text in answer.json["error"]
    assert server.sdk.schedule.list() == []


def test_blanks_around_the_cron_are_trimmed(server: Running) -> None:
    path = "/v2/schedules/https://a.example?upstash-cron=%20%200%204%20*%20*%20*%20"
    schedule_id = server.request("POST", path).json["scheduleId"]
    schedule = server.sdk.schedule.get(schedule_id)
    assert (schedule.cron, schedule.destination) == ("0 4 * * *", "https://a.example")


def test_cron_keeps_its_time_zone_text_and_fires_by_it(server: Running) -> None:
    cron = "CRON_TZ=America/New_York 0 4 * * *"
    server.sdk.schedule.create(destination="https://a.example", cron=cron, schedule_id="s")
    schedule = server.sdk.schedule.get("s")
    assert schedule.cron == cron
    assert schedule.next_schedule_time is not None
    assert schedule.next_schedule_time // 3_600_000 % 24 in (8, 9)


def test_never_firing_schedule_has_no_next_time(server: Running) -> None:
    server.sdk.schedule.create(destination="https://a.example", cron="0 0 31 2 *", schedule_id="s")
    assert server.sdk.schedule.get("s").next_schedule_time is None


def test_no_minute_fires_twice_and_a_missed_one_is_made_up_for_once_after_a_restart(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    with Running(loop, settings(state), clock) as server:
        server.sdk.schedule.create(destination=sink.url + "/t", cron="* * * * *", schedule_id="s")
        server.advance(60)
        assert len(sink.deliveries) == 1
    with Running(loop, settings(state), clock) as server:
        server.settle()
        assert len(sink.deliveries) == 1
    clock.advance(600_000)
    with Running(loop, settings(state), clock) as server:
        server.settle()
        assert len(sink.deliveries) == 2
        server.advance(60)
        assert len(sink.deliveries) == 3
