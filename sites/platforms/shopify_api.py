"""The calls to Shopify: tokens for an app's credentials, and queries of the GraphQL Admin API."""

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from sites.outbound import Client
from sites.platforms import json_api
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    PlatformError,
    PlatformUnavailable,
)
from sites.platforms.json_api import Json, JsonAnswer, whole, word
from sites.platforms.tokens import Token

#: Good for a year at least; a version that is no longer served is answered by the oldest that is
#: (shopify.dev/docs/api/usage/versioning).
API_VERSION = "2026-10"
READ_ORDERS, READ_ALL_ORDERS = "read_orders", "read_all_orders"
MIN_WAIT_S, USUAL_WAIT_S = 0.1, 2.0

_NOT_EXCHANGED = {
    "invalid_client": "Shopify does not know this client ID with this client secret",
    "application_cannot_be_found": "Shopify does not know this client ID",
    "invalid_request": "Shopify does not know this client ID with this client secret",
    "app_not_installed": "the app is not installed in this shop; install it there",
    "shop_not_permitted": "the app and the shop belong to different organisations; make the app in "
    "the shop's own, or enter a permanent access token",
}
_LACKS_ORDERS = (
    f"the app lacks a right: give it '{READ_ORDERS}' (and access to protected customer data, where "
    "Shopify asks for that), and install it in the shop again"
)


async def exchange_credentials(
    client: Client, origin: str, client_id: str, client_secret: str, *, now: datetime
) -> Token:
    """Get a token for the credentials of an app; it is good for a day.

    Source: shopify.dev/docs/apps/build/authentication-authorization/client-secrets.
    """
    called = await json_api.call(
        client,
        "POST",
        f"{origin}/admin/oauth/access_token",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        content=urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": client_id,
                "client_secret": client_secret,
            }
        ).encode(),
        refusal=_not_exchanged,
    )
    with json_api.reading("Shopify's"):
        text = called.data["access_token"]
        if not re.fullmatch(r"[\x21-\x7e]+", text):
            raise ValueError("no token")
        return Token(
            text=text, expires_at=now + timedelta(seconds=whole(called.data["expires_in"]))
        )


def _not_exchanged(status: int, data: Json) -> PlatformError | None:
    if why := _NOT_EXCHANGED.get(word(data, "error")):
        return CredentialsRefused(why)
    return _refusal(status, data)


def _refusal(status: int, data: Json) -> PlatformError | None:
    match status:
        case 402 | 423:
            return ConfigurationRefused(
                f"Shopify answered {json_api.status_in_words(status)}: the shop is closed until its "
                "owner has settled something there"
            )
        case 403:
            return CredentialsRefused(f"Shopify answered 403 Forbidden: {_LACKS_ORDERS}")
        case 404:
            return ConfigurationRefused("Shopify answered 404 Not Found: there is no such shop")
    return None


class ShopifyApi:
    """A shop's API, with a token that is shown to it."""

    def __init__(self, client: Client, origin: str, token: str) -> None:
        self._client = client
        self._url = f"{origin}/admin/api/{API_VERSION}/graphql.json"
        self._headers = {"X-Shopify-Access-Token": token, "Content-Type": "application/json"}

    async def ask(self, query: str, variables: Mapping[str, Any]) -> JsonAnswer:
        """Return the answer to a query, which has data; it may have to wait for the shop's limits."""
        content = json.dumps({"query": query, "variables": variables}).encode()
        while True:
            called = await json_api.call(
                self._client,
                "POST",
                self._url,
                headers=self._headers,
                content=content,
                refusal=_refusal,
            )
            # What goes wrong with a query comes as a success that has errors in it.
            with json_api.reading("Shopify's"):
                errors = called.data.get("errors") or []
                codes = [word(errors, n, "extensions", "code") for n in range(len(errors))]
            if not codes:
                return called
            if "THROTTLED" not in codes:
                raise _error(codes)
            await self._wait(called.data)

    async def _wait(self, throttled: Json) -> None:
        wait_s = _wait_s(throttled)
        if wait_s >= self._client.left_s:
            raise PlatformUnavailable(
                f"Shopify's limit is used up; it asks to wait {wait_s:.0f} s", retry_after_s=wait_s
            )
        await asyncio.sleep(wait_s)


def _error(codes: list[str]) -> PlatformError:
    if "ACCESS_DENIED" in codes:
        return CredentialsRefused(_LACKS_ORDERS)
    if "SHOP_INACTIVE" in codes:
        return ConfigurationRefused("Shopify says that the shop is not active")
    if "INTERNAL_SERVER_ERROR" in codes:
        return PlatformUnavailable("Shopify answered that it failed")
    return BadResponse(f"Shopify did not accept the query of its version {API_VERSION}")


def _wait_s(throttled: Json) -> float:
    """Return how long a shop's points take to suffice: they come back at a constant rate."""
    try:
        cost = throttled["extensions"]["cost"]
        status = cost["throttleStatus"]
        missing = Decimal(cost["requestedQueryCost"]) - Decimal(status["currentlyAvailable"])
        return max(float(missing / Decimal(status["restoreRate"])), MIN_WAIT_S)
    except (LookupError, TypeError, ValueError, ArithmeticError):
        return USUAL_WAIT_S
