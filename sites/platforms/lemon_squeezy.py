"""Lemon Squeezy: orders and renewals, refunds, and recurring revenue from the subscriptions."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import jwt
from django import forms
from django.core.validators import RegexValidator

from sites.outbound import Client
from sites.platforms import json_api
from sites.platforms.base import (
    FetchRequest,
    Limits,
    Metric,
    Platform,
    Snapshot,
)
from sites.platforms.json_api import Json, whole
from sites.platforms.ledger import Ledger, money_metrics
from sites.platforms.lemon_squeezy_api import Account, currency_code, made_at
from sites.platforms.money import exponent, to_minor
from sites.platforms.pricing import amount
from sites.platforms.recurring import per_month

ORIGIN = "https://api.lemonsqueezy.com"
MAX_PRICES = 10_000
EXPIRY_WARNING = timedelta(days=30)

# What was paid, be it refunded since or not (docs.lemonsqueezy.com/api/orders and
# /api/subscription-invoices); the rest never was, or has been taken back by the bank.
_PAID = frozenset({"paid", "refunded", "partial_refund"})
_NOT_PAID = frozenset({"pending", "failed", "fraudulent", "void"})
# The initial invoice of a subscription is its order once more.
_FURTHER = frozenset({"renewal", "updated"})
_INITIAL = "initial"

TEST_MODE = "Orders of Lemon Squeezy's test mode are not counted, and a key made in test mode sees no others."


class Options(forms.Form):
    """Which store to read."""

    store_id = forms.CharField(
        label="Store ID",
        initial="",
        required=False,
        max_length=20,
        validators=[RegexValidator(r"\A[0-9]+\Z", "The ID of a store is a number.")],
        help_text="Of one store of several (Settings, Stores); empty for all of them together.",
    )


class Credentials(forms.Form):
    """Who reads it."""

    api_key = forms.CharField(
        label="API key",
        max_length=4000,
        widget=forms.PasswordInput,
        help_text="Made under Settings, API, in live mode. It is good for one year.",
    )


class LemonSqueezy(Platform):
    """The orders and invoices of the days wanted, and all active subscriptions.

    origin: of the API; another one only where something stands in for Lemon Squeezy.
    """

    key = "lemon_squeezy"
    name = "Lemon Squeezy"
    description = "Revenue, refunds and recurring revenue of a Lemon Squeezy store."
    Options = Options
    Credentials = Credentials
    # 300 a minute (docs.lemonsqueezy.com/api/getting-started/requests). Half is left to the business.
    limits = Limits(concurrent=2, per_minute=150)
    longest_past_days = 365

    def __init__(self, origin: str = ORIGIN) -> None:
        self._origin = origin
        # A price that is changed becomes another object, so one that was read stays true.
        self._prices: dict[int, Json] = {}

    def required_credentials(self, options: Mapping[str, Any]) -> frozenset[str]:
        """Lemon Squeezy answers nobody without a key."""
        return frozenset({"api_key"})

    def account(self, options: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        """Return the key; the account behind it is known to Lemon Squeezy alone."""
        return credentials["api_key"]

    async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
        """Read the stores, what was paid in them, and the subscriptions."""
        key = request.credentials["api_key"]
        account = Account(client, self._origin, key, request.options["store_id"])
        currencies = await account.currencies()
        payments = _Payments(request)
        await payments.read_from(account)
        recurring = _Recurring(currencies, self._prices)
        await recurring.read_from(account)
        ledger, expires_at = payments.ledger, _end_of(key)
        snapshot = account.calls[0].snapshot(
            request,
            ledger.figures(request.today, recurring.metrics(ledger.currencies)),
            days=ledger.past_days(),
            notices=(*payments.notices, *recurring.notices, *_warning(expires_at, request.now)),
        )
        return replace(snapshot, credentials_expire_at=expires_at)


def _end_of(key: str) -> datetime | None:
    """Return when a key ends. It is a JSON Web Token (RFC 7519) which says so itself."""
    try:
        # Nothing is trusted on the strength of it, so the signature does not matter.
        end_s = jwt.decode(key, options={"verify_signature": False})["exp"]
        return datetime.fromtimestamp(end_s, UTC)
    except (jwt.InvalidTokenError, LookupError, TypeError, ValueError, OverflowError, OSError):
        return None


def _warning(expires_at: datetime | None, now: datetime) -> list[str]:
    if expires_at is None or expires_at - now > EXPIRY_WARNING:
        return []
    return [
        f"The Lemon Squeezy key ends on {expires_at:%d %B %Y}. Make a new one and enter it before."
    ]


def _minor(cents: int | Decimal, currency: str) -> int:
    """Round an amount in minor units, which is what Lemon Squeezy calls cents in any currency."""
    return to_minor(Decimal(cents).scaleb(-exponent(currency)), currency)


class _Payments:
    """What was paid: the orders, and the invoices that follow the first of a subscription."""

    def __init__(self, request: FetchRequest) -> None:
        self.ledger = Ledger(request, "refunds")
        self._since = request.begin_of(request.first_day)
        self._unknown: Counter[tuple[str, str]] = Counter()
        self._is_test_mode = False

    async def read_from(self, account: Account) -> None:
        await account.read_list("orders", self._read_order, since=self._since)
        await account.read_list("subscription-invoices", self._read_invoice, since=self._since)

    def _read_order(self, entry: Json) -> None:
        if self._is_paid("orders", entry["attributes"]):
            self._enter(entry)

    def _read_invoice(self, entry: Json) -> None:
        reason = entry["attributes"]["billing_reason"]
        if reason == _INITIAL or not self._is_paid("invoices", entry["attributes"]):
            return
        if reason in _FURTHER:
            self._enter(entry)
        else:
            self._unknown["invoices", str(reason)] += 1

    def _is_paid(self, what: str, attributes: Json) -> bool:
        if attributes["test_mode"]:
            self._is_test_mode = True
            return False
        status = attributes["status"]
        if status not in _PAID | _NOT_PAID:
            self._unknown[what, str(status)] += 1
        return status in _PAID

    def _enter(self, entry: Json) -> None:
        attributes = entry["attributes"]
        currency, total = currency_code(attributes["currency"]), whole(attributes["total"])
        refunded = attributes.get("refunded_amount")
        if refunded is None:
            refunded = total if attributes["refunded"] else 0
        self.ledger.enter(
            made_at(entry),
            currency,
            # A free product and the beginning of a trial are orders of 0.
            sales=int(total > 0),
            revenue_minor=_minor(total, currency),
            refunds=_minor(whole(refunded), currency),
        )

    @property
    def notices(self) -> list[str]:
        """What was left out."""
        left_out = [
            f"Lemon Squeezy has {number} {what} marked '{mark[:30]}', which means nothing here; "
            "they are not counted."
            for (what, mark), number in sorted(self._unknown.items())
        ]
        return [TEST_MODE, *left_out] if self._is_test_mode else left_out


class _Recurring:
    """Active subscriptions and what they bring in each month, in the currencies of their stores.

    currencies: of the stores, by ID; prices have none of their own.
    prices: those that have been read before, by ID; others are added.
    """

    def __init__(self, currencies: Mapping[int, str], prices: dict[int, Json]) -> None:
        self._currencies = currencies
        self._prices = prices
        self._active = 0
        self._unpriced = 0
        self._quantities: Counter[tuple[int, str, int]] = Counter()
        self._monthly: dict[str, Decimal] = {}

    async def read_from(self, account: Account) -> None:
        # Not on_trial, paused, past_due or unpaid; a cancelled one is good until it ends, and brings
        # in nothing more.
        await account.read_list("subscriptions", self._read, status="active")
        for (price_id, currency, quantity), number in self._quantities.items():
            price = await self._price(account, price_id)
            with json_api.reading("Lemon Squeezy's"):
                monthly = number * _per_month(price, quantity)
            self._monthly[currency] = self._monthly.get(currency, Decimal(0)) + monthly

    def _read(self, entry: Json) -> None:
        attributes = entry["attributes"]
        if attributes["test_mode"] or attributes["status"] != "active":
            return
        self._active += 1
        item = attributes["first_subscription_item"]
        if item is None:
            self._unpriced += 1
        elif not item.get("is_usage_based"):  # What will be used is not known.
            currency = self._currencies[attributes["store_id"]]
            self._quantities[whole(item["price_id"]), currency, whole(item["quantity"])] += 1

    async def _price(self, account: Account, price_id: int) -> Json:
        if price_id not in self._prices:
            document = await account.get(f"prices/{price_id}")
            with json_api.reading("Lemon Squeezy's"):
                price = document["data"]["attributes"]
            if len(self._prices) >= MAX_PRICES:
                self._prices.clear()
            self._prices[price_id] = price
        return self._prices[price_id]

    def metrics(self, currencies: frozenset[str]) -> dict[str, Metric]:
        """Return the figures; currencies that are met elsewhere have an MRR of 0 here."""
        known = {*currencies, *self._currencies.values()}
        monthly = {**dict.fromkeys(known, Decimal(0)), **self._monthly}
        mrr = {currency: _minor(cents, currency) for currency, cents in monthly.items()}
        return {
            "active_subscriptions": Metric(value=self._active),
            **money_metrics("mrr", mrr),
        }

    @property
    def notices(self) -> list[str]:
        """What the MRR does not have in it."""
        if not self._unpriced:
            return []
        return [f"The MRR is without {self._unpriced} active subscriptions that have no price yet."]


def _per_month(price: Json, quantity: int) -> Decimal:
    """Return what a price comes to in a month, in minor units."""
    if price["usage_aggregation"] is not None:
        return Decimal(0)
    return per_month(
        amount(price, quantity),
        price["renewal_interval_unit"],
        whole(price["renewal_interval_quantity"]),
    )
