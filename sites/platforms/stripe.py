"""Stripe: revenue, refunds and fees from the balance, recurring revenue from the subscriptions."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms

from sites.outbound import Client
from sites.platforms import json_api
from sites.platforms.base import (
    CredentialsRefused,
    FetchRequest,
    Limits,
    Metric,
    Platform,
    PlatformError,
    PlatformUnavailable,
    Snapshot,
)
from sites.platforms.json_api import Json, whole
from sites.platforms.ledger import Ledger, money_metrics
from sites.platforms.money import to_minor
from sites.platforms.recurring import per_month

ORIGIN = "https://api.stripe.com"
#: Answers keep the form of this version, whatever the account's own is (docs.stripe.com/api/versioning).
API_VERSION = "2026-10-28.endive"
#: With 100 entries on a page these are 20,000 of them, and most of the minute that a fetch may take.
MAX_CALLS = 200
TRANSACTIONS_PER_PAGE = 100  # Stripe gives no more.
#: One with ten items takes up to 20 kB, and a body of more than 2 MB is refused.
SUBSCRIPTIONS_PER_PAGE = 50

# Stripe counts in units of its own, which are not ISO 4217's for MGA (none there, two decimals in
# ISO) nor for ISK and UGX (two decimals there, always 00; none in ISO). HUF and TWD are whole in
# payouts only. docs.stripe.com/currencies, "Zero-decimal currencies" and "Special cases".
_DECIMALS = {
    **dict.fromkeys("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD JOD KWD OMR TND".split(), 3),
}

# What each reporting category is to the owner (docs.stripe.com/reports/reporting-categories). Others
# move money that is there already, as payouts and reserves do, or are no sales of this business.
_KINDS = {
    "charge": "revenue",
    # An authorisation is booked in full; this takes back what was not captured.
    "partial_capture_reversal": "revenue",
    "refund": "refunds",
    "refund_failure": "refunds",
    "charge_failure": "refunds",
    "dispute": "disputes",
    "dispute_reversal": "disputes",
    "fee": "fees",
    "network_cost": "fees",
}

BALANCE, SUBSCRIPTIONS = "Balance: Read", "Subscriptions: Read"
_RIGHTS = {
    "rak_balance_read": BALANCE,
    "rak_subscription_read": SUBSCRIPTIONS,
    "rak_coupon_read": "Coupons: Read",
    "rak_price_read": "Prices: Read",
    "rak_plan_read": "Prices: Read",
}

FULL_POWER = (
    "This Stripe key (sk_) may do everything in the account, payouts included. Make a restricted key "
    f"(rk_) with '{BALANCE}' and '{SUBSCRIPTIONS}' alone, and enter that one."
)
TEST_MODE = "This Stripe key is one for testing: its figures are no real sales."


class Options(forms.Form):
    """Nothing to choose: the key leads to its account."""


class Credentials(forms.Form):
    """Who reads it."""

    api_key = forms.CharField(
        label="API key",
        max_length=300,
        widget=forms.PasswordInput,
        help_text=f"A restricted key, rk_live_…, with the rights '{BALANCE}' and '{SUBSCRIPTIONS}'.",
    )

    def clean_api_key(self) -> str:
        """Refuse Stripe's other kinds of keys, and what is none."""
        key: str = self.cleaned_data["api_key"]
        if key.startswith("pk_"):
            raise forms.ValidationError(
                "This is the publishable key, which can read nothing; enter a restricted one (rk_)."
            )
        if not re.fullmatch(r"(rk|sk)_\w+", key, re.ASCII):
            raise forms.ValidationError("A key of Stripe's begins with rk_ or sk_.")
        return key


