"""What holds a due message back: its queue, its flow-control key, or both.

Messages with neither never come here. Who may go is put into the timetable; who asks there too
early stands in line until somebody ends, a window opens or a pause is over.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from qstash_server.dispatch.queue_line import QueueLine
from qstash_server.dispatch.throttle import Throttle
from qstash_server.dispatch.timetable import Timetable
from qstash_server.flow_control import FlowControl, FlowKey
from qstash_server.message import Held, Message
from qstash_server.queue import Queue


@dataclass(kw_only=True, slots=True)
class Place:
    """Where a message stands. slot: whose slot in the queue it uses, its own or its source's."""

    due_ms: int
    queue: str | None
    slot: str
    flow_key: str | None
    started_ms: int | None = None


class Lanes:
    """All queues and flow-control keys of a running server."""

    def __init__(self, timetable: Timetable) -> None:
        self._timetable = timetable
        self._places: dict[str, Place] = {}
        self._queues: dict[str, QueueLine] = {}
        self._throttles: dict[str, Throttle] = {}
        self._windows = Timetable()

    def load(self, held: Iterable[Held], now_ms: int) -> None:
        """Take up the messages that wait after a restart, in the order in which they came.

        Those that have been tried have their slots back, even when their next attempt is due later
        than that of others. Queues and keys are set before.
        """
        for message in held:
            slot = message.slot or message.id
            self._places[message.id] = Place(
                due_ms=message.due_ms, queue=message.queue, slot=slot, flow_key=message.flow_key
            )
            if message.queue is None:
                continue
            if message.slot is not None:
                self._line(message.queue).join(slot)
            elif message.retried:
                self._line(message.queue).join(message.id)
            elif message.not_before_ms <= now_ms:
                self._timetable.discard(message.id)
                self._line(message.queue).enter(message.id, message.due_ms)
        for name in self._queues:
            self._serve(name)

    def enter(self, message: Message, now_ms: int) -> None:
        """Know a message that has been accepted, before it stands in the timetable."""
        flow = message.envelope.flow
        queue = message.envelope.queue
        if queue is None and flow is None:
            return
        self._places[message.id] = Place(
            due_ms=message.due_ms,
            queue=queue,
            slot=message.slot or message.id,
            flow_key=None if flow is None else flow.key,
        )
        if queue is not None and message.slot is not None:
            self._line(queue).join(message.slot)
        if flow is not None:
            self._publish(flow, now_ms)

    def move(self, message_id: str, due_ms: int) -> None:
        """Change when a message that is not under way is due."""
        place = self._places.get(message_id)
        if place is not None:
            place.due_ms = due_ms

    def may_start(self, message_id: str, now_ms: int) -> bool:
        """Whether a message that is due may be tried now; if not, it stands in line."""
        place = self._places.get(message_id)
        if place is None:
            return True
        if not self._is_served(message_id, place):
            self._pass_on(message_id, place, now_ms)
            return False
        if place.flow_key is not None:
            throttle = self._throttle(place.flow_key)
            if not throttle.start(message_id, place.due_ms, now_ms):
                self._watch(throttle, now_ms)
                return False
        place.started_ms = now_ms
        return True

    def left(self, message_id: str, now_ms: int) -> None:
        """The call of a message is made now, some time after `may_start` let it go."""
        place = self._places.get(message_id)
        if place is not None and place.flow_key is not None and place.started_ms is not None:
            self._throttle(place.flow_key).left(place.started_ms, now_ms)
            place.started_ms = now_ms

    def tried(self, message_id: str, due_ms: int | None, now_ms: int) -> None:
        """An attempt has ended. due_ms: of the next one, None when the message is settled."""
        place = self._places.get(message_id)
        if place is None:
            return
        self._end_attempt(place, now_ms)
        if due_ms is None:
            self.forget(message_id, now_ms)
        else:
            place.due_ms = due_ms

    def forget(self, message_id: str, now_ms: int) -> None:
        """Make room for others: a message is settled."""
        place = self._places.pop(message_id, None)
        if place is None:
            return
        self._end_attempt(place, now_ms)
        self._pass_on(message_id, place, now_ms)
        if place.queue is not None:
            self._line(place.queue).leave(message_id, place.slot)
            self._serve(place.queue)

    def set_queue(self, queue: Queue) -> None:
        """Take over what is stored of a queue."""
        self._line(queue.name).queue = queue
        self._serve(queue.name)

    def forget_queue(self, name: str) -> None:
        """Forget a queue that is deleted; what is still in flight keeps its slot until it ends."""
        if self._line(name).empty:
            del self._queues[name]
        else:
            self.set_queue(Queue(name=name))

    def set_key(self, key: FlowKey, now_ms: int, starts_ms: Iterable[int] = ()) -> None:
        """Take over what is stored of a key. starts_ms: calls before a restart that still count."""
        throttle = self._throttle(key.key)
        throttle.change(key)
        throttle.remember(list(starts_ms))
        self._let_in(throttle, now_ms)

    def throttle(self, key: FlowKey) -> Throttle:
        """Return how things stand for a key that is stored."""
        return self._throttles.get(key.key) or Throttle(key)

    def forget_keys(self, keys: Iterable[str]) -> None:
        """Forget keys that are stored no longer: no message that is known is under them."""
        for key in keys:
            if key in self._throttles and not self._throttles[key].active:
                del self._throttles[key]
            self._windows.discard(key)

    def open_windows(self, now_ms: int) -> None:
        """Let those in line go whose key may start calls again."""
        for key in self._windows.pop_due(now_ms, limit=len(self._windows)):
            self._let_in(self._throttle(key), now_ms)

    def next_ms(self) -> int | None:
        """Return when `open_windows` is due."""
        return self._windows.next_due_ms()

    def _is_served(self, message_id: str, place: Place) -> bool:
        """Whether the queue of a message lets it be tried."""
        if place.queue is None or place.slot != message_id:
            return True  # A callback uses the slot of its source.
        line = self._line(place.queue)
        if not line.holds(message_id):
            line.enter(message_id, place.due_ms)
            self._serve(place.queue)
            return False
        if line.queue.paused:
            line.park(message_id, place.due_ms)
            return False
        return True

    def _end_attempt(self, place: Place, now_ms: int) -> None:
        if place.started_ms is not None and place.flow_key is not None:
            throttle = self._throttle(place.flow_key)
            throttle.finish()
            self._let_in(throttle, now_ms)
        place.started_ms = None

    def _serve(self, name: str) -> None:
        for message_id, due_ms in self._line(name).next_in_line():
            self._timetable.put(message_id, due_ms)

    def _let_in(self, throttle: Throttle, now_ms: int) -> None:
        for message_id in throttle.next_in_line(now_ms):
            self._timetable.put(message_id, self._places[message_id].due_ms)
        self._watch(throttle, now_ms)

    def _watch(self, throttle: Throttle, now_ms: int) -> None:
        opens_ms = throttle.opens_ms(now_ms)
        if opens_ms is not None:
            self._windows.put(throttle.key.key, opens_ms)

    def _pass_on(self, message_id: str, place: Place, now_ms: int) -> None:
        """Let others in instead of a message that its key may have let in and that will not start."""
        if place.flow_key is not None:
            throttle = self._throttle(place.flow_key)
            throttle.forget(message_id)
            self._let_in(throttle, now_ms)

    def _publish(self, flow: FlowControl, now_ms: int) -> None:
        throttle = self._throttle(flow.key)
        key = throttle.key.published(flow)
        if key != throttle.key:
            throttle.change(key)
            self._let_in(throttle, now_ms)

    def _line(self, name: str) -> QueueLine:
        # The state makes a queue or a key on first mention; so does this.
        return self._queues.setdefault(name, QueueLine(Queue(name=name)))

    def _throttle(self, key: str) -> Throttle:
        return self._throttles.setdefault(key, Throttle(FlowKey(key=key)))
