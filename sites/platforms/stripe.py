"""Stripe: revenue, refunds and fees from the balance, recurring revenue from the subscriptions."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms

from sites.outbound import Client
from sites.platforms import json_api
from sites.platforms.base import FetchRequest, Limits, Metric, Platform, Snapshot
from sites.platforms.json_api import Json, whole
from sites.platforms.ledger import Ledger, money_metrics
from sites.platforms.recurring import per_month
from sites.platforms.stripe_api import (
    BALANCE,
    ORIGIN,
    SUBSCRIPTIONS,
    Account,
    currency_of,
    minor_of,
)

TRANSACTIONS_PER_PAGE = 100  # Stripe gives no more.
#: One with ten items takes up to 20 kB, and a body of more than 2 MB is refused.
SUBSCRIPTIONS_PER_PAGE = 50

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
    longest_past_days = 365

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
        account = Account(client, self._origin, key)
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


async def _read_balance(account: Account, request: FetchRequest) -> Ledger:
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
    currency = currency_of(entry["currency"])
    amount, fee, net = (minor_of(whole(entry[name]), currency) for name in ("amount", "fee", "net"))
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


class _Recurring:
    """Active subscriptions and what they bring in each month, in Stripe's units."""

    def __init__(self, now: datetime) -> None:
        self._now_s = _unix_s(now)
        self._active = 0
        self._unpriced = 0
        self._monthly: dict[str, Decimal] = {}
        self._unfinished: list[Json] = []

    async def read_from(self, account: Account) -> None:
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
        currency = currency_of(subscription["currency"])
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
            elif currency_of(coupon["currency"]) == currency:
                amount -= per_month(Decimal(whole(coupon["amount_off"])), *interval)
        return max(amount, Decimal(0))

    def metrics(self, currencies: frozenset[str]) -> dict[str, Metric]:
        """Return the figures; currencies that are met elsewhere have an MRR of 0 here."""
        monthly = {**dict.fromkeys(currencies, Decimal(0)), **self._monthly}
        mrr = {currency: minor_of(amount, currency) for currency, amount in monthly.items()}
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
