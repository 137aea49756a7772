"""A queue while the server runs: who is served, and who waits in line for that."""

from collections import OrderedDict

from qstash_server.queue import Queue


class QueueLine:
    """First in, first out.

    A message has its slot from its first attempt until it is settled and its callbacks are, too, so
    that the next one waits for all of that.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        # Per slot, named by the message it was given to: what is not settled yet.
        self._slots: dict[str, int] = {}
        self._line: OrderedDict[str, int] = OrderedDict()
        self._parked: dict[str, int] = {}

    @property
    def empty(self) -> bool:
        return not (self._slots or self._line or self._parked)

    def holds(self, slot: str) -> bool:
        return slot in self._slots

    def enter(self, message_id: str, due_ms: int) -> None:
        """Stand in line; who does already stays in place."""
        self._line.setdefault(message_id, due_ms)

    def park(self, message_id: str, due_ms: int) -> None:
        """Keep a message that has a slot but may not be tried, until the queue is resumed."""
        self._parked[message_id] = due_ms

    def join(self, slot: str) -> None:
        """Hold a slot for the message that it was given to, or for a callback of that one."""
        self._slots[slot] = self._slots.get(slot, 0) + 1

    def leave(self, message_id: str, slot: str) -> None:
        """Let go of a message that is settled, wherever it stands."""
        self._line.pop(message_id, None)
        self._parked.pop(message_id, None)
        if slot in self._slots:
            self._slots[slot] -= 1
            if self._slots[slot] == 0:
                del self._slots[slot]

    def next_in_line(self) -> list[tuple[str, int]]:
        """Give free slots to those first in line; return (id, due time) of all who may go now."""
        if self.queue.paused:
            return []
        ready = list(self._parked.items())
        self._parked.clear()
        while self._line and len(self._slots) < self.queue.parallelism:
            message_id, due_ms = self._line.popitem(last=False)
            self.join(message_id)
            ready.append((message_id, due_ms))
        return ready
