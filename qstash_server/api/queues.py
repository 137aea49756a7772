"""/v2/queues: make, read, pause, resume and delete queues."""

import sqlite3
from dataclasses import replace
from functools import partial
from typing import Any

from qstash_server import wire
from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.errors import BadRequest, NotFound
from qstash_server.queue import Queue
from qstash_server.state import messages, queues
from qstash_server.url_group import check_name

MOST_PARALLEL = 10_000


async def upsert(broker: Broker, call: Call) -> Answer:
    """Make a queue, or change what the body names of one."""
    value = call.json()
    if not isinstance(value, dict) or not isinstance(value.get("queueName"), str):
        raise BadRequest('the body is an object such as {"queueName": "mine", "parallelism": 1}')
    name = check_name(value["queueName"], what="queue")
    await _change(broker, name, _changes(value))
    return Answer()


async def get(broker: Broker, call: Call, name: str) -> Answer:
    def job(connection: sqlite3.Connection) -> wire.Json | None:
        queue = queues.find(connection, name)
        return None if queue is None else wire.queue(queue, queues.lag(connection, name))

    found = await broker.database.read(job)
    if found is None:
        raise NotFound(f"queue {check_name(name, what='queue')!r} not found")
    return Answer(body=found)


async def list_all(broker: Broker, call: Call) -> Answer:
    def job(connection: sqlite3.Connection) -> list[wire.Json]:
        return [wire.queue(q, queues.lag(connection, q.name)) for q in queues.every(connection)]

    return Answer(body=await broker.database.read(job))


async def delete(broker: Broker, call: Call, name: str) -> Answer:
    """Delete a queue, and cancel what waits in it; one that is not there is deleted already."""
    now_ms = broker.clock.now_ms()

    def job(connection: sqlite3.Connection) -> list[str]:
        queues.delete(connection, name)
        return messages.cancel_queued(connection, name, now_ms)

    cancelled = await broker.database.write(job)
    broker.scheduler.forget(cancelled)
    broker.scheduler.forget_queue(name)
    return Answer()


async def pause(broker: Broker, call: Call, name: str) -> Answer:
    """Deliver nothing of the queue until it is resumed; messages are accepted all the while."""
    await _change(broker, check_name(name, what="queue"), {"paused": True})
    return Answer()


async def resume(broker: Broker, call: Call, name: str) -> Answer:
    """Go on with the earliest message that is not delivered."""
    await _change(broker, check_name(name, what="queue"), {"paused": False})
    return Answer()


def _changes(value: dict[str, Any]) -> dict[str, Any]:
    changes = {key: value[key] for key in ("parallelism", "paused") if value.get(key) is not None}
    parallelism = changes.get("parallelism", 1)
    if type(parallelism) is not int or not 1 <= parallelism <= MOST_PARALLEL:
        raise BadRequest(f"invalid parallelism {parallelism!r}: from 1 to {MOST_PARALLEL}")
    if not isinstance(changes.get("paused", False), bool):
        raise BadRequest(f"invalid paused {changes['paused']!r}: true or false")
    return changes


async def _change(broker: Broker, name: str, changes: dict[str, Any]) -> None:
    """Store changes to a queue, which is made if need be, and let them take effect at once."""
    now_ms = broker.clock.now_ms()

    def job(connection: sqlite3.Connection) -> Queue:
        queue = queues.find(connection, name) or Queue(name=name, created_ms=now_ms)
        return queues.upsert(connection, replace(queue, updated_ms=now_ms, **changes))

    broker.scheduler.set_queue(await broker.database.write(partial(job)))
