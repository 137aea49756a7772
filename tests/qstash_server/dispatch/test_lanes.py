"""Queues and flow-control keys together. What each does alone is in the tests of its own module."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from qstash_server.dispatch.lanes import Lanes
from qstash_server.dispatch.throttle import GUARD_MS
from qstash_server.dispatch.timetable import Timetable
from qstash_server.flow_control import FlowControl, FlowKey
from qstash_server.message import Held, Message
from qstash_server.queue import Queue
from tests.qstash_server.running import envelope

PERIOD_MS = 1000 + GUARD_MS
FLOW = FlowControl(key="k", parallelism=1)


def message(
    name: str,
    *,
    queue: str | None = None,
    flow: FlowControl | None = None,
    due_ms: int = 0,
    slot: str | None = None,
) -> Message:
    return Message(
        id=name,
        envelope=replace(envelope(), queue=queue, flow=flow),
        created_ms=due_ms,
        not_before_ms=due_ms,
        due_ms=due_ms,
        slot=slot,
    )


class Scene:
    """Lanes with the timetable that they work on, used as the scheduler does."""

    def __init__(self) -> None:
        self.timetable = Timetable()
        self.lanes = Lanes(self.timetable)

    def accept(self, *accepted: Message, now_ms: int = 0) -> None:
        for one in accepted:
            self.lanes.enter(one, now_ms)
            self.timetable.put(one.id, one.due_ms)

    def start(self, now_ms: int = 0, limit: int = 1000) -> list[str]:
        """Return what starts now; afterwards nothing is due, unless the limit was reached."""
        return list(self._start(now_ms, limit))

    def _start(self, now_ms: int, limit: int) -> Iterator[str]:
        self.lanes.open_windows(now_ms)
        while limit and (due := self.timetable.pop_due(now_ms, limit=1)):
            if self.lanes.may_start(due[0], now_ms):
                limit -= 1
                yield due[0]

    def forget(self, name: str, now_ms: int = 0) -> None:
        self.timetable.discard(name)
        self.lanes.forget(name, now_ms)


def test_message_with_neither_goes_at_once() -> None:
    scene = Scene()
    scene.accept(message("a"))
    assert scene.start() == ["a"]


def test_what_is_held_back_stands_in_no_timetable() -> None:
    scene = Scene()
    scene.lanes.set_queue(Queue(name="paused", paused=True))
    scene.accept(*[message(n, queue="paused") for n in "abc"])
    scene.accept(*[message(n, queue="q", flow=FLOW) for n in "def"])
    assert scene.start() == ["d"]
    assert (len(scene.timetable), scene.lanes.next_ms()) == (0, None)


def test_cancelled_message_passes_on_what_its_key_had_let_it_in_for() -> None:
    scene = Scene()
    scene.accept(*[message(n, flow=FLOW) for n in "abc"])
    assert scene.start() == ["a"]
    scene.lanes.tried("a", None, 0)
    scene.forget("b")
    assert scene.start() == ["c"]


def test_message_of_a_paused_queue_passes_on_what_its_key_had_let_it_in_for() -> None:
    scene = Scene()
    scene.accept(message("a", flow=FLOW), message("b", queue="q", flow=FLOW))
    scene.accept(message("c", flow=FLOW))
    assert scene.start() == ["a"]
    scene.lanes.tried("a", None, 0)
    scene.lanes.set_queue(Queue(name="q", paused=True))
    assert scene.start() == ["c"]


def test_new_limits_of_a_key_hold_for_those_who_wait_and_nobody_overtakes_them() -> None:
    scene = Scene()
    scene.accept(*[message(n, flow=FLOW) for n in "abcd"])
    assert scene.start() == ["a"]
    wider = replace(FLOW, parallelism=3)
    scene.accept(message("later", flow=wider, due_ms=60_000))
    assert scene.start() == ["b", "c"]
    scene.accept(message("e", flow=replace(FLOW, parallelism=5)))
    assert scene.start() == ["d", "e"]


def test_messages_that_are_due_together_keep_their_order() -> None:
    scene = Scene()
    scene.accept(*[message(n, flow=replace(FLOW, parallelism=2)) for n in "abcdefgh"])
    order = under_way = scene.start()
    while under_way:
        # Two end before anybody else can start.
        for name in under_way:
            scene.lanes.tried(name, None, 0)
        under_way = scene.start()
        order = order + under_way
    assert "".join(order) == "abcdefgh"


def test_hurried_message_that_has_to_wait_does_not_go_back_to_its_old_time() -> None:
    scene = Scene()
    scene.accept(message("a", flow=FLOW), message("b", flow=FLOW, due_ms=86_400_000))
    assert scene.start() == ["a"]
    scene.lanes.move("b", 0)
    scene.timetable.put("b", 0)
    assert scene.start() == []
    scene.lanes.tried("a", None, 0)
    assert scene.start() == ["b"]


def test_waiting_retry_leaves_its_key_to_others_and_not_its_queue() -> None:
    scene = Scene()
    scene.accept(message("a", queue="q", flow=FLOW), message("b", queue="q"))
    assert scene.start() == ["a"]
    scene.accept(message("c", flow=FLOW))
    assert scene.start() == []
    scene.timetable.put("a", 500)
    scene.lanes.tried("a", 500, 0)
    assert scene.start() == ["c"]


def test_deleted_queue_leaves_nothing_behind_and_keeps_the_slot_of_who_is_in_flight() -> None:
    scene = Scene()
    for name in "xyz":
        scene.lanes.set_queue(Queue(name=name, parallelism=2, paused=True))
        scene.lanes.forget_queue(name)
    assert scene.lanes._queues == {}
    scene.accept(message("a", queue="q"))
    scene.start()
    scene.lanes.forget_queue("q")
    scene.accept(message("b", queue="q"))
    assert scene.start() == []
    scene.lanes.tried("a", None, 0)
    assert scene.start() == ["b"]


def test_forgotten_keys_leave_nothing_behind_and_calls_under_way_count_on() -> None:
    scene = Scene()
    scene.accept(message("a", flow=replace(FLOW, key="idle")), message("b", flow=FLOW))
    scene.start()
    scene.lanes.tried("a", None, 0)
    scene.lanes.forget_keys(["idle", "k"])
    assert list(scene.lanes._throttles) == ["k"]
    scene.accept(message("c", flow=FLOW))
    assert scene.start() == []
    scene.lanes.tried("b", None, 0)
    assert scene.start() == ["c"]


def test_callbacks_that_wait_do_not_cost_their_source_the_slot_at_a_restart() -> None:
    source = Held(
        id="a", not_before_ms=0, due_ms=500, queue="q", slot=None, flow_key=None, retried=1
    )
    callback = replace(source, id="c", not_before_ms=10, due_ms=9000, slot="a", retried=0)
    behind = replace(source, id="b", not_before_ms=5, due_ms=5, retried=0)
    for parallelism in (1, 2):
        scene = Scene()
        scene.lanes.set_queue(Queue(name="q", parallelism=parallelism))
        for held in (behind, source, callback):
            scene.timetable.put(held.id, held.due_ms)
        scene.lanes.load([source, behind, callback], now_ms=100)
        assert scene.start(100) == ["b"][: parallelism - 1]
        assert scene.start(500) == ["a"]
        scene.lanes.tried("c", None, 600)
        assert scene.lanes.may_start("a", 600)


def test_message_that_was_tried_keeps_its_turn_over_a_restart_on_a_clock_set_back() -> None:
    first = Held(
        id="a", not_before_ms=9000, due_ms=9500, queue="q", slot=None, flow_key=None, retried=1
    )
    scene = Scene()
    scene.timetable.put("a", 9500)
    scene.lanes.load([first], now_ms=100)
    scene.accept(message("b", queue="q", due_ms=100), now_ms=100)
    assert scene.start(9499) == []
    assert scene.start(9500) == ["a"]


@dataclass
class Known:
    """A message as the state has it."""

    message: Message
    number: int
    due_ms: int
    retried: int = 0
    active: bool = False


class Machine(RuleBasedStateMachine):
    """Queues and keys under any order of events, against what is promised of them."""

    @initialize()
    def begin(self) -> None:
        self.now_ms = 0
        self.number = 0
        self.known: dict[str, Known] = {}
        self.queues = {name: Queue(name=name, parallelism=n) for name, n in (("p", 1), ("q", 2))}
        self.keys = {"k": FlowKey(key="k", parallelism=1), "r": FlowKey(key="r", rate=2)}
        # What has begun and is not settled, its callbacks included.
        self.served: dict[str, set[str]] = {name: set() for name in self.queues}
        self.starts: list[int] = []
        self.restart()

    @rule()
    def restart(self) -> None:
        self.scene = Scene()
        for known in self.known.values():
            known.active = False
            self.scene.timetable.put(known.message.id, known.due_ms)
        for queue in self.queues.values():
            self.scene.lanes.set_queue(queue)
        for key in self.keys.values():
            starts_ms = [ms for ms in self.starts if ms > self.now_ms - PERIOD_MS]
            self.scene.lanes.set_key(key, self.now_ms, starts_ms if key.rate else [])
        held = [
            Held(
                id=known.message.id,
                not_before_ms=known.message.not_before_ms,
                due_ms=known.due_ms,
                queue=known.message.envelope.queue,
                slot=known.message.slot,
                flow_key=flow.key if (flow := known.message.envelope.flow) else None,
                retried=known.retried,
            )
            for known in sorted(
                self.known.values(), key=lambda k: (k.message.not_before_ms, k.number)
            )
        ]
        self.scene.lanes.load(held, self.now_ms)
        # First attempts that were interrupted are given their slots again in the same order.
        for name, slots in self.served.items():
            slots -= {i for i in slots if i in self.known and self.has_its_turn_to_come(i)}
            assert all(self.scene.lanes._line(name).holds(slot) for slot in slots)

    def has_its_turn_to_come(self, message_id: str) -> bool:
        known = self.known[message_id]
        return known.retried == 0 and known.message.slot is None

    @rule(
        queue=st.sampled_from([None, "p", "q"]),
        key=st.sampled_from([None, "k", "r"]),
        delay_ms=st.sampled_from([0, 0, 0, 700]),
    )
    def publish(self, queue: str | None, key: str | None, delay_ms: int) -> None:
        flow = key and FlowControl(
            key=key, parallelism=self.keys[key].parallelism, rate=self.keys[key].rate
        )
        self.accept(queue, flow or None, self.now_ms + delay_ms)

    def accept(
        self, queue: str | None, flow: FlowControl | None, due_ms: int, slot: str | None = None
    ) -> str:
        self.number += 1
        new = message(str(self.number), queue=queue, flow=flow, due_ms=due_ms, slot=slot)
        self.known[new.id] = Known(new, self.number, due_ms)
        self.scene.accept(new, now_ms=self.now_ms)
        return new.id

    @rule(limit=st.sampled_from([0, 1, 1000]))
    def start(self, limit: int) -> None:
        self.scene.lanes.open_windows(self.now_ms)
        for message_id in self.scene.start(self.now_ms, limit):
            self.check_start(message_id)

    def check_start(self, message_id: str) -> None:
        known = self.known[message_id]
        assert not known.active
        assert known.due_ms <= self.now_ms
        known.active = True
        envelope = known.message.envelope
        if envelope.queue is not None and known.message.slot is None:
            queue, served = self.queues[envelope.queue], self.served[envelope.queue]
            assert not queue.paused
            if message_id not in served:
                before = [
                    other.message.id
                    for other in self.known.values()
                    if other.message.envelope.queue == queue.name
                    and other.message.slot is None
                    and other.message.id not in served
                    and (other.message.not_before_ms, other.number)
                    < (known.message.not_before_ms, known.number)
                ]
                # One that its key holds back has its slot already, and has not begun.
                assert len(before) < queue.parallelism
                served.add(message_id)
                assert len(served) <= queue.parallelism
        if envelope.flow is not None:
            key = self.keys[envelope.flow.key]
            assert not key.paused
            active = [k for k in self.known.values() if k.active and k.message.envelope.flow]
            if key.parallelism:
                same = [k for k in active if k.message.envelope.flow == envelope.flow]
                assert len(same) <= key.parallelism
            if key.rate:
                self.starts.append(self.now_ms)
                assert sum(ms > self.now_ms - PERIOD_MS for ms in self.starts) <= key.rate

    def settle(self, message_id: str) -> None:
        known = self.known.pop(message_id)
        queue, slot = known.message.envelope.queue, known.message.slot or message_id
        if queue and not any(slot in (i, k.message.slot) for i, k in self.known.items()):
            self.served[queue].discard(slot)

    @rule(data=st.data(), ends=st.sampled_from(["delivered", "retry"]), reports=st.booleans())
    def end(self, data: st.DataObject, ends: str, reports: bool) -> None:
        active = [i for i, known in self.known.items() if known.active]
        if not active:
            return
        message_id = data.draw(st.sampled_from(active))
        known = self.known[message_id]
        known.active = False
        due_ms = self.now_ms + 300 if ends == "retry" else None
        if due_ms is not None:
            known.due_ms, known.retried = due_ms, known.retried + 1
            self.scene.timetable.put(message_id, due_ms)
        if reports and known.message.slot is None:
            queue = known.message.envelope.queue
            self.accept(queue, None, self.now_ms, slot=message_id if queue else None)
        self.scene.lanes.tried(message_id, due_ms, self.now_ms)
        if due_ms is None:
            self.settle(message_id)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        waiting = [i for i, known in self.known.items() if not known.active]
        if waiting:
            message_id = data.draw(st.sampled_from(waiting))
            self.scene.forget(message_id, self.now_ms)
            self.settle(message_id)

    @rule(data=st.data())
    def hurry(self, data: st.DataObject) -> None:
        waiting = [
            i for i, k in self.known.items() if not k.active and k.message.envelope.queue is None
        ]
        if waiting:
            message_id = data.draw(st.sampled_from(waiting))
            self.known[message_id].due_ms = self.now_ms
            self.scene.lanes.move(message_id, self.now_ms)
            self.scene.timetable.put(message_id, self.now_ms)

    @rule(ms=st.sampled_from([1, 300, 700, 1100]))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms

    @rule(name=st.sampled_from("pq"), paused=st.booleans())
    def pause_queue(self, name: str, paused: bool) -> None:
        self.queues[name] = replace(self.queues[name], paused=paused)
        self.scene.lanes.set_queue(self.queues[name])

    @rule(name=st.sampled_from("kr"), paused=st.booleans())
    def pause_key(self, name: str, paused: bool) -> None:
        self.keys[name] = replace(self.keys[name], paused=paused)
        self.scene.lanes.set_key(self.keys[name], self.now_ms)

    def teardown(self) -> None:
        """Everybody goes in the end, and nobody is woken for nothing."""
        if not hasattr(self, "scene"):
            return
        for name in "pq":
            self.pause_queue(name, paused=False)
        for name in "kr":
            self.pause_key(name, paused=False)
        for _ in range(10 * len(self.known) + 10):
            self.start(limit=1000)
            for message_id in [i for i, known in self.known.items() if known.active]:
                self.scene.lanes.tried(message_id, None, self.now_ms)
                self.settle(message_id)
            nexts = [self.scene.timetable.next_due_ms(), self.scene.lanes.next_ms()]
            self.now_ms = max(
                [self.now_ms, *sorted(ms for ms in nexts if ms is not None and ms > 0)[:1]]
            )
        assert self.known == {}
        assert self.scene.lanes._places == {}
        assert all(line.empty for line in self.scene.lanes._queues.values())


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
