import time
from pathlib import Path
from typing import Any

import pytest
from qstash.errors import QStashError
from qstash.message import FlowControl

from qstash_server.clock import ManualClock, SystemClock
from qstash_server.dispatch.throttle import GUARD_MS
from qstash_server.state.retention import Retention
from tests.qstash_server.running import LoopThread, Reply, Running, Sink, settings

HOUR_S = 3600
#: What a window takes longer than its period, in seconds.
GUARD_S = GUARD_MS / 1000


def publish_all(server: Running, url: str, names: str, **limits: Any) -> list[str]:
    flow: Any = {"key": "k", **limits}
    return [server.publish(url, body=name, flow_control=flow) for name in names]


def bodies(sink: Sink) -> str:
    """What has arrived, sorted: calls that start together arrive in any order."""
    return "".join(sorted(d.body.decode() for d in sink.deliveries))


def test_rate_is_held_in_a_window_that_slides(server: Running, sink: Sink) -> None:
    publish_all(server, sink.url, "ab", rate=2, period="10s")
    server.settle()
    server.advance(6)
    publish_all(server, sink.url, "cdefg", rate=2, period="10s")
    server.settle()
    assert bodies(sink) == "ab"
    server.advance(4 + GUARD_S)
    assert bodies(sink) == "abcd"
    server.advance(6)
    assert bodies(sink) == "abcd"
    server.advance(4 + GUARD_S)
    assert bodies(sink) == "abcdef"
    server.advance(10 + GUARD_S)
    assert bodies(sink) == "abcdefg"


def test_parallelism_is_held(server: Running, sink: Sink) -> None:
    publish_all(server, sink.hold("/slow"), "abcde", parallelism=2)
    sink.wait_for("/slow", 2)
    server.rest()
    assert bodies(sink) == "ab"
    info = server.sdk.flow_control.get("k")
    assert (info.parallelism_max, info.parallelism_count, info.wait_list_size) == (2, 2, 3)
    sink.release("/slow")
    server.settle()
    assert bodies(sink) == "abcde"
    info = server.sdk.flow_control.get("k")
    assert (info.parallelism_count, info.wait_list_size) == (0, 0)


def test_rate_holds_at_the_destination_by_the_clock_of_the_machine(
    loop: LoopThread, state: Path, sink: Sink
) -> None:
    with Running(loop, settings(state), SystemClock()) as server:
        publish_all(server, sink.url + "/x", "abcdefghij", rate=4)
        arrivals = [d.time_s for d in sink.wait_for("/x", 10)]
    # The machine may be slow to deliver one call and quick with another.
    gaps = [b - a for a, b in zip(arrivals, arrivals[4:], strict=False)]
    assert min(gaps) > 0.7
    assert arrivals[-1] - arrivals[0] < 5


def test_parallelism_holds_at_the_destination(server: Running, sink: Sink) -> None:
    url = sink.reply("/slow", Reply(delay_s=0.02))
    flow = FlowControl(key="k", parallelism=3)
    server.sdk.message.batch([{"url": url, "body": "x", "flow_control": flow}] * 12)
    server.settle()
    assert len(sink.to("/slow")) == 12
    assert sink.most_active <= 3


def test_both_limits_hold_together(server: Running, sink: Sink) -> None:
    publish_all(server, sink.hold("/slow"), "abcde", parallelism=1, rate=2, period="10s")
    sink.wait_for("/slow")
    server.rest()
    assert bodies(sink) == "a"
    sink.release("/slow")
    server.settle()
    assert bodies(sink) == "ab"
    server.advance(10 + GUARD_S)
    assert bodies(sink) == "abcd"


def test_keys_do_not_wait_for_each_other(server: Running, sink: Sink) -> None:
    publish_all(server, sink.url + "/x", "abc", rate=1, period="1h")
    other = FlowControl(key="other", rate=1, period="1h")
    server.publish(sink.url + "/other", flow_control=other)
    server.publish(sink.url + "/none")
    server.settle()
    assert sorted(d.target for d in sink.deliveries) == ["/none", "/other", "/x"]


