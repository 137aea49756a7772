"""What is due when. Work is proportional to what is due: nothing is ever polled."""

import heapq
from itertools import count


class Timetable:
    """Keys with one due time each; equal times keep the order in which they came."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def put(self, key: str, due_ms: int) -> None:
        """Set or move the due time of `key`."""
        entry = (due_ms, next(self._order))
        self._entries[key] = entry
        heapq.heappush(self._heap, (*entry, key))
        # Moved and discarded keys leave their old entry in the heap. Rebuilding it when half of
        # it is stale keeps memory proportional to the live keys at a constant cost per put.
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [(due, order, k) for k, (due, order) in self._entries.items()]
            heapq.heapify(self._heap)

    def discard(self, key: str) -> None:
        self._entries.pop(key, None)

    def next_due_ms(self) -> int | None:
        """Return the earliest due time, None when there is nothing."""
        while self._heap:
            due_ms, order, key = self._heap[0]
            if self._entries.get(key) == (due_ms, order):
                return due_ms
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now_ms: int, limit: int) -> list[str]:
        """Remove and return at most `limit` keys that are due, the earliest first."""
        due: list[str] = []
        while len(due) < limit:
            next_ms = self.next_due_ms()
            if next_ms is None or next_ms > now_ms:
                break
            key = heapq.heappop(self._heap)[2]
            del self._entries[key]
            due.append(key)
        return due
