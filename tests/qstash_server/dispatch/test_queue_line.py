from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qstash_server.dispatch.queue_line import QueueLine
from qstash_server.queue import Queue


def line(parallelism: int = 1, *, paused: bool = False) -> QueueLine:
    return QueueLine(Queue(name="q", parallelism=parallelism, paused=paused))


def enter(queue: QueueLine, ids: str) -> None:
    for message_id in ids:
        queue.enter(message_id, 0)


def served(queue: QueueLine) -> str:
    return "".join(message_id for message_id, _ in queue.next_in_line())


def test_first_in_is_first_out() -> None:
    queue = line()
    enter(queue, "abc")
    assert [served(queue), served(queue)] == ["a", ""]
    queue.leave("a", "a")
    assert served(queue) == "b"


def test_parallelism_says_how_many_are_served_at_a_time() -> None:
    queue = line(2)
    enter(queue, "abcde")
    assert served(queue) == "ab"
    queue.leave("b", "b")
    assert served(queue) == "c"
    queue.queue = Queue(name="q", parallelism=4)
    assert served(queue) == "de"


def test_fewer_slots_wait_until_those_that_were_given_are_free() -> None:
    queue = line(3)
    enter(queue, "abcd")
    assert served(queue) == "abc"
    queue.queue = Queue(name="q", parallelism=1)
    queue.leave("a", "a")
    queue.leave("b", "b")
    assert served(queue) == ""
    queue.leave("c", "c")
    assert served(queue) == "d"


def test_who_stands_in_line_does_not_enter_a_second_time() -> None:
    queue = line()
    enter(queue, "abab")
    assert served(queue) == "a"
    queue.leave("a", "a")
    assert served(queue) == "b"
    queue.leave("b", "b")
    assert queue.empty


def test_slot_is_held_until_the_last_callback_has_left() -> None:
    queue = line()
    enter(queue, "ab")
    served(queue)
    queue.join("a")
    queue.join("a")
    queue.leave("a", "a")
    assert served(queue) == ""
    queue.leave("callback 1", "a")
    assert served(queue) == ""
    queue.leave("callback 2", "a")
    assert served(queue) == "b"


def test_who_is_cancelled_in_line_takes_no_slot() -> None:
    queue = line()
    enter(queue, "abc")
    served(queue)
    queue.leave("b", "b")
    assert served(queue) == ""
    queue.leave("a", "a")
    assert served(queue) == "c"


def test_pause_serves_nobody_and_resume_begins_with_the_earliest() -> None:
    queue = line(2, paused=True)
    enter(queue, "abc")
    assert served(queue) == ""
    queue.queue = Queue(name="q", parallelism=2)
    assert served(queue) == "ab"


def test_parked_message_keeps_its_slot_and_goes_on_when_the_queue_is_resumed() -> None:
    queue = line()
    enter(queue, "ab")
    served(queue)
    queue.queue = Queue(name="q", paused=True)
    queue.park("a", 7)
    assert queue.next_in_line() == []
    queue.queue = Queue(name="q")
    assert queue.next_in_line() == [("a", 7)]
    assert queue.holds("a")


def test_parked_message_that_is_cancelled_gives_its_slot_back() -> None:
    queue = line()
    enter(queue, "ab")
    served(queue)
    queue.queue = Queue(name="q", paused=True)
    queue.park("a", 0)
    queue.leave("a", "a")
    queue.queue = Queue(name="q")
    assert served(queue) == "b"


def test_line_of_a_hundred_thousand_is_served_in_no_time() -> None:
    queue = line()
    for number in range(100_000):
        queue.enter(str(number), 0)
    for number in range(100_000):
        assert queue.next_in_line() == [(str(number), 0)]
        queue.leave(str(number), str(number))
    assert queue.empty


class Machine(RuleBasedStateMachine):
    """Any order of events, the way in which the lanes call: after each, who may go is served."""

    @initialize(parallelism=st.integers(1, 3))
    def begin(self, parallelism: int) -> None:
        self.line = line(parallelism)
        self.number = 0
        self.waiting: list[str] = []
        # Of each message that has been served: it and its callbacks, as far as they are not settled.
        self.slots: dict[str, list[str]] = {}
        self.parked: list[str] = []

    def serve(self) -> None:
        for message_id, _ in self.line.next_in_line():
            assert not self.line.queue.paused
            if message_id in self.parked:
                self.parked.remove(message_id)
                continue
            assert message_id == self.waiting.pop(0)
            self.slots[message_id] = [message_id]
            assert len(self.slots) <= self.line.queue.parallelism

    @rule(count=st.integers(1, 3))
    def enqueue(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.waiting.append(str(self.number))
            self.line.enter(str(self.number), 0)
            self.serve()

    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        """An attempt ends, and a callback tells about it."""
        served = sorted(slot for slot, inside in self.slots.items() if slot in inside)
        if served:
            slot = data.draw(st.sampled_from(served))
            self.number += 1
            self.slots[slot].append(f"callback {self.number}")
            self.line.join(slot)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """A message or a callback with a slot is delivered, fails or is cancelled."""
        if self.slots:
            slot = data.draw(st.sampled_from(sorted(self.slots)))
            message_id = data.draw(st.sampled_from(self.slots[slot]))
            self.slots[slot].remove(message_id)
            if message_id in self.parked:
                self.parked.remove(message_id)
            if not self.slots[slot]:
                del self.slots[slot]
            self.line.leave(message_id, slot)
            self.serve()

    @rule(data=st.data())
    def cancel_in_line(self, data: st.DataObject) -> None:
        if self.waiting:
            message_id = data.draw(st.sampled_from(self.waiting))
            self.waiting.remove(message_id)
            self.line.leave(message_id, message_id)
            self.serve()

    @rule(data=st.data())
    def come_up_for_a_retry(self, data: st.DataObject) -> None:
        served = sorted(slot for slot, inside in self.slots.items() if slot in inside)
        if served and self.line.queue.paused:
            message_id = data.draw(st.sampled_from(served))
            if message_id not in self.parked:
                self.parked.append(message_id)
            self.line.park(message_id, 0)

    @rule(parallelism=st.integers(1, 3), paused=st.booleans())
    def change(self, parallelism: int, paused: bool) -> None:
        self.line.queue = Queue(name="q", parallelism=parallelism, paused=paused)
        self.serve()

    @invariant()
    def slots_are_those_of_who_is_not_settled(self) -> None:
        assert all(self.line.holds(slot) for slot in self.slots)
        assert not any(self.line.holds(message_id) for message_id in self.waiting)
        assert self.line.empty == (not self.slots and not self.waiting)

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        if self.waiting and not self.line.queue.paused:
            assert len(self.slots) >= self.line.queue.parallelism
            assert not self.parked


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