def test_retry_counts_for_the_rate(server: Running, sink: Sink) -> None:
    url = sink.reply("/x", Reply(status=500), Reply())
    flow = FlowControl(key="k", rate=2, period="60s")
    server.publish(url, body="a", retry_delay="1000", flow_control=flow)
    server.settle()
    server.advance(1)
    assert server.sdk.flow_control.get("k").rate_count == 2
    server.publish(url, body="b", flow_control=flow)
    server.advance(58)
    assert bodies(sink) == "aa"
    server.advance(1 + GUARD_S)
    assert bodies(sink) == "aab"


def test_retry_waits_for_the_rate_like_a_first_attempt(server: Running, sink: Sink) -> None:
    url = sink.reply("/x", Reply(status=500), Reply())
    flow = FlowControl(key="k", rate=1, period="60s")
    server.publish(url, retry_delay="1000", flow_control=flow)
    server.settle()
    server.advance(59)
    assert (len(sink.deliveries), server.sdk.flow_control.get("k").wait_list_size) == (1, 1)
    server.advance(1 + GUARD_S)
    assert len(sink.deliveries) == 2


def test_message_that_waits_for_its_retry_counts_for_no_parallelism(
    server: Running, sink: Sink
) -> None:
    bad = sink.reply("/bad", Reply(status=500))
    publish_all(server, bad, "a", parallelism=1)
    publish_all(server, sink.url + "/good", "b", parallelism=1)
    server.settle()
    assert bodies(sink) == "ab"
    assert server.sdk.flow_control.get("k").parallelism_count == 0


def test_last_configuration_holds_for_what_waits_already(server: Running, sink: Sink) -> None:
    publish_all(server, sink.url, "abcd", rate=1, period="1h")
    server.settle()
    assert bodies(sink) == "a"
    publish_all(server, sink.url, "e", rate=3, period="1h")
    server.settle()
    assert bodies(sink) == "abc"
    # Delayed, and without a call of its own yet, it changes the key all the same.
    server.publish(sink.url, delay=60, flow_control=FlowControl(key="k", parallelism=1))
    server.settle()
    assert bodies(sink) == "abcde"


def test_message_without_limits_goes_by_those_of_the_key(server: Running, sink: Sink) -> None:
    publish_all(server, sink.url, "a", rate=1, period="1h")
    publish_all(server, sink.url, "bc")
    server.settle()
    assert bodies(sink) == "a"
    assert server.sdk.flow_control.get("k").wait_list_size == 2


def test_pause_holds_everything_of_a_key_until_it_is_resumed(server: Running, sink: Sink) -> None:
    server.sdk.flow_control.pause("k")
    publish_all(server, sink.url, "abc", parallelism=5)
    server.advance(HOUR_S)
    info = server.sdk.flow_control.get("k")
    assert (info.is_paused, info.wait_list_size, sink.deliveries) == (True, 3, [])
    server.sdk.flow_control.resume("k")
    server.settle()
    assert bodies(sink) == "abc"
    assert not server.sdk.flow_control.get("k").is_paused


def test_pinned_limits_hold_until_they_are_unpinned_and_stay_until_the_next_message(
    server: Running, sink: Sink
) -> None:
    server.sdk.flow_control.pin("k", {"parallelism": 3, "rate": 1, "period": 60})
    publish_all(server, sink.url, "abc", parallelism=9, rate=9)
    server.settle()
    assert bodies(sink) == "a"
    info = server.sdk.flow_control.get("k")
    assert (info.parallelism_max, info.rate_max, info.rate_period) == (3, 1, 60)
    assert (info.is_pinned_parallelism, info.is_pinned_rate) == (True, True)
    server.sdk.flow_control.unpin("k", {"parallelism": True})
    info = server.sdk.flow_control.get("k")
    assert (info.is_pinned_parallelism, info.is_pinned_rate) == (False, True)
    server.sdk.flow_control.unpin("k", {"rate": True})
    info = server.sdk.flow_control.get("k")
    assert (info.parallelism_max, info.rate_max, info.rate_period) == (3, 1, 60)
    assert (info.is_pinned_parallelism, info.is_pinned_rate) == (False, False)
    publish_all(server, sink.url, "d", rate=9)
    server.settle()
    assert bodies(sink) == "abcd"
    info = server.sdk.flow_control.get("k")
    assert (info.parallelism_max, info.rate_max, info.rate_period) == (0, 9, 1)


