"""The calls of one flow-control key: which may start now, and which wait in line for that."""

from collections import deque

from qstash_server.dispatch.timetable import Timetable
from qstash_server.flow_control import FlowKey

# A call reaches its destination a little after it starts, sometimes more and sometimes less. Without
# this much on top of the period, the destination could see one call too many in it.
GUARD_MS = 20
_EVER_MS = 1 << 62  # Who stands in line was due before, even if the clock has been set back since.


class Throttle:
    """Any `rate` starts lie at least one period apart: the window slides, so no bursts at its edges."""

    def __init__(self, key: FlowKey) -> None:
        self.key = key
        self.active = 0
        self._starts: deque[int] = deque()
        self._line = Timetable()
        # Who was let in and has not started yet: others are let in only beside these.
        self._invited: set[str] = set()

    @property
    def waiting(self) -> int:
        """How many messages are due and held back."""
        return len(self._line)

    def change(self, key: FlowKey) -> None:
        """Go by other limits from now on; a reset forgets the calls of before."""
        if key.reset_ms != self.key.reset_ms:
            self._starts.clear()
        self.key = key

    def remember(self, starts_ms: list[int]) -> None:
        """Count calls that started before a restart, the earliest first."""
        self._starts.extend(starts_ms)

    def start(self, message_id: str, due_ms: int, now_ms: int) -> bool:
        """Count a call as started if it may; else put it in line, by its due time."""
        self._invited.discard(message_id)
        if self.capacity(now_ms) > 0:
            self._line.discard(message_id)
            self.active += 1
            if self.key.max_rate is not None:
                self._starts.append(now_ms)
            return True
        if message_id not in self._line:
            self._line.put(message_id, due_ms)
        return False

    def left(self, started_ms: int, now_ms: int) -> None:
        """Count a call from when it really left, which may be later than when it was let go."""
        if started_ms in self._starts:
            self._starts.remove(started_ms)
            self._starts.append(now_ms)

    def finish(self) -> None:
        self.active -= 1

    def forget(self, message_id: str) -> None:
        """Let nobody wait under this id, nor keep room for it."""
        self._line.discard(message_id)
        self._invited.discard(message_id)

    def next_in_line(self, now_ms: int) -> list[str]:
        """Remove and return the ids of as many as may start now, those due first first."""
        room = self.capacity(now_ms) - len(self._invited)
        ready = self._line.pop_due(_EVER_MS, limit=room)
        self._invited.update(ready)
        return ready

    def opens_ms(self, now_ms: int) -> int | None:
        """Return when the rate lets somebody in line start, None if it is not the rate that holds."""
        rate = self.key.max_rate
        if not self._line or self.key.paused or rate is None or self.rate_count(now_ms) < rate:
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
        since_ms = now_ms - self._period_ms
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
