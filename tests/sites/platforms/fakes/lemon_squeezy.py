"""An account at Lemon Squeezy, and its API as docs.lemonsqueezy.com/api describes it."""

import json
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.sites.loopback import Request, http
from tests.sites.platforms.fakes.vendor import Vendor

Object = dict[str, Any]
MEDIA_TYPE = "application/vnd.api+json"
#: By list: the attributes that it can be filtered by.
LISTS = {
    "stores": set(),
    "orders": {"store_id"},
    "subscription-invoices": {"store_id", "status", "refunded", "subscription_id"},
    "subscriptions": {"store_id", "status"},
}


class Refused(Exception):
    """Lemon Squeezy answers with an error of JSON:API."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        error = {"status": str(status), "title": title, "detail": detail}
        body = {"jsonapi": {"version": "1.0"}, "errors": [error]}
        headers = {"Content-Type": MEDIA_TYPE} | ({"Retry-After": "30"} if status == 429 else {})
        self.answer = http(json.dumps(body), status=status, headers=headers)


class FakeLemonSqueezy(Vendor):
    """Lets one key in. Its stores are those of `add_store`; the first is there from the beginning."""

    def __init__(self, key: str, currency: str = "EUR") -> None:
        super().__init__()
        self.key = key
        self.objects: dict[str, list[Object]] = {name: [] for name in (*LISTS, "prices")}
        self._ids = count(1)
        self.store_id = self.add_store(currency)

    def add_store(self, currency: str) -> int:
        return self._add("stores", None, name="Made up", currency=currency)

    def order(
        self, total: int, currency: str, at: datetime, *, status: str = "paid", **changes: Any
    ) -> None:
        """Sell something once. total: in the smallest unit of the currency."""
        attributes = {
            "store_id": self.store_id,
            "currency": currency,
            "currency_rate": "1.0000",
            "total": total,
            "total_usd": total + 1,
            "refunded_amount": 0,
            "status": status,
            "refunded": status == "refunded",
            "refunded_at": None,
            "test_mode": False,
        }
        self._add("orders", at, **attributes | changes)

    def invoice(
        self, total: int, currency: str, at: datetime, *, reason: str = "renewal", **changes: Any
    ) -> None:
        """Bill a subscription."""
        attributes = {
            "store_id": self.store_id,
            "subscription_id": 1,
            "billing_reason": reason,
            "currency": currency,
            "total": total,
            "refunded_amount": 0,
            "status": "paid",
            "refunded": False,
            "test_mode": False,
        }
        self._add("subscription-invoices", at, **attributes | changes)

    def price(self, unit_price: int | None = 999, interval: str = "month", **changes: Any) -> int:
        """Add a price; one that is changed becomes another."""
        attributes = {
            "category": "subscription",
            "scheme": "standard",
            "usage_aggregation": None,
            "unit_price": unit_price,
            "unit_price_decimal": None,
            "package_size": 1,
            "tiers": None,
            "renewal_interval_unit": interval,
            "renewal_interval_quantity": 1,
        }
        return self._add("prices", None, **attributes | changes)

    def subscribe(
        self, price_id: int | None, quantity: int = 1, *, status: str = "active", **changes: Any
    ) -> None:
        """Add a subscription; without a price it is one whose trial has not ended."""
        item = {
            "id": 1,
            "subscription_id": 1,
            "price_id": price_id,
            "quantity": quantity,
            "is_usage_based": False,
        }
        attributes = {
            "store_id": self.store_id,
            "status": status,
            "first_subscription_item": price_id and item,
            "renews_at": "2026-03-01T00:00:00.000000Z",
            "ends_at": None,
            "test_mode": False,
        }
        self._add("subscriptions", None, **attributes | changes)

    def _add(self, kind: str, at: datetime | None, **attributes: Any) -> int:
        number = next(self._ids)
        made_at = at or datetime(2026, 1, 1, tzinfo=UTC)
        attributes["created_at"] = made_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.objects[kind].append({"type": kind, "id": str(number), "attributes": attributes})
        return number

    def answer(self, request: Request) -> bytes:
        try:
            self._let_in(request)
            return self._found(request)
        except Refused as refused:
            return refused.answer

    def _found(self, request: Request) -> bytes:
        url = urlsplit(request.target)
        _, version, kind, *rest = url.path.split("/")
        if version != "v1" or request.method != "GET" or kind not in self.objects:
            raise Refused(404, "Not Found", "")
        if rest:
            return self._one(kind, rest[0])
        return self._page(kind, dict(parse_qsl(url.query)))

    def _let_in(self, request: Request) -> None:
        if self.is_throttled:
            raise Refused(429, "Too Many Requests", "Too Many Attempts.")
        for name in ("accept", "content-type"):
            if request.headers.get(name) != MEDIA_TYPE:
                raise Refused(406, "Not Acceptable", f"The {name} header is not {MEDIA_TYPE}.")
        if request.headers.get("authorization") != f"Bearer {self.key}" or self.key_is_revoked:
            raise Refused(401, "Unauthorized", "Unauthenticated.")
        if self.lacks_rights:
            raise Refused(403, "Forbidden", "This action is unauthorized.")

    def _one(self, kind: str, number: str) -> bytes:
        for entry in self.objects[kind]:
            if entry["id"] == number:
                return _document({"data": entry})
        raise Refused(404, "Not Found", "The requested resource was not found.")

    def _page(self, kind: str, query: dict[str, str]) -> bytes:
        number, size = int(query.pop("page[number]", 1)), int(query.pop("page[size]", 10))
        if kind not in LISTS or not 1 <= size <= 100:
            raise Refused(400, "Bad Request", "The page size must be between 1 and 100.")
        size = min(size, self.page_limit)
        filters = {name.removeprefix("filter[").removesuffix("]"): v for name, v in query.items()}
        if set(filters) - LISTS[kind]:
            raise Refused(400, "Bad Request", f"Filter parameter {set(filters)} is not allowed.")
        found = [
            entry
            for entry in self.objects[kind]
            if all(str(entry["attributes"][name]) == value for name, value in filters.items())
        ]
        found.sort(key=lambda entry: entry["attributes"]["created_at"], reverse=True)
        last = max(1, -(-len(found) // size))
        page = {"currentPage": number, "lastPage": last, "perPage": size, "total": len(found)}
        links = {
            name: f"https://api.lemonsqueezy.com/v1/{kind}?" + urlencode({"page[number]": target})
            for name, target in (("first", 1), ("next", number + 1), ("last", last))
            if target <= last
        }
        data = found[(number - 1) * size : number * size]
        return _document({"meta": {"page": page}, "links": links, "data": data})


def _document(content: Object) -> bytes:
    headers = {"Content-Type": MEDIA_TYPE, "X-Ratelimit-Limit": "300", "X-Ratelimit-Remaining": "9"}
    return http(json.dumps({"jsonapi": {"version": "1.0"}, **content}), headers=headers)