def test_pin_starts_the_rate_afresh(server: Running, sink: Sink) -> None:
    publish_all(server, sink.url, "abcde", rate=1, period="1h")
    server.settle()
    server.sdk.flow_control.pin("k", {"rate": 2, "period": 3600})
    server.settle()
    assert bodies(sink) == "abc"


def test_reset_of_the_rate_lets_one_whole_rate_go_at_once(server: Running, sink: Sink) -> None:
    publish_all(server, sink.url, "abcdefg", rate=2, period="1h")
    server.settle()
    assert server.sdk.flow_control.get("k").rate_count == 2
    server.sdk.flow_control.pause("k")
    server.sdk.flow_control.reset_rate("k")
    assert server.sdk.flow_control.get("k").rate_count == 0
    server.sdk.flow_control.resume("k")
    server.settle()
    assert bodies(sink) == "abcd"
    server.advance(1)
    assert bodies(sink) == "abcd"
    server.request("POST", "/v2/flowControl/k/reset")
    server.settle()
    assert bodies(sink) == "abcdef"


def test_key_shows_its_numbers(server: Running, sink: Sink) -> None:
    start_ms = server.clock.now_ms()
    publish_all(server, sink.url, "abc", rate=2, period="1m")
    server.settle()
    assert server.request("GET", "/v2/flowControl/k").json == {
        "flowControlKey": "k",
        "waitListSize": 1,
        "parallelismMax": 0,
        "parallelismCount": 0,
        "rateMax": 2,
        "rateCount": 2,
        "ratePeriod": 60,
        "ratePeriodStart": start_ms // 1000,
        "isPaused": False,
        "isPinnedParallelism": False,
        "isPinnedRate": False,
    }


def test_search_finds_keys_by_a_part_of_them(server: Running, sink: Sink) -> None:
    for key in ("user-2", "user-1", "100%"):
        answer = server.request("POST", f"/v2/flowControl/{key.replace('%', '_')}/pause")
        assert answer.status == 200

    def found(query: str) -> list[str]:
        answer = server.request("GET", "/v2/flowControl" + query)
        return [key["flowControlKey"] for key in answer.json]

    assert found("") == ["100_", "user-1", "user-2"]
    assert found("?search=user") == ["user-1", "user-2"]
    assert found("?search=_") == ["100_"]
    assert found("?search=nobody") == []


def test_unknown_key_is_404_and_may_be_taken_in_hand_before_its_first_message(
    server: Running,
) -> None:
    with pytest.raises(QStashError, match=r"404.*flow control key 'new' not found"):
        server.sdk.flow_control.get("new")
    for action in ("resume", "resetRate", "unpin?rate=true", "pin?parallelism=2", "pause"):
        assert server.request("POST", f"/v2/flowControl/new/{action}").status == 200
    info = server.sdk.flow_control.get("new")
    assert (info.parallelism_max, info.is_paused) == (2, True)


@pytest.mark.parametrize(
    "path",
    [
        "k/pin",
        "k/pin?period=5",
        "k/pin?parallelism=0",
        "k/pin?parallelism=x",
        "k/pin?rate=0",
        "k/pin?rate=1&period=0",
        "k/pin?rate=1&period=8d",
        "a%20b/pause",
        "a%2Fb/pause",
    ],
)
def test_bad_pin_or_key_is_refused_and_stores_nothing(server: Running, path: str) -> None:
    assert server.request("POST", f"/v2/flowControl/{path}").status == 400
    assert server.request("GET", "/v2/flowControl").json == []


def test_bad_flow_control_of_a_message_is_refused(server: Running, sink: Sink) -> None:
    headers = {"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": "rate=none"}
    answer = server.request("POST", f"/v2/publish/{sink.url}", "x", headers)
    assert (answer.status, "invalid rate 'none'" in answer.text) == (400, True)
    assert server.request("GET", "/v2/flowControl").json == []


