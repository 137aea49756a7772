"""/v2/topics: URL groups and their endpoints."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qstash_server import wire
from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.errors import BadRequest, NotFound
from qstash_server.options import read_due_ms, read_envelope, read_options
from qstash_server.parsing.destination import parse_url
from qstash_server.state import url_groups
from qstash_server.url_group import Endpoint, UrlGroup, check_name


async def upsert_endpoints(broker: Broker, call: Call, name: str) -> Answer:
    """Add URLs to a group, which is made if need be; a known URL or name is replaced."""
    check_name(name, what="url group")
    endpoints = [_endpoint(item) for item in _items(call)]
    broker.firewall.check_listed(endpoint.url for endpoint in endpoints)

    def add(group: UrlGroup) -> UrlGroup:
        for endpoint in endpoints:
            group = replace(group, endpoints=group.with_endpoint(endpoint))
        return group

    await _change(broker, name, add, create=True)
    return Answer()


async def remove_endpoints(broker: Broker, call: Call, name: str) -> Answer:
    """Take URLs out of a group, named by URL or by name; the last one takes the group with it."""
    items = _items(call)
    # Spelled as they are stored, which may not be how they were given.
    urls = {_url(item["url"]) for item in items if isinstance(item.get("url"), str)}
    names = {item["name"] for item in items if isinstance(item.get("name"), str)}
    if not urls | names:
        raise BadRequest("every endpoint to remove has a url or a name")

    def remove(group: UrlGroup) -> UrlGroup:
        kept = (e for e in group.endpoints if e.url not in urls and e.name not in names)
        return replace(group, endpoints=tuple(kept))

    await _change(broker, name, remove)
    return Answer()


async def set_headers(broker: Broker, call: Call, name: str) -> Answer:
    """Store the headers that everything published to the group gets, unless it has them itself.

    What no request could have is refused here: later it would fail every publish to the group.
    """
    value = call.json()
    headers = value.get("headers") if isinstance(value, dict) else None
    if not isinstance(headers, dict):
        raise BadRequest('the body is an object such as {"headers": {"Upstash-Retries": "5"}}')
    pairs = [(str(key), str(one)) for key, v in headers.items() for one in _values(v)]
    options = read_options(pairs)
    envelope = read_envelope(options, url=name, body=b"", caller_ip=call.caller_ip)
    read_due_ms(options, broker.clock.now_ms())
    broker.firewall.check_listed(envelope.callback_urls)
    await _change(broker, name, lambda group: replace(group, headers=tuple(pairs)))
    return Answer()


async def get(broker: Broker, call: Call, name: str) -> Answer:
    group = await broker.database.read(lambda connection: url_groups.find(connection, name))
    if group is None:
        raise _not_found(name)
    return Answer(body=wire.url_group(group))


async def list_all(broker: Broker, call: Call) -> Answer:
    groups = await broker.database.read(url_groups.every)
    return Answer(body=[wire.url_group(group) for group in groups])


async def delete(broker: Broker, call: Call, name: str) -> Answer:
    """Delete a group, if it is there; messages that were made for its URLs go out all the same."""
    await broker.database.write(lambda connection: url_groups.delete(connection, name))
    return Answer()


async def _change(
    broker: Broker, name: str, change: Callable[[UrlGroup], UrlGroup], *, create: bool = False
) -> None:
    now_ms = broker.clock.now_ms()

    def job(connection: sqlite3.Connection) -> None:
        group = url_groups.find(connection, name)
        if group is None and not create:
            raise _not_found(name)
        group = change(group or UrlGroup(name=name, created_ms=now_ms))
        if group.endpoints:
            url_groups.store(connection, replace(group, updated_ms=now_ms))
        else:
            url_groups.delete(connection, name)

    await broker.database.write(job)


def _items(call: Call) -> list[dict[str, Any]]:
    value = call.json()
    items = value.get("endpoints") if isinstance(value, dict) else None
    if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
        raise BadRequest('the body is an object such as {"endpoints": [{"url": "https://…"}]}')
    return items


def _endpoint(item: dict[str, Any]) -> Endpoint:
    url, name = item.get("url"), item.get("name")
    if not isinstance(url, str):
        raise BadRequest("every endpoint has a url")
    if name is not None and not isinstance(name, str):
        raise BadRequest("the name of an endpoint is a string")
    if name is not None:
        check_name(name, what="endpoint")
    return Endpoint(url=_url(url), name=name)


def _url(text: str) -> str:
    return parse_url(text, what="invalid endpoint url: ")


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _not_found(name: str) -> NotFound:
    return NotFound(f"url group {name!r} not found")
