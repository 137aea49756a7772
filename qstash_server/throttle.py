"""The calls of one flow-control key: which may start now, and which wait in line for that."""

import heapq
from collections import deque
from itertools import count

from qstash_server.flow_control import FlowKey

# A call reaches its destination a little after it starts, sometimes more and sometimes less. Without
# this much on top of the period, the destination could see one call too many in it.
GUARD_MS = 20


class Throttle:
    """Any `rate` starts lie at least one period apart: the window slides, so no bursts at its edges."""

    def __init__(self, key: FlowKey) -> None:
        self.key = key
        self.active = 0
        self._starts: deque[int] = deque()
        self._line: list[tuple[int, int, str]] = []
        self._waiting: set[str] = set()
        self._order = count()

    @property
    def waiting(self) -> int:
        """How many messages are due and held back."""
        return len(self._waiting)

    def remember(self, starts_ms: list[int]) -> None:
        """Count calls that started before a restart, the earliest first."""
        self._starts.extend(starts_ms)

    def start(self, message_id: str, due_ms: int, now_ms: int) -> bool:
        """Count a call as started if it may; else put it in line, by its due time."""
        if self.capacity(now_ms) > 0:
            self._waiting.discard(message_id)
            self.active += 1
            if self.key.max_rate is not None:
                self._starts.append(now_ms)
            return True
        if message_id not in self._waiting:
            self._waiting.add(message_id)
            heapq.heappush(self._line, (due_ms, next(self._order), message_id))
        return False

    def finish(self) -> None:
        self.active -= 1

    def forget(self, message_id: str) -> None:
        """Let nobody wait under this id; its entry in the line is skipped when it comes up."""
        self._waiting.discard(message_id)

    def next_in_line(self, now_ms: int) -> list[tuple[str, int]]:
        """Remove and return as many (id, due time) as may start now."""
        ready: list[tuple[str, int]] = []
        capacity = self.capacity(now_ms)
        while self._line and len(ready) < capacity:
            due_ms, _, message_id = heapq.heappop(self._line)
            if message_id in self._waiting:
                self._waiting.discard(message_id)
                ready.append((message_id, due_ms))
        return ready

    def opens_ms(self, now_ms: int) -> int | None:
        """Return when the rate lets somebody in line start, None if it is not the rate that holds."""
        rate = self.key.max_rate
        if not self._waiting or self.key.paused or rate is None or self.rate_count(now_ms) < rate:
            return None
        return self._starts[0] + self._period_ms

    def capacity(self, now_ms: int) -> int:
        """How many calls may start at once."""
        if self.key.paused:
            return 0
        room = [1_000_000_000]
        if self.key.max_parallelism is not None:
            room.append(self.key.max_parallelism - self.active)
        if self.key.max_rate is not None:
            room.append(self.key.max_rate - self.rate_count(now_ms))
        return max(0, min(room))

    def rate_count(self, now_ms: int) -> int:
        """How many calls started within the last period."""
        since_ms = max(now_ms - self._period_ms, self.key.reset_ms)
        # A start in the future was counted before the clock was set back.
        while self._starts and not since_ms < self._starts[0] <= now_ms:
            self._starts.popleft()
        return len(self._starts)

    def rate_period_start_ms(self, now_ms: int) -> int | None:
        """Return when the oldest call that still counts started."""
        return self._starts[0] if self.rate_count(now_ms) else None

    @property
    def _period_ms(self) -> int:
        return self.key.max_rate_period_s * 1000 + GUARD_MS