def test_global_parallelism_counts_what_is_in_flight(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    with Running(loop, settings(state, parallelism=7), clock) as server:
        publish_all(server, sink.hold("/slow"), "abc", parallelism=2)
        sink.wait_for("/slow", 2)
        info = server.sdk.flow_control.get_global_parallelism()
        assert (info.parallelism_max, info.parallelism_count) == (7, 2)
        sink.release("/slow")
        server.settle()
        assert server.sdk.flow_control.get_global_parallelism().parallelism_count == 0


def test_message_cancelled_while_it_waits_is_passed_over(server: Running, sink: Sink) -> None:
    ids = publish_all(server, sink.hold("/slow"), "abc", parallelism=1)
    sink.wait_for("/slow")
    server.rest()
    server.sdk.message.cancel(ids[1])
    assert server.sdk.flow_control.get("k").wait_list_size == 1
    sink.release("/slow")
    server.settle()
    assert bodies(sink) == "ac"


def test_message_cancelled_in_flight_counts_until_it_ends(server: Running, sink: Sink) -> None:
    ids = publish_all(server, sink.hold("/slow"), "ab", parallelism=1)
    sink.wait_for("/slow")
    server.sdk.message.cancel(ids[0])
    server.rest()
    assert server.sdk.flow_control.get("k").parallelism_count == 1
    assert bodies(sink) == "a"
    sink.release("/slow")
    server.settle()
    assert bodies(sink) == "ab"
    assert server.sdk.flow_control.get("k").parallelism_count == 0


def test_message_put_forward_still_waits_for_its_key_and_then_goes(
    server: Running, sink: Sink
) -> None:
    publish_all(server, sink.url, "a", rate=1, period="60s")
    flow = FlowControl(key="k", rate=1, period="60s")
    message_id = server.publish(sink.url, body="b", delay="1d", flow_control=flow)
    server.settle()
    assert server.request("POST", f"/v2/messages/{message_id}/retry").status == 200
    server.settle()
    assert bodies(sink) == "a"
    server.advance(60 + GUARD_S)
    assert bodies(sink) == "ab"


def test_message_in_a_queue_and_under_a_key_goes_by_both(server: Running, sink: Sink) -> None:
    url = sink.url + "/x"
    limits = {"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": "rate=2,period=60s"}
    for name in "abc":
        server.request("POST", f"/v2/enqueue/q/{url}", name, limits)
    server.enqueue("q", url, body="d")
    server.settle()
    # The third has its slot in the queue and waits for its key: the fourth waits behind it.
    assert bodies(sink) == "ab"
    info = server.sdk.flow_control.get("k")
    assert (info.wait_list_size, server.sdk.queue.get("q").lag) == (1, 2)
    server.sdk.queue.pause("q")
    server.advance(60 + GUARD_S)
    assert bodies(sink) == "ab"
    server.publish(url, body="e", flow_control=FlowControl(key="k", rate=2, period="60s"))
    server.settle()
    assert bodies(sink) == "abe"
    server.sdk.queue.resume("q")
    server.settle()
    assert bodies(sink) == "abcde"


def test_limits_stand_on_message_event_dead_letter_and_schedule(
    server: Running, sink: Sink
) -> None:
    flow = FlowControl(key="k", parallelism=3, period="1d", rate=4)
    message_id = server.publish(sink.reply("/bad", Reply(status=500)), retries=0, flow_control=flow)
    message = server.sdk.message.get(message_id)
    server.settle()
    [entry] = server.sdk.dlq.list().messages
    server.sdk.schedule.create(
        destination=sink.url, cron="@daily", schedule_id="s", flow_control=flow
    )
    for found in (message, entry, server.sdk.schedule.get("s")):
        properties = found.flow_control
        assert properties is not None
        assert (properties.key, properties.parallelism) == ("k", 3)
        assert (properties.rate, properties.period) == (4, 86_400)
    events = server.request("GET", "/v2/events?flowControlKey=k").json["events"]
    assert len(events) == 4
    assert {(e["flowControlKey"], e["parallelism"], e["rate"], e["period"]) for e in events} == {
        ("k", 3, 4, 86_400)
    }
    assert server.request("DELETE", "/v2/dlq?flowControlKey=other").json == {"deleted": 0}
    assert server.request("DELETE", "/v2/dlq?flowControlKey=k").json == {"deleted": 1}


def test_limits_that_are_not_set_are_absent(server: Running) -> None:
    flow = FlowControl(key="k", rate=4)
    message_id = server.publish("http://127.0.0.1:9", delay=60, flow_control=flow)
    message = server.request("GET", f"/v2/messages/{message_id}").json
    assert (message["rate"], message["period"], "parallelism" in message) == (4, 1, False)


def test_schedule_and_retry_out_of_the_dlq_go_by_the_key(server: Running, sink: Sink) -> None:
    bad = sink.reply("/bad", Reply(status=500), Reply())
    flow = FlowControl(key="k", rate=1, period="1h")
    server.sdk.schedule.create(
        destination=bad, cron="* * * * *", schedule_id="s", retries=0, flow_control=flow
    )
    server.advance(60)
    [entry] = server.sdk.dlq.list().messages
    server.request("POST", f"/v2/dlq/retry/{entry.dlq_id}")
    server.advance(60)
    assert len(sink.deliveries) == 1
    assert server.sdk.flow_control.get("k").wait_list_size == 2


def test_cancel_by_key(server: Running) -> None:
    publish_all(server, "http://127.0.0.1:9", "a")
    server.sdk.flow_control.pause("k")
    server.settle()
    publish_all(server, "http://127.0.0.1:9", "bc")
    server.settle()
    other = server.publish("http://127.0.0.1:9", delay=60)
    answer = server.request("DELETE", "/v2/messages?flowControlKey=k")
    assert answer.json == {"cancelled": 3}
    assert server.sdk.flow_control.get("k").wait_list_size == 0
    assert server.sdk.message.get(other)


def test_idle_key_is_forgotten_but_not_one_that_is_pinned_paused_or_in_use(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    retention = Retention(log_s=HOUR_S, dlq_s=HOUR_S)
    with Running(loop, settings(state, retention=retention), clock) as server:
        for key in ("idle", "paused", "pinned"):
            server.publish(sink.url, flow_control=FlowControl(key=key, parallelism=1))
        server.publish(sink.url, delay="1d", flow_control=FlowControl(key="waits", rate=1))
        server.sdk.flow_control.pause("paused")
        server.sdk.flow_control.pin("pinned", {"rate": 1})
        server.settle()
        server.advance(HOUR_S - 120)
        assert server.sdk.flow_control.get("idle").parallelism_max == 1
        server.advance(240)
        left = [key["flowControlKey"] for key in server.request("GET", "/v2/flowControl").json]
        assert left == ["paused", "pinned", "waits"]
        assert "idle" not in server.server.broker.scheduler._lanes._throttles
        server.sdk.flow_control.resume("paused")
        server.advance(HOUR_S + 60)
        assert server.request("GET", "/v2/flowControl/paused").status == 404


class CountingClock(SystemClock):
    """Counts how often the scheduler lies down to sleep."""

    sleeps = 0

    async def wait(self, *arguments: Any) -> None:
        self.sleeps += 1
        await super().wait(*arguments)


def test_scheduler_sleeps_while_everything_is_held_back(
    loop: LoopThread, state: Path, sink: Sink
) -> None:
    clock = CountingClock()
    with Running(loop, settings(state), clock) as server:
        server.sdk.queue.pause("paused")
        server.sdk.flow_control.pause("p")
        slow = sink.hold("/slow")
        for _ in range(3):
            server.enqueue("paused", sink.url)
            server.enqueue("busy", slow)
            for key, limits in (("p", "rate=1"), ("r", "rate=1,period=1h"), ("b", "parallelism=1")):
                flow = {"Upstash-Flow-Control-Key": key, "Upstash-Flow-Control-Value": limits}
                server.request("POST", f"/v2/publish/{slow}", "x", flow)
                server.request("POST", f"/v2/enqueue/both/{slow}", "x", flow)
        sink.wait_for("/slow", 3)
        server.rest()
        time.sleep(0.1)  # What has only just begun writes its line of the log.
        sleeps = clock.sleeps
        time.sleep(0.3)
        assert clock.sleeps - sleeps <= 1
        sink.release("/slow")
