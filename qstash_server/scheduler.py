"""The loop that sends what is due: fires schedules, starts deliveries, records how they went."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterable
from functools import partial

from qstash_server.callbacks import follow_up
from qstash_server.clock import Clock
from qstash_server.cron import parse_cron
from qstash_server.delivery import Courier
from qstash_server.errors import ApiError, StateUnavailable
from qstash_server.message import Message, Response, new_message
from qstash_server.outcome import Delivered, Retry, judge
from qstash_server.state import messages, retention, schedules
from qstash_server.state.database import Database
from qstash_server.timetable import Timetable

logger = logging.getLogger(__name__)

SWEEP_MS = 60_000
# When the state cannot be written, a delivery that has happened is not recorded and will be
# repeated: rather late and seldom than in a tight loop.
STATE_RETRY_MS = 5_000
_FIRED_AT_ONCE = 500


class Scheduler:
    """Runs inside one event loop; `run` it as a task, `stop` it once."""

    def __init__(
        self,
        *,
        database: Database,
        courier: Courier,
        clock: Clock,
        parallelism: int,
        retention: retention.Retention,
    ) -> None:
        self._database = database
        self._courier = courier
        self._clock = clock
        self._parallelism = parallelism
        self._retention = retention
        self._messages = Timetable()
        self._schedules = Timetable()
        self._sweep_ms = clock.now_ms()
        # Messages that are due at once are delivered from memory; all others are loaded when due.
        self._fresh: dict[str, Message] = {}
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._waiting = False

    async def load(self) -> None:
        """Take up everything that waits in the state, as after a restart."""
        for message_id, due_ms in await self._database.read(messages.waiting):
            self._messages.put(message_id, due_ms)
        for schedule_id, next_ms in await self._database.read(schedules.next_times):
            self._schedules.put(schedule_id, next_ms)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing is due: all that could happen by now has."""
        now_ms = self._clock.now_ms()
        nexts = (self._messages.next_due_ms(), self._schedules.next_due_ms(), self._sweep_ms)
        nothing_due = all(due is None or due > now_ms for due in nexts)
        return self._waiting and nothing_due and not self._in_flight

    def add(self, accepted: Iterable[Message]) -> None:
        """Send messages that are in the state when they are due."""
        now_ms = self._clock.now_ms()
        for message in accepted:
            if message.due_ms <= now_ms and len(self._fresh) < self._parallelism:
                self._fresh[message.id] = message
            self._messages.put(message.id, message.due_ms)
        self._wake.set()

    def move(self, message_id: str, due_ms: int) -> None:
        """Change when a waiting message goes out; one in flight is left alone."""
        if message_id not in self._in_flight:
            self._messages.put(message_id, due_ms)
            self._wake.set()

    def forget(self, message_ids: Iterable[str]) -> None:
        """Send no more attempts of these messages."""
        for message_id in message_ids:
            self._messages.discard(message_id)
            self._fresh.pop(message_id, None)

    def set_schedule(self, schedule_id: str, next_ms: int | None) -> None:
        """Fire a schedule at `next_ms`, or no more."""
        if next_ms is None:
            self._schedules.discard(schedule_id)
        else:
            self._schedules.put(schedule_id, next_ms)
            self._wake.set()

    async def run(self) -> None:
        """Send what is due until cancelled."""
        while True:
            self._wake.clear()
            await self._fire_due()
            await self._start_due()
            await self._sweep_due()
            self._waiting = True
            await self._clock.wait(self._wake, self._next_ms())
            self._waiting = False

    async def stop(self, grace_s: float) -> None:
        """Wait for the deliveries in flight, then abandon them: the next start repeats them."""
        tasks = list(self._in_flight.values())
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _next_ms(self) -> int | None:
        dues = [self._schedules.next_due_ms(), self._sweep_ms]
        if len(self._in_flight) < self._parallelism:
            dues.append(self._messages.next_due_ms())
        return min(due for due in dues if due is not None)

    async def _sweep_due(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms < self._sweep_ms:
            return
        self._sweep_ms = now_ms + SWEEP_MS
        sweep = partial(retention.sweep, retention=self._retention, now_ms=now_ms)
        try:
            if await self._database.write(sweep):
                self._sweep_ms = now_ms  # After what has become due meanwhile.
        except StateUnavailable:
            logger.exception("what is past its retention could not be deleted")

    async def _fire_due(self) -> None:
        due = self._schedules.pop_due(self._clock.now_ms(), limit=_FIRED_AT_ONCE)
        if due:
            await asyncio.gather(*map(self._fire, due))

    async def _fire(self, schedule_id: str) -> None:
        now_ms = self._clock.now_ms()
        try:
            fired = await self._database.write(
                partial(_fire_schedule, schedule_id=schedule_id, now_ms=now_ms)
            )
        except ApiError:  # No state, or a time zone that the machine no longer knows.
            logger.exception("schedule %s could not fire; trying again in a moment", schedule_id)
            self._schedules.put(schedule_id, now_ms + STATE_RETRY_MS)
            return
        if fired is not None:
            message, next_ms = fired
            self.set_schedule(schedule_id, next_ms)
            if message is not None:
                self.add([message])

    async def _start_due(self) -> None:
        free = self._parallelism - len(self._in_flight)
        due = self._messages.pop_due(self._clock.now_ms(), limit=free)
        known = {i: self._fresh.pop(i) for i in due if i in self._fresh}
        missing = [i for i in due if i not in known]
        try:
            loaded = await self._load(missing)
        except StateUnavailable:
            logger.exception("messages that are due could not be read; trying again in a moment")
            for message_id in missing:
                self._messages.put(message_id, self._clock.now_ms() + STATE_RETRY_MS)
            loaded = {}
        for message_id in due:
            message = known.get(message_id) or loaded.get(message_id)
            # It may have been put forward a second time while it was being loaded.
            if message is not None and message_id not in self._in_flight:
                self._in_flight[message_id] = asyncio.create_task(self._deliver(message))

    async def _load(self, ids: list[str]) -> dict[str, Message]:
        if not ids:
            return {}
        found = await self._database.read(partial(messages.load_waiting, ids=ids))
        return {message.id: message for message in found}

    async def _deliver(self, message: Message) -> None:
        try:
            await self._attempt(message)
        except Exception:
            # The message is still in the state: whatever went wrong here, it is tried again.
            logger.exception("the attempt of %s was not recorded; it will be repeated", message.id)
            self._messages.put(message.id, self._clock.now_ms() + STATE_RETRY_MS)
        finally:
            del self._in_flight[message.id]
            self._wake.set()

    async def _attempt(self, message: Message) -> None:
        now_ms = self._clock.now_ms()
        started = self._database.write(
            partial(messages.mark_active, message_id=message.id, now_ms=now_ms)
        )
        try:
            response = await self._courier.attempt(message, now_ms)
        finally:
            with contextlib.suppress(StateUnavailable):  # Only a line of the log is missing.
                await started
        due_ms, callbacks = await self._database.write(
            partial(_record, message=message, response=response, now_ms=self._clock.now_ms())
        )
        if due_ms is not None:
            self._messages.put(message.id, due_ms)
        self.add(callbacks)


def _fire_schedule(
    connection: sqlite3.Connection, schedule_id: str, now_ms: int
) -> tuple[Message | None, int | None] | None:
    """Make the message of a schedule that is due and set its next firing, as one transaction.

    All firings missed while no server ran are made up for by this one.
    """
    schedule = schedules.find(connection, schedule_id)
    if schedule is None or schedule.next_ms is None:
        return None
    if schedule.next_ms > now_ms:
        return None, schedule.next_ms
    cron = parse_cron(schedule.cron)
    next_ms = cron.next_after(schedule.next_ms)
    if next_ms is not None and next_ms <= now_ms:
        next_ms = cron.next_after(now_ms)
    message = new_message(
        schedule.envelope,
        now_ms=now_ms,
        due_ms=now_ms + schedule.delay_s * 1000,
        schedule_id=schedule.id,
    )
    schedules.fire(connection, schedule_id, message, fired_ms=schedule.next_ms, next_ms=next_ms)
    return message, next_ms


def _record(
    connection: sqlite3.Connection, message: Message, response: Response, now_ms: int
) -> tuple[int | None, list[Message]]:
    """Write down how an attempt went, and store the callbacks that follow from it.

    Returns when the next attempt is due (None: there is none) and the callbacks.
    """
    seq = messages.waiting_seq(connection, message.id)
    if seq is None:  # Cancelled while it was in flight.
        return None, []
    outcome = judge(message, response, now_ms)
    dlq_id = due_ms = None
    if isinstance(outcome, Delivered):
        messages.mark_delivered(connection, seq, response, now_ms)
    elif isinstance(outcome, Retry):
        due_ms = outcome.due_ms
        messages.mark_retry(connection, seq, response, due_ms, now_ms)
    else:
        dlq_id = messages.mark_failed(connection, seq, response, now_ms)
    callbacks = follow_up(message, response, outcome, dlq_id=dlq_id, now_ms=now_ms)
    for callback in callbacks:
        messages.insert(connection, callback)
    return due_ms, callbacks
