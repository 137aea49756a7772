"""The calls to Stripe's API, and the units in which it counts money."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from urllib.parse import urlencode

from sites.outbound import Client
from sites.platforms import json_api
from sites.platforms.base import CredentialsRefused, PlatformError, PlatformUnavailable
from sites.platforms.json_api import Json
from sites.platforms.money import to_minor

ORIGIN = "https://api.stripe.com"
#: Answers keep the form of this version, whatever the account's own is (docs.stripe.com/api/versioning).
API_VERSION = "2026-10-28.endive"
#: With 100 entries on a page these are 20,000 of them, and most of the minute that a fetch may take.
MAX_CALLS = 200

# Stripe counts in units of its own, which are not ISO 4217's for MGA (none there, two decimals in
# ISO) nor for ISK and UGX (two decimals there, always 00; none in ISO). HUF and TWD are whole in
# payouts only. docs.stripe.com/currencies, "Zero-decimal currencies" and "Special cases".
_DECIMALS = {
    **dict.fromkeys("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD JOD KWD OMR TND".split(), 3),
}

BALANCE, SUBSCRIPTIONS = "Balance: Read", "Subscriptions: Read"
_RIGHTS = {
    "rak_balance_read": BALANCE,
    "rak_subscription_read": SUBSCRIPTIONS,
    "rak_coupon_read": "Coupons: Read",
    "rak_price_read": "Prices: Read",
    "rak_plan_read": "Prices: Read",
}


class Account:
    """The calls of one fetch."""

    def __init__(self, client: Client, origin: str, key: str) -> None:
        self._client = client
        self._origin = origin
        self._headers = {"Authorization": f"Bearer {key}", "Stripe-Version": API_VERSION}
        self.calls: list[json_api.JsonAnswer] = []

    async def read_list(
        self, path: str, query: Mapping[str, str | int], right: str, read: Callable[[Json], None]
    ) -> None:
        """Hand every entry of a list to `read`, page by page (docs.stripe.com/api/pagination).

        right: the one that a restricted key needs for it.
        """
        cursor: dict[str, str] | None = {}
        while cursor is not None:
            page = await self._get(f"{path}?{urlencode({**query, **cursor})}", right)
            with json_api.reading("Stripe's"):
                entries = page["data"]
                for entry in entries:
                    read(entry)
                cursor = {"starting_after": entries[-1]["id"]} if page["has_more"] else None

    async def _get(self, path: str, right: str) -> Json:
        if len(self.calls) == MAX_CALLS:
            raise PlatformUnavailable(
                f"this Stripe account has more than {MAX_CALLS} pages of entries and subscriptions "
                "for the days wanted; nothing was counted, because a part of them would be wrong"
            )
        called = await json_api.call(
            self._client,
            "GET",
            f"{self._origin}/v1/{path}",
            headers=self._headers,
            refusal=lambda status, data: _refusal(status, data, right),
        )
        self.calls.append(called)
        return called.data


def _refusal(status: int, data: Json, right: str) -> PlatformError | None:
    if status == 403:
        named = re.search(r"\brak_[a-z_]+_read\b", json_api.word(data, "error", "message"))
        right = _RIGHTS.get(named[0] if named else "", right)
        return CredentialsRefused(
            f"Stripe answered 403 Forbidden: the key lacks a right; give it '{right}'"
        )
    match json_api.word(data, "error", "code"):
        case "api_key_expired":
            return CredentialsRefused("the Stripe key has expired; make a new one and enter it")
        case "resource_missing":
            # The addresses are fixed, so it is what a page went on from.
            return PlatformUnavailable("entries were deleted at Stripe while they were being read")
    return None


def currency_of(code: Json) -> str:
    """Return Stripe's name of a currency ('eur') as ISO 4217's. ValueError where it can be none."""
    if not re.fullmatch("[a-z]{3}", code):
        raise ValueError("no currency of ISO 4217")
    return str(code).upper()


def minor_of(amount: int | Decimal, currency: str) -> int:
    """Turn Stripe's units of a currency into ISO 4217's minor units."""
    return to_minor(Decimal(amount).scaleb(-_DECIMALS.get(currency, 2)), currency)
