"""An account at Stripe, and its API as docs.stripe.com/api describes it."""

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.sites.loopback import Request, http
from tests.sites.platforms.fakes.vendor import Vendor

Object = dict[str, Any]
LISTS = {
    "/v1/balance_transactions": ("rak_balance_read", {"created[gte]", "created[lt]"}),
    "/v1/subscriptions": ("rak_subscription_read", {"status"}),
    "/v1/subscription_items": ("rak_subscription_read", {"subscription"}),
}
ITEMS_INSIDE = 10


class Refused(Exception):
    """Stripe answers with an error object."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        error = {"type": "invalid_request_error", "message": message}
        self.answer = http(
            json.dumps({"error": error | ({"code": code} if code else {})}),
            status=status,
            headers={"Content-Type": "application/json", "Request-Id": "req_madeup"},
        )


class FakeStripe(Vendor):
    """Lets one key in; `rights` are what a restricted key may read."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self.rights = {"rak_balance_read", "rak_subscription_read", "rak_coupon_read"}
        self.transactions: list[Object] = []
        self.subscriptions: list[Object] = []
        self._ids = count(1)

    def book(
        self, category: str, amount: int, currency: str, at: datetime, *, fee: int = 0
    ) -> None:
        """Change the balance by an amount, in Stripe's units of the currency it settles in."""
        self.transactions.append(
            {
                "id": f"txn_{next(self._ids)}",
                "object": "balance_transaction",
                "amount": amount,
                "available_on": int(at.timestamp()),
                "created": int(at.timestamp()),
                "currency": currency.lower(),
                "description": None,
                "exchange_rate": None,
                "fee": fee,
                "fee_details": [],
                "net": amount - fee,
                "reporting_category": category,
                "source": "ch_madeup",
                "status": "available",
                "type": "adjustment" if "dispute" in category else category,
            }
        )

    def subscribe(
        self,
        *items: Object,
        currency: str = "eur",
        status: str = "active",
        pause_collection: Object | None = None,
        discounts: tuple[Object, ...] = (),
    ) -> None:
        """Add a subscription to these items, made by `item`."""
        self.subscriptions.append(
            {
                "id": f"sub_{next(self._ids)}",
                "object": "subscription",
                "currency": currency,
                "discounts": list(discounts),
                "items": list(items),
                "pause_collection": pause_collection,
                "status": status,
            }
        )

    def item(
        self,
        unit_amount: int | str | None,
        quantity: int | None = 1,
        *,
        interval: str = "month",
        interval_count: int = 1,
        usage_type: str = "licensed",
        transform_quantity: Object | None = None,
        discounts: tuple[Object, ...] = (),
    ) -> Object:
        """An item of a subscription; a text is an amount with a fraction, None a price in tiers."""
        return {
            "id": f"si_{next(self._ids)}",
            "object": "subscription_item",
            "current_period_end": 1_772_000_000,
            "discounts": list(discounts),
            "price": {
                "id": "price_madeup",
                "object": "price",
                "billing_scheme": "tiered" if unit_amount is None else "per_unit",
                "recurring": {
                    "interval": interval,
                    "interval_count": interval_count,
                    "usage_type": usage_type,
                },
                "transform_quantity": transform_quantity,
                "unit_amount": unit_amount if isinstance(unit_amount, int) else None,
                "unit_amount_decimal": None if unit_amount is None else str(unit_amount),
            },
            **({} if quantity is None else {"quantity": quantity}),
        }

    def discount(
        self,
        *,
        percent_off: float | None = None,
        amount_off: int | None = None,
        currency: str | None = None,
        duration: str = "forever",
        end: datetime | None = None,
    ) -> Object:
        """A discount by a coupon of its own."""
        coupon = {
            "id": f"coupon_{next(self._ids)}",
            "object": "coupon",
            "amount_off": amount_off,
            "currency": currency,
            "duration": duration,
            "percent_off": percent_off,
        }
        return {
            "id": f"di_{next(self._ids)}",
            "object": "discount",
            "end": end and int(end.timestamp()),
            "source": {"coupon": coupon, "type": "coupon"},
        }

    def answer(self, request: Request) -> bytes:
        url = urlsplit(request.target)
        try:
            self._let_in(request, url.path)
            return self._list(url.path, parse_qsl(url.query, strict_parsing=True))
        except Refused as refused:
            return refused.answer

    def _let_in(self, request: Request, path: str) -> None:
        shown = f"{self.key[:8]}***{self.key[-4:]}"
        if request.method != "GET" or path not in LISTS:
            raise Refused(404, f"Unrecognized request URL ({request.method}: {path}).")
        if self.is_throttled:
            raise Refused(429, "Request rate limit exceeded.", "rate_limit")
        if request.headers.get("authorization") != f"Bearer {self.key}" or self.key_is_revoked:
            raise Refused(401, f"Invalid API Key provided: {shown}")
        right, _ = LISTS[path]
        if self.key.startswith("rk_") and (self.lacks_rights or right not in self.rights):
            raise self._lacking(right)

    def _lacking(self, right: str) -> Refused:
        return Refused(
            403,
            f"The provided key '{self.key[:8]}***' does not have the required permissions for this "
            f"endpoint on account 'acct_madeup'. Having the '{right}' permission would allow this "
            "request to continue.",
        )

    def _list(self, path: str, pairs: list[tuple[str, str]]) -> bytes:
        query = dict(pairs)
        if unknown := query.keys() - LISTS[path][1] - {"limit", "starting_after", "expand[]"}:
            raise Refused(400, f"Received unknown parameters: {unknown}", "parameter_unknown")
        limit = int(query.get("limit", "10"))
        if not 1 <= limit <= 100:
            raise Refused(400, "This value must be between 1 and 100.", "parameter_invalid_integer")
        found = list(self._find(path, query))
        if after := query.get("starting_after"):
            ids = [each["id"] for each in found]
            if after not in ids:
                raise Refused(400, f"No such object: '{after}'", "resource_missing")
            found = found[ids.index(after) + 1 :]
        page = found[: min(limit, self.page_limit)]
        expands = query.get("expand[]") == "data.discounts.source.coupon"
        if expands and any(each["discounts"] for each in page):
            self._need("rak_coupon_read")
        return http(
            json.dumps(
                {
                    "object": "list",
                    "url": path,
                    "has_more": len(page) < len(found),
                    "data": [_shown(each, expands=expands) for each in page],
                }
            ),
            headers={"Content-Type": "application/json"},
        )

    def _need(self, right: str) -> None:
        if right not in self.rights:
            raise self._lacking(right)

    def _find(self, path: str, query: dict[str, str]) -> Iterator[Object]:
        """Newest first, as all of Stripe's lists are but that of items."""
        if path == "/v1/balance_transactions":
            first, end = int(query["created[gte]"]), int(query["created[lt]"])
            newest = sorted(self.transactions, key=lambda each: each["created"], reverse=True)
            yield from (each for each in newest if first <= each["created"] < end)
        elif path == "/v1/subscriptions":
            yield from (s for s in reversed(self.subscriptions) if s["status"] == query["status"])
        else:
            for each in self.subscriptions:
                if each["id"] == query["subscription"]:
                    yield from each["items"]


def _shown(each: Object, *, expands: bool) -> Object:
    """Write an object as a list has it: discounts and coupons are ids where nobody expands them."""
    if "discounts" not in each:
        return each
    discounts = each["discounts"] if expands else [one["id"] for one in each["discounts"]]
    shown = {**each, "discounts": discounts}
    if "items" in each:
        inside = each["items"][:ITEMS_INSIDE]
        shown["items"] = {
            "object": "list",
            "has_more": len(inside) < len(each["items"]),
            "data": [_shown(item, expands=False) for item in inside],
        }
    return shown