class Stripe(Platform):
    """The balance transactions of the days wanted, and all active subscriptions.

    origin: of the API; another one only where something stands in for Stripe.
    """

    key = "stripe"
    name = "Stripe"
    description = "Revenue, refunds, fees and recurring revenue of a Stripe account."
    Options = Options
    Credentials = Credentials
    # 100 a second in live mode, 25 in sandboxes (docs.stripe.com/rate-limits), for everything that
    # the account does. A monitor takes its sales no more than a tenth of that.
    limits = Limits(concurrent=5, per_minute=600)

    def __init__(self, origin: str = ORIGIN) -> None:
        self._origin = origin

    def required_credentials(self, options: Mapping[str, Any]) -> frozenset[str]:
        """Stripe answers nobody without a key."""
        return frozenset({"api_key"})

    def account(self, options: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        """Return the key; the account behind it is known to Stripe alone."""
        return credentials["api_key"]

    async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
        """Read the balance and the subscriptions, every page of them."""
        key = request.credentials["api_key"]
        account = _Account(client, self._origin, key)
        ledger = await _read_balance(account, request)
        recurring = _Recurring(request.now)
        await recurring.read_from(account)
        return account.calls[0].snapshot(
            request,
            ledger.figures(request.today, recurring.metrics(ledger.currencies)),
            days=ledger.past_days(),
            notices=(*_key_notices(key), *recurring.notices),
        )


def _key_notices(key: str) -> list[str]:
    return [
        notice
        for notice, applies in ((FULL_POWER, key.startswith("sk_")), (TEST_MODE, "_test_" in key))
        if applies
    ]


class _Account:
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
    if json_api.word(data, "error", "code") == "api_key_expired":
        return CredentialsRefused("the Stripe key has expired; make a new one and enter it")
    return None


async def _read_balance(account: _Account, request: FetchRequest) -> Ledger:
    """Sum up the balance transactions: what came in and went out, in the currency it settled in."""
    ledger = Ledger(request, "refunds", "disputes", "fees", "net")
    query: dict[str, str | int] = {
        "created[gte]": _unix_s(request.begin_of(request.first_day)),
        "created[lt]": _unix_s(request.begin_of(request.today + timedelta(days=1))),
        "limit": TRANSACTIONS_PER_PAGE,
    }
    await account.read_list(
        "balance_transactions", query, BALANCE, lambda entry: _enter(ledger, entry)
    )
    return ledger


def _unix_s(moment: datetime) -> int:
    return int(moment.timestamp())


def _enter(ledger: Ledger, entry: Json) -> None:
    kind = _KINDS.get(entry["reporting_category"])
    if kind is None:
        return
    currency = _currency(entry["currency"])
    amount, fee, net = (_minor(whole(entry[name]), currency) for name in ("amount", "fee", "net"))
    amounts = {"fees": fee, "net": net}
    if kind != "revenue":
        # They are booked as negative amounts, and named as what they are.
        amounts[kind] = amounts.get(kind, 0) - amount
    ledger.enter(
        datetime.fromtimestamp(whole(entry["created"]), UTC),
        currency,
        # A card that was only checked is booked as a charge of 0.
        sales=int(entry["reporting_category"] == "charge" and amount > 0),
        revenue_minor=amount if kind == "revenue" else 0,
        **amounts,
    )


def _currency(code: Json) -> str:
    if not re.fullmatch("[a-z]{3}", code):
        raise ValueError("no currency of ISO 4217")
    return str(code).upper()


def _minor(amount: int | Decimal, currency: str) -> int:
    """Turn Stripe's units of a currency into ISO 4217's minor units."""
    return to_minor(Decimal(amount).scaleb(-_DECIMALS.get(currency, 2)), currency)


class _Recurring:
    """Active subscriptions and what they bring in each month, in Stripe's units."""

    def __init__(self, now: datetime) -> None:
        self._now_s = _unix_s(now)
        self._active = 0
        self._unpriced = 0
        self._monthly: dict[str, Decimal] = {}
        self._unfinished: list[Json] = []

    async def read_from(self, account: _Account) -> None:
        paging: dict[str, str | int] = {
            "limit": SUBSCRIPTIONS_PER_PAGE,
            # Four levels are as deep as Stripe expands (docs.stripe.com/api/expanding_objects).
            "expand[]": "data.discounts.source.coupon",
        }
        # Those that are trialing, paused, past due, unpaid or cancelled have a status of their own.
        active = {**paging, "status": "active"}
        await account.read_list("subscriptions", active, SUBSCRIPTIONS, self._read)
        for subscription in self._unfinished:
            items: list[Json] = []
            of_it = {**paging, "subscription": json_api.word(subscription, "id")}
            await account.read_list("subscription_items", of_it, SUBSCRIPTIONS, items.append)
            with json_api.reading("Stripe's"):
                self._add(subscription, items)

    def _read(self, subscription: Json) -> None:
        if subscription.get("pause_collection"):
            return  # It goes on without being paid for, and its status stays active.
        self._active += 1
        items = subscription["items"]
        # A list holds the first items alone, and the coupons of items lie too deep in it.
        if items["has_more"] or any(item.get("discounts") for item in items["data"]):
            self._unfinished.append(subscription)
        else:
            self._add(subscription, items["data"])

    def _add(self, subscription: Json, items: Sequence[Json]) -> None:
        currency = _currency(subscription["currency"])
        monthly, interval = Decimal(0), ("month", 1)
        for item in items:
            price = item["price"]
            recurring = price["recurring"]
            if recurring["usage_type"] == "metered":
                continue  # What will be used is not known.
            interval = recurring["interval"], whole(recurring["interval_count"])
            amount = _amount(price, whole(item["quantity"]))
            if amount is None:
                self._unpriced += 1
                continue
            amount = self._discounted(amount, item.get("discounts") or [], currency)
            monthly += per_month(amount, *interval)
        monthly = self._discounted(monthly, subscription["discounts"], currency, interval)
        self._monthly[currency] = self._monthly.get(currency, Decimal(0)) + monthly

    def _discounted(
        self,
        amount: Decimal,
        discounts: Sequence[Json],
        currency: str,
        interval: tuple[str, int] = ("month", 1),
    ) -> Decimal:
        """Take off the discounts that come back with each invoice, one after another.

        interval: how often an invoice comes, where the amount is already that of a month.
        """
        for discount in discounts:
            coupon = discount["source"]["coupon"]
            ended = discount["end"] is not None and whole(discount["end"]) <= self._now_s
            if ended or coupon["duration"] == "once":
                continue
            if coupon["percent_off"] is not None:
                amount -= amount * Decimal(coupon["percent_off"]) / 100
            elif _currency(coupon["currency"]) == currency:
                amount -= per_month(Decimal(whole(coupon["amount_off"])), *interval)
        return max(amount, Decimal(0))

    def metrics(self, currencies: frozenset[str]) -> dict[str, Metric]:
        """Return the figures; currencies that are met elsewhere have an MRR of 0 here."""
        monthly = {**dict.fromkeys(currencies, Decimal(0)), **self._monthly}
        mrr = {currency: _minor(amount, currency) for currency, amount in monthly.items()}
        return {
            "active_subscriptions": Metric(value=self._active),
            **money_metrics("mrr", mrr),
        }

    @property
    def notices(self) -> tuple[str, ...]:
        """What the MRR does not have in it."""
        if not self._unpriced:
            return ()
        return (
            f"The MRR is without {self._unpriced} subscription items: their prices are in tiers, "
            "which Stripe lists without amounts.",
        )


def _amount(price: Json, quantity: int) -> Decimal | None:
    """Return what a price comes to at a time, in Stripe's units; None for one in tiers."""
    # A text, with up to 12 decimals; unit_amount is null when there are any.
    if price["unit_amount_decimal"] is None:
        return None
    if package := price.get("transform_quantity"):
        parts, rest = divmod(quantity, whole(package["divide_by"]))
        quantity = parts + (package["round"] == "up" and rest > 0)
    return json_api.number(price["unit_amount_decimal"]) * quantity
