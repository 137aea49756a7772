"""/v2/schedules: create, read, pause, resume and delete."""

import sqlite3
from functools import partial

from qstash_server import wire
from qstash_server.api.publish import check_size, find_group, with_defaults, with_query
from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.errors import NotFound
from qstash_server.options import read_envelope, read_options
from qstash_server.parsing.cron import parse_cron
from qstash_server.parsing.destination import is_url, parse_destination
from qstash_server.schedule import Schedule, check_schedule_id, new_schedule_id
from qstash_server.state import messages, schedules, url_groups


async def create(broker: Broker, call: Call, destination: str) -> Answer:
    """Store a schedule; one with the same id is replaced whole.

    Its host need not exist yet: a schedule lives long, and each of its firings is looked after.
    """
    check_size(broker, call.body)
    target = parse_destination(with_query(destination, call.destination_query))
    headers, query = call.headers, tuple(call.query)
    if not is_url(target):
        headers = with_defaults(headers, query, await find_group(broker, target))
    options = read_options(headers, query)
    envelope = read_envelope(options, url=target, body=call.body, caller_ip=call.caller_ip)
    called = [target] if is_url(target) else []
    broker.firewall.check_listed([*called, *envelope.callback_urls])
    cron = (options.values.get("cron") or "").strip()
    now_ms = broker.clock.now_ms()
    given_id = options.get("schedule-id")
    schedule = Schedule(
        id=check_schedule_id(given_id) if given_id else new_schedule_id(),
        envelope=envelope,
        cron=cron,
        delay_s=options.duration_s("delay") or 0,
        created_ms=now_ms,
        next_ms=parse_cron(cron).next_after(now_ms),
    )
    await broker.database.write(partial(schedules.upsert, schedule=schedule))
    broker.scheduler.set_schedule(schedule.id, schedule.next_ms)
    return Answer(body={"scheduleId": schedule.id})


async def get(broker: Broker, call: Call, schedule_id: str) -> Answer:
    def job(connection: sqlite3.Connection) -> wire.Json:
        return shown(connection, _find(connection, schedule_id))

    return Answer(body=await broker.database.read(job))


async def list_all(broker: Broker, call: Call) -> Answer:
    def job(connection: sqlite3.Connection) -> list[wire.Json]:
        return [shown(connection, schedule) for schedule in schedules.every(connection)]

    return Answer(body=await broker.database.read(job))


async def delete(broker: Broker, call: Call, schedule_id: str) -> Answer:
    """Remove a schedule; messages that it has made already go out all the same."""

    def job(connection: sqlite3.Connection) -> None:
        if not schedules.delete(connection, schedule_id):
            raise _not_found(schedule_id)

    await broker.database.write(job)
    broker.scheduler.set_schedule(schedule_id, None)
    return Answer()


async def pause(broker: Broker, call: Call, schedule_id: str) -> Answer:
    """Skip firings until it is resumed; pausing twice is the same as once."""

    def job(connection: sqlite3.Connection) -> None:
        _find(connection, schedule_id)
        schedules.set_paused(connection, schedule_id, paused=True, next_ms=None)

    await broker.database.write(job)
    broker.scheduler.set_schedule(schedule_id, None)
    return Answer()


async def resume(broker: Broker, call: Call, schedule_id: str) -> Answer:
    """Fire again from now on; a schedule that is not paused stays as it is."""
    now_ms = broker.clock.now_ms()

    def job(connection: sqlite3.Connection) -> int | None:
        schedule = _find(connection, schedule_id)
        if not schedule.paused:
            return schedule.next_ms
        next_ms = parse_cron(schedule.cron).next_after(now_ms)
        schedules.set_paused(connection, schedule_id, paused=False, next_ms=next_ms)
        return next_ms

    broker.scheduler.set_schedule(schedule_id, await broker.database.write(job))
    return Answer()


def _find(connection: sqlite3.Connection, schedule_id: str) -> Schedule:
    schedule = schedules.find(connection, schedule_id)
    if schedule is None:
        raise _not_found(schedule_id)
    return schedule


def _not_found(schedule_id: str) -> NotFound:
    return NotFound(f"schedule {schedule_id} not found")


def shown(connection: sqlite3.Connection, schedule: Schedule) -> wire.Json:
    """Return a schedule with what became of its last firing."""
    target, error = schedule.envelope.url, None
    if not is_url(target) and url_groups.find(connection, target) is None:
        error = f"url group {target!r} not found"
    return wire.schedule(schedule, messages.states(connection, schedule.last_messages), error)
