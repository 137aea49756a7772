from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qstash_server.dispatch.throttle import GUARD_MS, Throttle
from qstash_server.flow_control import FlowControl, FlowKey

PERIOD_MS = 1000 + GUARD_MS


def throttle(**limits: Any) -> Throttle:
    return Throttle(FlowKey(key="k", **limits))


def test_key_without_limits_lets_everybody_start() -> None:
    free = throttle()
    assert all(free.start(str(n), 0, now_ms=0) for n in range(1000))
    assert (free.active, free.waiting, free.rate_count(0)) == (1000, 0, 0)


def test_rate_opens_one_period_after_the_oldest_start_that_counts() -> None:
    one = throttle(rate=2)
    assert one.start("a", 0, now_ms=0)
    assert one.start("b", 0, now_ms=400)
    assert not one.start("c", 500, now_ms=500)
    assert (one.waiting, one.rate_count(500), one.opens_ms(500)) == (1, 2, PERIOD_MS)
    assert one.next_in_line(PERIOD_MS - 1) == []
    assert one.next_in_line(PERIOD_MS) == ["c"]
    assert one.start("c", 500, now_ms=PERIOD_MS)
    assert one.rate_period_start_ms(PERIOD_MS) == 400


def test_no_burst_at_the_edge_of_two_periods() -> None:
    edge = throttle(rate=3)
    assert [edge.start(str(n), 0, now_ms=900) for n in range(3)] == [True] * 3
    assert not edge.start("x", 0, now_ms=1100)


def test_parallelism_opens_when_a_call_ends_and_not_by_itself() -> None:
    one = throttle(parallelism=1)
    assert one.start("a", 0, now_ms=0)
    assert not one.start("b", 0, now_ms=0)
    assert one.opens_ms(0) is None
    assert one.next_in_line(10**9) == []
    one.finish()
    assert one.next_in_line(1) == ["b"]


def test_line_goes_by_due_time_and_equal_times_by_arrival() -> None:
    full = throttle(parallelism=1)
    full.start("active", 0, now_ms=0)
    for name, due_ms in (("late", 9), ("first", 5), ("second", 5), ("early", 1)):
        full.start(name, due_ms, now_ms=10)
    full.start("first", 99, now_ms=10)  # Who stands in line keeps the place.
    full.change(FlowKey(key="k"))
    assert full.next_in_line(10) == ["early", "first", "second", "late"]


def test_who_is_forgotten_leaves_the_line_to_the_others() -> None:
    full = throttle(parallelism=1)
    for name in "abc":
        full.start(name, 0, now_ms=0)
    full.forget("b")
    full.finish()
    assert (full.next_in_line(1), full.waiting) == (["c"], 0)


def test_line_does_not_grow_with_those_who_were_forgotten() -> None:
    paused = Throttle(FlowKey(key="k", paused=True))
    for n in range(10_000):
        paused.start(str(n), 0, now_ms=0)
        paused.forget(str(n))
    assert paused.waiting == 0
    assert len(paused._line._heap) < 100


def test_pause_holds_everybody_while_the_calls_of_before_go_on_counting() -> None:
    held = throttle(rate=1)
    held.start("a", 0, now_ms=0)
    held.change(replace(held.key, paused=True))
    assert not held.start("b", 0, now_ms=5000)
    assert (held.opens_ms(5000), held.next_in_line(5000)) == (None, [])
    held.change(replace(held.key, paused=False))
    assert held.next_in_line(5000) == ["b"]


def test_pinned_limits_hold_instead_of_those_that_are_published() -> None:
    pinned = throttle(parallelism=5, pinned_parallelism=1, pinned_rate=7, pinned_period_s=60)
    pinned.change(pinned.key.published(FlowControl(key="k", parallelism=9, rate=9)))
    assert pinned.start("a", 0, now_ms=0)
    assert not pinned.start("b", 0, now_ms=0)
    assert pinned.key.max_rate == 7
    pinned.change(replace(pinned.key, pinned_parallelism=None))
    assert pinned.next_in_line(0) == ["b"]


def test_reset_allows_one_whole_rate_and_not_more() -> None:
    reset = throttle(rate=2)
    for name in "ab":
        reset.start(name, 0, now_ms=100)
    reset.change(replace(reset.key, reset_ms=100))
    assert reset.rate_count(100) == 0
    # In the millisecond of the reset as well as after it.
    assert [reset.start(name, 0, now_ms=100) for name in "cde"] == [True, True, False]
    assert reset.next_in_line(101) == []


def test_reset_before_the_clock_was_set_back_does_not_lift_the_limit() -> None:
    ahead = throttle(rate=1)
    ahead.change(replace(ahead.key, reset_ms=1_000_000))
    assert ahead.start("a", 0, now_ms=5)
    assert not ahead.start("b", 0, now_ms=6)


def test_starts_ahead_of_a_clock_that_was_set_back_do_not_block() -> None:
    ahead = throttle(rate=1)
    assert ahead.start("a", 0, now_ms=1_000_000)
    assert ahead.start("b", 0, now_ms=5)
    assert not ahead.start("c", 0, now_ms=6)
    assert ahead.next_in_line(5 + PERIOD_MS) == ["c"]


def test_calls_of_before_a_restart_count() -> None:
    again = throttle(rate=2)
    again.remember([0, 300])
    assert not again.start("a", 0, now_ms=500)
    assert again.opens_ms(500) == PERIOD_MS


