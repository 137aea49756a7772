"""Shopify: orders and revenue of a shop, by its GraphQL Admin API."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django import forms

from sites.outbound import Client
from sites.platforms import json_api
from sites.platforms.base import (
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    Limits,
    Platform,
    PlatformUnavailable,
    Snapshot,
)
from sites.platforms.json_api import Json, JsonAnswer
from sites.platforms.ledger import Ledger
from sites.platforms.money import to_minor
from sites.platforms.shopify_api import (
    API_VERSION,
    READ_ALL_ORDERS,
    READ_ORDERS,
    ShopifyApi,
    exchange_credentials,
)
from sites.platforms.tokens import Token, Tokens

ORIGIN = "https://{shop}"
#: An order costs 3 points, and a query of more than 1,000 is refused (shopify.dev/docs/api/usage/limits).
PAGE_SIZE = 100
MAX_PAGES = 100
#: What the right read_orders shows; older orders take read_all_orders besides.
VISIBLE = timedelta(days=60)

_SHOP = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\.myshopify\.com", re.ASCII)

# Oldest first, so that an order made meanwhile lengthens the last page and moves no other.
_QUERY = """
query Orders($search: String!, $first: Int!, $after: String, $isFirst: Boolean!) {
  shop @include(if: $isFirst) { ianaTimezone }
  currentAppInstallation @include(if: $isFirst) { accessScopes { handle } }
  orders(first: $first, after: $after, sortKey: PROCESSED_AT, query: $search) {
    pageInfo { hasNextPage endCursor }
    nodes {
      processedAt test cancelledAt displayFinancialStatus
      currentTotalPriceSet { shopMoney { amount currencyCode } }
    }
  }
}
"""

#: The money was never taken, and will not be.
_NEVER_PAID = frozenset({"VOIDED", "EXPIRED"})


class Options(forms.Form):
    """Which shop to read, and what lets SoloBoard in."""

    shop = forms.CharField(
        max_length=100,
        help_text="Its own address at Shopify (Settings, Domains), such as my-shop.myshopify.com.",
    )
    access = forms.ChoiceField(
        label="Access by",
        choices=[
            ("app", "client ID and secret of an app"),
            ("token", "permanent access token"),
        ],
        initial="app",
        help_text="Apps made since 2026 have no permanent token.",
    )

    def clean_shop(self) -> str:
        """Take nothing that could lead to another host than a shop's."""
        shop: str = self.cleaned_data["shop"].lower().removeprefix("https://").removesuffix("/")
        if "." not in shop:
            shop += ".myshopify.com"
        if not _SHOP.fullmatch(shop):
            raise forms.ValidationError("Enter the address as my-shop.myshopify.com.")
        return shop


class Credentials(forms.Form):
    """What the chosen kind of access needs."""

    client_id = forms.CharField(
        label="Client ID", required=False, max_length=200, help_text="Of the app (Settings)."
    )
    client_secret = forms.CharField(
        label="Client secret",
        required=False,
        max_length=200,
        widget=forms.PasswordInput,
        help_text="Of the app (Settings).",
    )
    access_token = forms.CharField(
        label="Access token",
        required=False,
        max_length=200,
        widget=forms.PasswordInput,
        help_text="The Admin API access token (shpat_…) of an app made in the shop itself.",
    )


