"""A shop at Shopify, and its Admin API as shopify.dev/docs/api/admin-graphql describes it."""

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qs

from tests.sites.loopback import Request, http
from tests.sites.platforms.fakes.vendor import Vendor

Object = dict[str, Any]
VERSION = "2026-10"
PATH = re.compile(r"/admin/api/(\d{4}-\d{2})/graphql\.json")
SEARCH = re.compile(r"processed_at:>='(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z)'")
FIELDS = (
    "processedAt test cancelledAt displayFinancialStatus"
    " currentTotalPriceSet { shopMoney { amount currencyCode } }"
)
POINTS_OF_AN_ORDER = 3
MAX_POINTS = 1000


class FakeShopify(Vendor):
    """Lets in a permanent token, and the tokens that it gives for a client ID and secret.

    scopes: of the app. now: on which the orders that it may see depend.
    oldest_version: the oldest one that is still served.
    points: how many are left of the bucket; is_throttled empties it.
    exchanges: requests for a token.
    """

    def __init__(self, *, token: str, client_id: str, client_secret: str, now: datetime) -> None:
        super().__init__()
        self.tokens = {token}
        self.client = (client_id, client_secret)
        self.now = now
        self.scopes = ["read_orders", "read_all_orders"]
        self.time_zone = "UTC"
        self.oldest_version = VERSION
        self.points = 2000.0
        self.restore_rate = 10.0
        self.token_lifetime_s = 86_399
        self.not_exchanged = ""
        self.exchanges: list[Request] = []
        self.orders: list[Object] = []
        self._numbers = count(1)

    def sell(self, amount: str, currency: str, at: datetime, **changes: Any) -> None:
        """Sell something. amount: in units of the currency."""
        order = {
            "processedAt": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "test": False,
            "cancelledAt": None,
            "displayFinancialStatus": "PAID",
            "currentTotalPriceSet": {"shopMoney": {"amount": amount, "currencyCode": currency}},
        }
        self.orders.append(order | changes)

    def __call__(self, request: Request) -> bytes:
        if request.target == "/admin/oauth/access_token":
            self.exchanges.append(request)
            return self._exchange(request)
        return super().__call__(request)

    def _exchange(self, request: Request) -> bytes:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if self.not_exchanged:
            return _json({"error": self.not_exchanged}, status=400)
        if (
            self.key_is_revoked
            or form.get("grant_type") != "client_credentials"
            or (form.get("client_id"), form.get("client_secret")) != self.client
        ):
            return _json({"error": "invalid_client", "error_description": "Nope."}, status=400)
        token = f"made-up-token-{next(self._numbers)}"
        self.tokens.add(token)
        lifetime_s = self.token_lifetime_s
        scope = ",".join(self.scopes)
        return _json({"access_token": token, "scope": scope, "expires_in": lifetime_s})

    def answer(self, request: Request) -> bytes:
        path = PATH.fullmatch(request.target)
        if request.method != "POST" or not path:
            return _json({"errors": "Not Found"}, status=404)
        if self.key_is_revoked or request.headers.get("x-shopify-access-token") not in self.tokens:
            words = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            return _json({"errors": words}, status=401)
        document = json.loads(request.body)
        return self._run(
            document["query"], document["variables"], max(path[1], self.oldest_version)
        )

    def _run(self, query: str, variables: Object, version: str) -> bytes:
        shape = " ".join(query.split())
        assert FIELDS in shape, shape
        assert (
            "orders(first: $first, after: $after, sortKey: PROCESSED_AT, query: $search)" in shape
        )
        needed = 2 + variables["first"] * POINTS_OF_AN_ORDER
        if needed > MAX_POINTS:
            return self._errors(needed, version, "MAX_COST_EXCEEDED")
        if self.is_throttled or needed > self.points:
            left = 0.0 if self.is_throttled else self.points
            self.points += self.restore_rate
            return self._errors(needed, version, "THROTTLED", left)
        if self.lacks_rights or "read_orders" not in self.scopes:
            return self._errors(needed, version, "ACCESS_DENIED")
        data: Object = {"orders": self._page(variables)}
        if variables["isFirst"]:
            scopes = [{"handle": scope} for scope in self.scopes]
            data["shop"] = {"ianaTimezone": self.time_zone}
            data["currentAppInstallation"] = {"accessScopes": scopes}
        actual = 2 + len(data["orders"]["nodes"]) * POINTS_OF_AN_ORDER
        cost = self._cost(needed, actual, self.points)
        return _json({"data": data, "extensions": {"cost": cost}}, version=version)

    def _page(self, variables: Object) -> Object:
        match = SEARCH.fullmatch(variables["search"])
        assert match, variables
        since = datetime.fromisoformat(match[1])
        if "read_all_orders" not in self.scopes:
            since = max(since, self.now - timedelta(days=60))
        found = sorted(
            (o for o in self.orders if datetime.fromisoformat(o["processedAt"]) >= since),
            key=lambda order: order["processedAt"],
        )
        begin = int(variables["after"] or 0)
        end = begin + min(variables["first"], self.page_limit)
        nodes = found[begin:end]
        page = {"hasNextPage": end < len(found), "endCursor": str(end) if nodes else None}
        return {"pageInfo": page, "nodes": nodes}

    def _errors(self, needed: int, version: str, code: str, left: float = 2000.0) -> bytes:
        error = {"message": code.capitalize(), "extensions": {"code": code}}
        cost = self._cost(needed, None, left)
        return _json({"errors": [error], "extensions": {"cost": cost}}, version=version)

    def _cost(self, needed: int, actual: int | None, left: float) -> Object:
        return {
            "requestedQueryCost": needed,
            "actualQueryCost": actual,
            "throttleStatus": {
                "maximumAvailable": 2000.0,
                "currentlyAvailable": left,
                "restoreRate": self.restore_rate,
            },
        }


def _json(content: Object, *, status: int = 200, version: str = "") -> bytes:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if version:
        headers["X-Shopify-API-Version"] = version
    return http(json.dumps(content), status=status, headers=headers)
