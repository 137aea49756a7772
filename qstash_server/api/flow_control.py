"""/v2/flowControl and /v2/globalParallelism: see what is held back, and take the limits in hand."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from qstash_server import wire
from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.errors import BadRequest, NotFound
from qstash_server.flow_control import FlowKey, check_key, parse_limit, parse_period_s
from qstash_server.state import flow_keys


async def get(broker: Broker, call: Call, key: str) -> Answer:
    found = await broker.database.read(partial(flow_keys.find, key=key))
    if found is None:
        raise NotFound(f"flow control key {key!r} not found")
    return Answer(body=_shown(broker, found))


async def search(broker: Broker, call: Call) -> Answer:
    """List the keys that contain what `search` says, or all of them."""
    text = dict(call.query).get("search", "")
    found = await broker.database.read(partial(flow_keys.search, text=text))
    return Answer(body=[_shown(broker, key) for key in found])


async def pause(broker: Broker, call: Call, key: str) -> Answer:
    """Start no calls of a key until it is resumed."""
    await _change(broker, key, partial(replace, paused=True))
    return Answer()


async def resume(broker: Broker, call: Call, key: str) -> Answer:
    await _change(broker, key, partial(replace, paused=False))
    return Answer()


async def pin(broker: Broker, call: Call, key: str) -> Answer:
    """Hold a key to limits of its own, whatever its messages ask for. Its rate starts afresh."""
    given = dict(call.query)
    changes: dict[str, int] = {"reset_ms": broker.clock.now_ms()}
    if "parallelism" in given:
        changes["pinned_parallelism"] = parse_limit(given["parallelism"], "parallelism")
    if "rate" in given:
        changes["pinned_rate"] = parse_limit(given["rate"], "rate")
        changes["pinned_period_s"] = parse_period_s(given.get("period", "1s"))
    if len(changes) == 1:
        raise BadRequest("say what to pin: parallelism=…, rate=… with period=…, or all of them")
    await _change(broker, key, partial(replace, **changes))
    return Answer()


async def unpin(broker: Broker, call: Call, key: str) -> Answer:
    """Follow the messages again; what was pinned stays until one of them asks for something else."""
    given = {name for name, value in call.query if value.lower() == "true"}

    def change(old: FlowKey) -> FlowKey:
        if "parallelism" in given:
            old = replace(old, parallelism=old.max_parallelism, pinned_parallelism=None)
        if "rate" in given:
            old = replace(old, rate=old.max_rate, period_s=old.max_rate_period_s, pinned_rate=None)
        return old

    await _change(broker, key, change)
    return Answer()


async def reset_rate(broker: Broker, call: Call, key: str) -> Answer:
    """Forget the calls of the last period, so that a whole one is allowed from now on."""
    await _change(broker, key, partial(replace, reset_ms=broker.clock.now_ms()))
    return Answer()


async def get_global_parallelism(broker: Broker, call: Call) -> Answer:
    return Answer(
        body={
            "parallelismMax": broker.settings.parallelism,
            "parallelismCount": len(broker.scheduler.in_flight),
        }
    )


def _shown(broker: Broker, key: FlowKey) -> wire.Json:
    now_ms = broker.clock.now_ms()
    return wire.flow_key(key, broker.scheduler.throttle(key), now_ms)


async def _change(broker: Broker, key: str, change: Callable[[FlowKey], FlowKey]) -> None:
    """Store a change of a key, which need not be known yet, and let it take effect at once."""
    now_ms = broker.clock.now_ms()
    check_key(key)

    def job(connection: sqlite3.Connection) -> FlowKey:
        changed = change(flow_keys.find(connection, key) or FlowKey(key=key))
        flow_keys.store(connection, changed, now_ms)
        return changed

    broker.scheduler.set_key(await broker.database.write(job))