class Shopify(Platform):
    """The orders of the days wanted.

    origin: of a shop's API, with its name as {shop}; another one only where something stands in for
        Shopify.
    """

    key = "shopify"
    name = "Shopify"
    description = "Orders and revenue of a Shopify shop."
    Options = Options
    Credentials = Credentials
    # 100 points a second for each app in each shop (shopify.dev/docs/api/usage/limits), and a page
    # takes up to 300 of them.
    limits = Limits(concurrent=2, per_minute=20)
    longest_past_days = 60  # Without a right of its own an app sees no more.

    def __init__(self, origin: str = ORIGIN) -> None:
        self._origin = origin
        self._tokens = Tokens()

    def required_credentials(self, options: Mapping[str, Any]) -> frozenset[str]:
        """The token, or what is exchanged for one."""
        if options["access"] == "token":
            return frozenset({"access_token"})
        return frozenset({"client_id", "client_secret"})

    def account(self, options: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        """Return the shop; it has limits of its own for each app."""
        return str(options["shop"])

    async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
        """Read the orders, every page of them."""
        shop = request.options["shop"]
        if not _SHOP.fullmatch(shop):
            # What is stored may not have come through the form, and becomes the name of a host.
            raise ConfigurationRefused("the shop is not named as my-shop.myshopify.com")
        origin = self._origin.format(shop=shop)
        if request.options["access"] == "token":
            token = request.credentials["access_token"]
            return await _Orders(request).read(ShopifyApi(client, origin, token))
        return await self._fetch_by_app(request, client, origin)

    async def _fetch_by_app(self, request: FetchRequest, client: Client, origin: str) -> Snapshot:
        pair = request.credentials["client_id"], request.credentials["client_secret"]
        account = (origin, *pair)

        async def exchange() -> Token:
            exchanged.append(True)
            return await exchange_credentials(client, origin, *pair, now=request.now)

        while True:
            exchanged: list[bool] = []
            token = await self._tokens.get(*account, now=request.now, exchange=exchange)
            try:
                return await _Orders(request).read(ShopifyApi(client, origin, token.text))
            except CredentialsRefused:
                self._tokens.forget(*account, token=token)
                # A token that was kept may have been revoked, or be older than a right given since.
                if exchanged:
                    raise


class _Orders:
    """The orders of the days wanted, and what their shop says of itself."""

    def __init__(self, request: FetchRequest) -> None:
        self._request = request
        self._ledger = Ledger(request)
        self._shop_zone = ""
        self._rights: frozenset[str] = frozenset()

    async def read(self, api: ShopifyApi) -> Snapshot:
        """Read every page."""
        first = await self._ask(api, None)
        with json_api.reading("Shopify's"):
            self._read_shop(first.data["data"])
            cursor = self._read_page(first.data["data"])
        for _ in range(1, MAX_PAGES):
            if cursor is None:
                break
            page = await self._ask(api, cursor)
            with json_api.reading("Shopify's"):
                cursor = self._read_page(page.data["data"])
        if cursor is not None:
            raise PlatformUnavailable(
                f"this shop has more than {MAX_PAGES * PAGE_SIZE} orders in the days wanted; "
                "nothing was counted, because a part of them would be wrong"
            )
        return first.snapshot(
            self._request,
            self._ledger.figures(self._request.today),
            days={d: f for d, f in self._ledger.past_days().items() if d >= self._first_known},
            notices=tuple(self._notices(first)),
        )

    async def _ask(self, api: ShopifyApi, cursor: str | None) -> JsonAnswer:
        since = self._request.begin_of(self._request.first_day).astimezone(UTC)
        variables = {
            "search": f"processed_at:>='{since:%Y-%m-%dT%H:%M:%SZ}'",
            "first": PAGE_SIZE,
            "after": cursor,
            "isFirst": cursor is None,
        }
        return await api.ask(_QUERY, variables)

    def _read_shop(self, data: Json) -> None:
        self._shop_zone = str(data["shop"]["ianaTimezone"])
        scopes = data["currentAppInstallation"]["accessScopes"]
        self._rights = frozenset(scope["handle"] for scope in scopes)

    def _read_page(self, data: Json) -> str | None:
        """Enter the orders of a page and return the cursor that leads to the next one."""
        orders = data["orders"]
        for order in orders["nodes"]:
            self._enter(order)
        page = orders["pageInfo"]
        return str(page["endCursor"]) if page["hasNextPage"] else None

    def _enter(self, order: Json) -> None:
        is_void = order["displayFinancialStatus"] in _NEVER_PAID
        if order["test"] or order["cancelledAt"] is not None or is_void:
            return
        processed_at = datetime.fromisoformat(order["processedAt"])
        money = order["currentTotalPriceSet"]["shopMoney"]
        currency = money["currencyCode"]
        if processed_at.tzinfo is None or not re.fullmatch("[A-Z]{3}", currency):
            raise ValueError("no moment or no currency")
        self._ledger.enter(
            processed_at,
            currency,
            sales=1,
            revenue_minor=to_minor(json_api.number(money["amount"]), currency),
        )

    @property
    def _first_known(self) -> date:
        """The first day whose orders can all be seen."""
        if READ_ALL_ORDERS in self._rights:
            return self._request.first_day
        visible_since = self._request.now - VISIBLE
        return max(self._request.first_day, self._request.day_of(visible_since) + timedelta(days=1))

    def _notices(self, first: JsonAnswer) -> Iterator[str]:
        served = first.answer.headers.get("X-Shopify-API-Version", API_VERSION)
        if served != API_VERSION:
            yield (
                f"Shopify no longer serves version {API_VERSION} of its API, which SoloBoard was "
                "written for, and answers in another one. Update SoloBoard."
            )
        if self._shop_zone != self._request.time_zone.key:
            yield (
                f"The days are those of {self._request.time_zone.key}, the time zone of this site; "
                f"the shop's own is {self._shop_zone[:40]}, whose days Shopify's reports show."
            )
        if self._first_known > self._request.first_day:
            yield (
                f"Shopify shows the orders of the last {VISIBLE.days} days to an app without the "
                f"right '{READ_ALL_ORDERS}': days before {self._first_known:%d %B %Y} are not known."
            )
        if further := sorted(self._rights - {READ_ORDERS, READ_ALL_ORDERS}):
            yield (
                f"The app may do more than it has to ({', '.join(further)[:200]}). Leave it "
                f"'{READ_ORDERS}' alone."
            )
