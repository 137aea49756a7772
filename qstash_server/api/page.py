"""Paging of the listings: `count`, `cursor` and `order`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qstash_server.call import Call
from qstash_server.errors import BadRequest

_ORDERS = ("latestFirst", "earliestFirst")
_NAMES = ("count", "cursor", "order")


@dataclass(frozen=True, kw_only=True)
class Page:
    """cursor: what the page before ended with, None for the first page."""

    count: int
    cursor: str | None
    earliest_first: bool


def read_page(call: Call, *, most: int) -> tuple[Page, list[tuple[str, str]]]:
    """Return the page that is asked for, and the query parameters that are not about paging.

    most: the default and the maximum of `count`. Raises BadRequest.
    """
    given = {name: value for name, value in call.query if name in _NAMES}
    count = given.get("count", str(most))
    if not (count.isascii() and count.isdigit() and len(count) <= 9 and int(count) > 0):
        raise BadRequest(f"invalid count {count!r}: a whole number from 1 to {most}")
    order = given.get("order", _ORDERS[0])
    if order not in _ORDERS:
        raise BadRequest(f"invalid order {order!r}: {' or '.join(_ORDERS)}")
    page = Page(
        count=min(int(count), most),
        cursor=given.get("cursor") or None,
        earliest_first=order == _ORDERS[1],
    )
    return page, [(name, value) for name, value in call.query if name not in _NAMES]


def with_cursor(name: str, items: Sequence[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
    """Return a page of a listing. The last one has no cursor at all: SDKs stop at that only."""
    body: dict[str, Any] = {name: items}
    if cursor is not None:
        body["cursor"] = cursor
    return body
