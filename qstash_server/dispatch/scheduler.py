"""The loop that sends what is due: fires schedules, starts deliveries, records how they went."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterable
from functools import partial

from qstash_server.clock import Clock
from qstash_server.dispatch.callbacks import follow_up
from qstash_server.dispatch.delivery import Courier
from qstash_server.dispatch.lanes import Lanes
from qstash_server.dispatch.outcome import Delivered, Retry, judge
from qstash_server.dispatch.throttle import Throttle
from qstash_server.dispatch.timetable import Timetable
from qstash_server.errors import ApiError, StateUnavailable
from qstash_server.fan_out import fan_out
from qstash_server.flow_control import FlowKey
from qstash_server.message import Message, Response
from qstash_server.parsing.cron import parse_cron
from qstash_server.parsing.destination import is_url
from qstash_server.queue import Queue
from qstash_server.state import flow_keys, messages, queues, retention, schedules, url_groups
from qstash_server.state.database import Database

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
        self._lanes = Lanes(self._messages)
        self._sweep_ms = clock.now_ms()
        # Messages that are due at once are delivered from memory; all others are loaded when due.
        self._fresh: dict[str, Message] = {}
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        # What is about to be in flight, while it is loaded. Who is cancelled meanwhile leaves.
        self._starting: set[str] = set()
        self._wake = asyncio.Event()
        self._waiting = False

    async def load(self) -> None:
        """Take up everything that waits in the state, as after a restart."""
        for message_id, due_ms in await self._database.read(messages.waiting):
            self._messages.put(message_id, due_ms)
        for schedule_id, next_ms in await self._database.read(schedules.next_times):
            self._schedules.put(schedule_id, next_ms)
        await self._load_lanes()

    async def _load_lanes(self) -> None:
        now_ms = self._clock.now_ms()
        for queue in await self._database.read(queues.every):
            self._lanes.set_queue(queue)
        for key in await self._database.read(partial(flow_keys.search, text="")):
            starts_ms = await self._database.read(
                partial(flow_keys.starts_ms, key=key, now_ms=now_ms)
            )
            self._lanes.set_key(key, now_ms, starts_ms)
        self._lanes.load(await self._database.read(messages.held), now_ms)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing is due: all that could happen by now has."""
        now_ms = self._clock.now_ms()
        nothing_due = all(due is None or due > now_ms for due in self._nexts())
        return self._waiting and nothing_due and not self._in_flight

    @property
    def in_flight(self) -> frozenset[str]:
        """The ids of the messages that are being delivered."""
        return frozenset(self._in_flight)

    def add(self, accepted: Iterable[Message]) -> None:
        """Send messages that are in the state when they are due."""
        now_ms = self._clock.now_ms()
        for message in accepted:
            if message.due_ms <= now_ms and len(self._fresh) < self._parallelism:
                self._fresh[message.id] = message
            self._lanes.enter(message, now_ms)
            self._messages.put(message.id, message.due_ms)
        self._wake.set()

    def move(self, message_id: str, due_ms: int) -> None:
        """Change when a waiting message goes out; one in flight is left alone."""
        if message_id not in self._in_flight and message_id not in self._starting:
            self._lanes.move(message_id, due_ms)
            self._messages.put(message_id, due_ms)
            self._wake.set()

    def forget(self, message_ids: Iterable[str]) -> None:
        """Send no more attempts of these messages. What is in flight keeps its place until it ends."""
        for message_id in message_ids:
            self._messages.discard(message_id)
            self._fresh.pop(message_id, None)
            self._starting.discard(message_id)
            if message_id not in self._in_flight:
                self._lanes.forget(message_id, self._clock.now_ms())
        self._wake.set()

    def set_queue(self, queue: Queue) -> None:
        """Take over what is stored of a queue."""
        self._lanes.set_queue(queue)
        self._wake.set()

    def forget_queue(self, name: str) -> None:
        """Forget a queue that is deleted, and its messages before it."""
        self._lanes.forget_queue(name)
        self._wake.set()

    def set_key(self, key: FlowKey) -> None:
        """Take over what is stored of a flow-control key."""
        self._lanes.set_key(key, self._clock.now_ms())
        self._wake.set()

    def throttle(self, key: FlowKey) -> Throttle:
        """Return how things stand for a flow-control key that is stored."""
        return self._lanes.throttle(key)

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
            await self._clock.wait(self._wake, min(due for due in self._nexts() if due is not None))
            self._waiting = False

    async def stop(self, grace_s: float) -> None:
        """Wait for the deliveries in flight, then abandon them: the next start repeats them."""
        tasks = list(self._in_flight.values())
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _nexts(self) -> list[int | None]:
        """Return when something is to be done next, as far as that is known."""
        dues = [self._schedules.next_due_ms(), self._lanes.next_ms(), self._sweep_ms]
        if len(self._in_flight) < self._parallelism:
            dues.append(self._messages.next_due_ms())
        return dues

    async def _sweep_due(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms < self._sweep_ms:
            return
        self._sweep_ms = now_ms + SWEEP_MS
        sweep = partial(retention.sweep, retention=self._retention, now_ms=now_ms)
        try:
            if await self._database.write(sweep):
                self._sweep_ms = now_ms  # After what has become due meanwhile.
            unused = partial(flow_keys.sweep, before_ms=now_ms - self._retention.log_s * 1000)
            self._lanes.forget_keys(await self._database.write(unused))
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
            made, next_ms = fired
            self.set_schedule(schedule_id, next_ms)
            self.add(made)

    async def _start_due(self) -> None:
        due = self._take_due()
        self._starting = set(due)
        known = {i: self._fresh.pop(i) for i in due if i in self._fresh}
        missing = [i for i in due if i not in known]
        try:
            loaded = await self._load(missing)
        except StateUnavailable:
            logger.exception("messages that are due could not be read; trying again in a moment")
            for message_id in self._starting.intersection(missing):
                self._put_off(message_id)
                self._starting.discard(message_id)
            loaded = {}
        for message_id in due:
            if message_id not in self._starting:
                continue
            message = known.get(message_id) or loaded.get(message_id)
            if message is not None:
                self._in_flight[message_id] = asyncio.create_task(self._deliver(message))
            else:  # It was cancelled while its last attempt could not be recorded.
                self._lanes.forget(message_id, self._clock.now_ms())
        self._starting.clear()

    def _take_due(self) -> list[str]:
        """Return what may start now; what its queue or its key holds back stands in line there."""
        now_ms = self._clock.now_ms()
        self._lanes.open_windows(now_ms)
        taken: list[str] = []
        while free := self._parallelism - len(self._in_flight) - len(taken):
            due = self._messages.pop_due(now_ms, limit=free)
            if not due:
                break
            taken += [message_id for message_id in due if self._lanes.may_start(message_id, now_ms)]
        return taken

    def _put_off(self, message_id: str) -> None:
        """Try again in a moment what could not be tried or recorded."""
        now_ms = self._clock.now_ms()
        self._lanes.tried(message_id, now_ms + STATE_RETRY_MS, now_ms)
        self._messages.put(message_id, now_ms + STATE_RETRY_MS)

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
            self._put_off(message.id)
        finally:
            del self._in_flight[message.id]
            self._wake.set()

    async def _attempt(self, message: Message) -> None:
        now_ms = self._clock.now_ms()
        started = self._database.write(
            partial(messages.mark_active, message_id=message.id, now_ms=now_ms)
        )
        if message.envelope.flow is not None:
            await started  # The log is what the rate is counted by after a restart.
            self._lanes.left(message.id, self._clock.now_ms())
        try:
            response = await self._courier.attempt(message, now_ms)
        finally:
            with contextlib.suppress(StateUnavailable):  # Only a line of the log is missing.
                await started
        now_ms = self._clock.now_ms()
        due_ms, callbacks = await self._database.write(
            partial(_record, message=message, response=response, now_ms=now_ms)
        )
        if due_ms is not None:
            self._messages.put(message.id, due_ms)
        self.add(callbacks)  # Before the source lets go of its slot in a queue, which they keep.
        self._lanes.tried(message.id, due_ms, now_ms)


def _fire_schedule(
    connection: sqlite3.Connection, schedule_id: str, now_ms: int
) -> tuple[list[Message], int | None] | None:
    """Make the messages of a schedule that is due and set its next firing, as one transaction.

    All firings missed while no server ran are made up for by this one.
    """
    schedule = schedules.find(connection, schedule_id)
    if schedule is None or schedule.next_ms is None:
        return None
    if schedule.next_ms > now_ms:
        return [], schedule.next_ms
    cron = parse_cron(schedule.cron)
    next_ms = cron.next_after(schedule.next_ms)
    if next_ms is not None and next_ms <= now_ms:
        next_ms = cron.next_after(now_ms)
    target = schedule.envelope.url
    group = None if is_url(target) else url_groups.find(connection, target)
    made: list[Message] = []
    if is_url(target) or group is not None:
        due_ms = now_ms + schedule.delay_s * 1000
        made = fan_out(
            schedule.envelope, group, now_ms=now_ms, due_ms=due_ms, schedule_id=schedule.id
        )
    schedules.fire(connection, schedule_id, made, fired_ms=schedule.next_ms, next_ms=next_ms)
    return made, next_ms


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
    messages.insert(connection, callbacks)
    return due_ms, callbacks
