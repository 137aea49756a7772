"""What queues and flow control remember when the server is stopped or killed, and starts again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from qstash.message import FlowControl

from qstash_server.clock import ManualClock
from qstash_server.dispatch.throttle import GUARD_MS
from tests.qstash_server.running import LoopThread, Reply, Running, Sink, settings

GUARD_S = GUARD_MS / 1000
Start = Callable[[Path], Running]
Leave = Callable[[Running], Path]


@pytest.fixture
def start(loop: LoopThread, clock: ManualClock) -> Start:
    return lambda state: Running(loop, settings(state), clock)


@pytest.fixture(params=["stopped", "killed"])
def leave(request: pytest.FixtureRequest, state: Path) -> Leave:
    """Return what a server leaves behind; one that is killed, its files as they are at this time."""

    def path(server: Running) -> Path:
        server.rest()
        if request.param == "stopped":
            return state
        killed = state.with_name("killed")
        killed.mkdir()
        for name in (state.name, state.name + "-wal"):
            shutil.copy(state.with_name(name), killed)
        return killed / state.name

    return path


def bodies(sink: Sink) -> str:
    return "".join(d.body.decode() for d in sink.deliveries if len(d.body) == 1)


def test_message_that_waits_for_its_retry_stands_before_those_behind_it(
    start: Start, leave: Leave, state: Path, sink: Sink
) -> None:
    bad = sink.reply("/bad", Reply(status=500), Reply())
    with start(state) as server:
        server.enqueue("q", bad, body="a")
        server.enqueue("q", sink.url, body="b")
        server.enqueue("q", sink.url, body="c")
        server.settle()
        left = leave(server)
    with start(left) as server:
        server.settle()
        server.advance(11)
        assert bodies(sink) == "a"
        server.enqueue("q", sink.url, body="d")
        server.advance(1)
        assert bodies(sink) == "aabcd"


def test_callback_that_waits_holds_the_slot_of_its_source(
    start: Start, leave: Leave, state: Path, sink: Sink
) -> None:
    callback = sink.reply("/callback", Reply(status=500), Reply())
    with start(state) as server:
        server.enqueue("q", sink.url, body="a", callback=callback)
        server.enqueue("q", sink.url, body="b")
        server.settle()
        left = leave(server)
    with start(left) as server:
        server.settle()
        assert bodies(sink) == "a"
        server.advance(12)
        assert bodies(sink) == "ab"


def test_retry_does_not_wait_for_the_callback_of_its_own_first_attempt(
    start: Start, leave: Leave, state: Path, sink: Sink
) -> None:
    bad = sink.reply("/bad", Reply(status=500), Reply())
    callback = sink.reply("/callback", Reply(status=500), Reply())
    late = {"Retry-Delay": "3600000"}
    with start(state) as server:
        server.enqueue(
            "q", bad, body="a", retry_delay="10000", callback=callback, callback_headers=late
        )
        server.enqueue("q", sink.url, body="b")
        server.settle()
        left = leave(server)
    with start(left) as server:
        server.settle()
        server.advance(10)
        assert bodies(sink) == "aa"
        server.advance(3590)
        assert bodies(sink) == "aab"


def test_message_in_flight_is_repeated_before_those_behind_it(
    start: Start, leave: Leave, state: Path, sink: Sink
) -> None:
    with start(state) as server:
        server.enqueue("q", sink.hold("/slow"), body="a")
        server.enqueue("q", sink.url, body="b")
        sink.wait_for("/slow")
        left = leave(server)
    sink.release("/slow")
    with start(left) as server:
        server.settle()
        assert bodies(sink) == "aab"


def test_paused_queue_stays_paused(start: Start, leave: Leave, state: Path, sink: Sink) -> None:
    with start(state) as server:
        server.sdk.queue.upsert("q", parallelism=3, paused=True)
        for name in "abc":
            server.enqueue("q", sink.url, body=name)
        left = leave(server)
    with start(left) as server:
        server.advance(3600)
        assert sink.deliveries == []
        queue = server.sdk.queue.get("q")
        assert (queue.parallelism, queue.paused, queue.lag) == (3, True, 3)
        server.sdk.queue.upsert("q", parallelism=1)
        server.settle()
        assert bodies(sink) == "abc"


def test_delayed_message_of_a_queue_keeps_its_time(
    start: Start, leave: Leave, state: Path, sink: Sink
) -> None:
    with start(state) as server:
        server.request("POST", f"/v2/enqueue/q/{sink.url}", "a", {"Upstash-Delay": "1m"})
        left = leave(server)
    with start(left) as server:
        server.enqueue("q", sink.url, body="b")
        server.settle()
        assert bodies(sink) == "b"
        server.advance(60)
        assert bodies(sink) == "ba"


def test_calls_of_before_count_for_the_rate(
    start: Start, leave: Leave, state: Path, sink: Sink
) -> None:
    flow = FlowControl(key="k", rate=2, period="60s")
    with start(state) as server:
        for name in "abc":
            server.publish(sink.url, body=name, flow_control=flow)
        server.settle()
        server.advance(30)
        left = leave(server)
    with start(left) as server:
        assert server.sdk.flow_control.get("k").rate_count == 2
        server.advance(30)
        assert "c" not in bodies(sink)
        server.advance(GUARD_S)
        assert bodies(sink)[-1] == "c"


def test_call_in_flight_holds_no_parallelism_and_is_repeated(
    start: Start, leave: Leave, state: Path, sink: Sink
) -> None:
    flow = FlowControl(key="k", parallelism=1)
    with start(state) as server:
        for name in "ab":
            server.publish(sink.hold("/slow"), body=name, flow_control=flow)
        sink.wait_for("/slow")
        left = leave(server)
    sink.release("/slow")
    with start(left) as server:
        server.settle()
        assert sorted(bodies(sink)) == list("aab")
        assert server.sdk.flow_control.get("k").parallelism_count == 0


def test_pins_and_pauses_of_keys_survive(
    start: Start, leave: Leave, state: Path, sink: Sink
) -> None:
    with start(state) as server:
        server.sdk.flow_control.pin("pinned", {"parallelism": 3, "rate": 20, "period": 120})
        server.sdk.flow_control.pause("paused")
        server.publish(sink.url, flow_control=FlowControl(key="paused", rate=5))
        left = leave(server)
    with start(left) as server:
        server.settle()
        pinned, paused = map(server.sdk.flow_control.get, ("pinned", "paused"))
        assert (pinned.parallelism_max, pinned.rate_max, pinned.rate_period) == (3, 20, 120)
        assert (pinned.is_pinned_parallelism, pinned.is_pinned_rate) == (True, True)
        assert (paused.is_paused, paused.rate_max, paused.wait_list_size) == (True, 5, 1)
        assert sink.deliveries == []


def test_reset_of_a_rate_survives(start: Start, leave: Leave, state: Path, sink: Sink) -> None:
    flow = FlowControl(key="k", rate=1, period="1h")
    with start(state) as server:
        server.publish(sink.url, body="a", flow_control=flow)
        server.settle()
        server.advance(1)
        server.sdk.flow_control.reset_rate("k")
        left = leave(server)
    with start(left) as server:
        server.publish(sink.url, body="b", flow_control=flow)
        server.settle()
        assert bodies(sink) == "ab"