@settings(deadline=None)
@given(
    rate=st.integers(1, 4),
    parallelism=st.integers(1, 3),
    arrivals=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 2000)), max_size=30),
)
def test_everybody_goes_within_the_limits_and_by_due_time(
    rate: int, parallelism: int, arrivals: list[tuple[int, int]]
) -> None:
    """arrivals: when a call is due and how long it takes. Time jumps to where something happens."""
    busy = throttle(rate=rate, parallelism=parallelism)
    due = sorted((due_ms, name) for name, (due_ms, _) in enumerate(arrivals))
    started: list[tuple[int, int]] = []
    ends: list[int] = []
    now_ms = 0
    while len(started) < len(arrivals):
        coming = [*due[:1], *[(ms, -1) for ms in ends]]
        opens_ms = busy.opens_ms(now_ms)
        now_ms = max(now_ms, min([ms for ms, _ in coming] + ([opens_ms] if opens_ms else [])))
        for _ in [ms for ms in ends if ms <= now_ms]:
            busy.finish()
        ends = [ms for ms in ends if ms > now_ms]
        ready = [(arrivals[int(i)][0], int(i)) for i in busy.next_in_line(now_ms)]
        while due and due[0][0] <= now_ms:
            ready.append(due.pop(0))
        for due_ms, name in ready:
            if busy.start(str(name), due_ms, now_ms):
                started.append((now_ms, name))
                ends.append(now_ms + arrivals[name][1])
                assert len(ends) <= parallelism
    times = [ms for ms, _ in started]
    assert all(b - a >= PERIOD_MS for a, b in zip(times, times[rate:], strict=False))
    assert [arrivals[name][0] for _, name in started] == sorted(ms for ms, _ in arrivals)


class Machine(RuleBasedStateMachine):
    """Any order of events, the way in which the lanes call: after each, who may go is let in."""

    @initialize()
    def begin(self) -> None:
        self.throttle = throttle(rate=2, parallelism=2)
        self.now_ms = 10_000
        self.starts: list[int] = []
        self.active: list[str] = []
        self.waiting: set[str] = set()
        self.number = 0

    def let_in(self) -> None:
        for message_id in self.throttle.next_in_line(self.now_ms):
            self.waiting.remove(message_id)
            self.arrive(message_id)

    def arrive(self, message_id: str) -> None:
        key = self.throttle.key
        if not self.throttle.start(message_id, self.now_ms, self.now_ms):
            self.waiting.add(message_id)
            return
        self.active.append(message_id)
        assert not key.paused
        assert key.max_parallelism is None or len(self.active) <= key.max_parallelism
        if key.max_rate is not None:
            self.starts.append(self.now_ms)
            since_ms = self.now_ms - key.max_rate_period_s * 1000 - GUARD_MS
            assert sum(ms > since_ms for ms in self.starts) <= key.max_rate

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.arrive(str(self.number))

    @rule()
    def finish(self) -> None:
        if self.active:
            self.active.pop()
            self.throttle.finish()
            self.let_in()

    @rule()
    def cancel(self) -> None:
        if self.waiting:
            self.throttle.forget(self.waiting.pop())
            self.let_in()

    @rule(ms=st.integers(1, 2500))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        self.let_in()

    @rule()
    def wait_for_the_window(self) -> None:
        opens_ms = self.throttle.opens_ms(self.now_ms)
        if opens_ms is not None:
            assert (
                opens_ms > self.now_ms
            )  # Or somebody would be woken for nothing, again and again.
            self.now_ms = opens_ms
            self.let_in()

    @rule(
        changes=st.fixed_dictionaries(
            {},
            optional={
                "paused": st.booleans(),
                "rate": st.none() | st.integers(1, 3),
                "parallelism": st.none() | st.integers(1, 3),
                "period_s": st.integers(1, 2),
                "pinned_rate": st.none() | st.integers(1, 3),
                "pinned_parallelism": st.none() | st.integers(1, 3),
            },
        )
    )
    def change(self, changes: dict[str, Any]) -> None:
        # Calls that no longer counted do not count again when the period becomes longer.
        since_ms = self.now_ms - self.throttle.key.max_rate_period_s * 1000 - GUARD_MS
        self.starts = [ms for ms in self.starts if ms > since_ms]
        self.throttle.change(replace(self.throttle.key, **changes))
        self.let_in()

    @rule()
    def reset(self) -> None:
        self.now_ms += 1
        self.throttle.change(replace(self.throttle.key, reset_ms=self.now_ms))
        self.starts = []
        self.let_in()

    @invariant()
    def nobody_waits_without_a_reason(self) -> None:
        if self.waiting:
            key = self.throttle.key
            assert self.throttle.capacity(self.now_ms) == 0
            held_by_rate = self.throttle.opens_ms(self.now_ms) is not None
            full = key.max_parallelism is not None and len(self.active) >= key.max_parallelism
            assert key.paused or held_by_rate or full

    @invariant()
    def counts_agree(self) -> None:
        assert self.throttle.active == len(self.active)
        assert self.throttle.waiting == len(self.waiting)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_call_that_leaves_late_counts_from_then() -> None:
    throttle = Throttle(FlowKey(key="k", rate=1, period_s=1))
    assert throttle.start("a", 0, 1000)
    throttle.left(1000, 1300)
    assert throttle.rate_count(2100) == 1
    assert throttle.capacity(1300 + 1000 + GUARD_MS) == 1
