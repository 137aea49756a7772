import asyncio
import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest

from sites.platforms import shopify
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    PlatformUnavailable,
    Snapshot,
)
from sites.platforms.money import to_units
from sites.platforms.shopify import ORIGIN, Shopify
from tests.sites.loopback import Loopback, http, outbound
from tests.sites.platforms.cases import NOW, SECRET, UTC_DAYS, SalesCases
from tests.sites.platforms.fakes.shopify import FakeShopify

EARLIER = NOW - timedelta(hours=1)
TOKEN, CLIENT_ID, CLIENT_SECRET = SECRET, "made-up-id", "made-up-client-secret"
SHOP = "made-up.myshopify.com"


class ShopifyCases(SalesCases):
    """What holds for both kinds of access."""

    platform = Shopify()
    right = "read_orders"
    access: ClassVar[str]

    def platform_at(self, origin: str) -> Shopify:
        return Shopify(origin)

    def typed(self, url: str) -> dict[str, Any]:
        return {"shop": SHOP, "access": self.access}

    def vendor(self, time_zone: ZoneInfo = UTC_DAYS) -> FakeShopify:
        vendor = FakeShopify(token=TOKEN, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, now=NOW)
        vendor.time_zone = time_zone.key
        return vendor

    @property
    def good(self) -> FakeShopify:
        vendor = self.vendor()
        vendor.sell("19.99", "EUR", EARLIER)
        return vendor

    def sell(self, vendor: Any, amount_minor: int, currency: str, at: datetime) -> None:
        vendor.sell(f"{to_units(amount_minor, currency)}", currency, at)


class TestShopifyByToken(ShopifyCases):
    access = "token"
    credentials: ClassVar[Mapping[str, str]] = {"access_token": TOKEN}

    # --- Orders -----------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "changes",
        [
            {"test": True},
            {"cancelledAt": "2026-02-07T10:00:00Z"},
            {"displayFinancialStatus": "VOIDED"},
            {"displayFinancialStatus": "EXPIRED"},
        ],
    )
    def test_orders_that_bring_in_nothing_are_dropped(self, changes: dict[str, Any]) -> None:
        vendor = self.vendor()
        vendor.sell("10.00", "EUR", EARLIER, **changes)
        figures = self.fetch(vendor).figures
        assert (figures.sales, figures.revenue_minor) == (0, {})

    @pytest.mark.parametrize("status", ["PENDING", "AUTHORIZED", "PARTIALLY_REFUNDED", None])
    def test_other_orders_count_with_what_they_come_to_now(self, status: str | None) -> None:
        vendor = self.vendor()
        vendor.sell("10.00", "EUR", EARLIER, displayFinancialStatus=status)
        figures = self.fetch(vendor).figures
        assert (figures.sales, figures.revenue_minor) == (1, {"EUR": 1000})

    @pytest.mark.parametrize(
        ("amount", "currency", "minor"),
        [
            ("0.29", "EUR", 29),
            ("10", "EUR", 1000),
            ("12.5", "EUR", 1250),
            ("1500.0", "JPY", 1500),
            ("1.234", "KWD", 1234),
            ("90071992547409.93", "EUR", 9007199254740993),
        ],
    )
    def test_amounts_are_read_exactly(self, amount: str, currency: str, minor: int) -> None:
        vendor = self.vendor()
        vendor.sell(amount, currency, EARLIER)
        assert self.fetch(vendor).figures.revenue_minor == {currency: minor}

    def test_currencies_are_never_added(self) -> None:
        vendor = self.vendor()
        vendor.sell("10.00", "EUR", EARLIER)
        vendor.sell("20.00", "USD", EARLIER)
        assert self.fetch(vendor).figures.revenue_minor == {"EUR": 1000, "USD": 2000}

    @pytest.mark.parametrize(
        "changes",
        [
            {"processedAt": "2026-02-07T10:00:00"},
            {"processedAt": None},
            {"currentTotalPriceSet": None},
            {"currentTotalPriceSet": {"shopMoney": {"amount": "1e9999", "currencyCode": "EUR"}}},
            {"currentTotalPriceSet": {"shopMoney": {"amount": "ten", "currencyCode": "EUR"}}},
            {"currentTotalPriceSet": {"shopMoney": {"amount": "10", "currencyCode": "euros"}}},
        ],
    )
    def test_order_of_another_form_is_a_bad_response(self, changes: dict[str, Any]) -> None:
        vendor = self.vendor()
        vendor.sell("10.00", "EUR", EARLIER)
        # The fake sorts and selects by the moment, so the answer is given as it is.
        vendor.instead = {1: http(json.dumps(self.document({**vendor.orders[0], **changes})))}
        assert isinstance(self.refusal(vendor), BadResponse)

    def document(self, *orders: object) -> dict[str, Any]:
        page = {"hasNextPage": False, "endCursor": None}
        installation = {"accessScopes": [{"handle": "read_orders"}]}
        data = {
            "shop": {"ianaTimezone": "UTC"},
            "currentAppInstallation": installation,
            "orders": {"pageInfo": page, "nodes": list(orders)},
        }
        return {"data": data}

    def test_too_many_orders_are_an_error_and_not_a_smaller_total(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shopify, "MAX_PAGES", 2)
        vendor = self.vendor()
        vendor.page_limit = 2
        for number in range(4):
            vendor.sell("1.00", "EUR", EARLIER + timedelta(minutes=number))
        assert self.fetch(vendor).figures.sales == 4
        vendor.sell("1.00", "EUR", EARLIER)
        error = self.refusal(vendor)
        assert isinstance(error, PlatformUnavailable)
        assert "nothing was counted" in str(error)

    # --- Notices ----------------------------------------------------------------------------------

    def test_nothing_is_remarked_when_all_is_as_it_should_be(self) -> None:
        assert self.fetch(self.good, past_days=100).notices == ()

    def test_other_version_is_told(self) -> None:
        vendor = self.good
        vendor.oldest_version = "2027-01"
        (notice,) = self.fetch(vendor).notices
        assert "no longer serves version 2026-10" in notice

    def test_shop_of_another_time_zone_is_told(self) -> None:
        vendor = self.good
        vendor.time_zone = "America/New_York"
        (notice,) = self.fetch(vendor).notices
        assert "UTC" in notice
        assert "America/New_York" in notice

    def test_rights_beyond_the_one_needed_are_told(self) -> None:
        vendor = self.good
        vendor.scopes += ["write_products", "read_customers"]
        (notice,) = self.fetch(vendor).notices
        assert "read_customers, write_products" in notice

    def test_days_that_the_app_cannot_see_are_not_known(self) -> None:
        vendor = self.vendor()
        vendor.scopes.remove("read_all_orders")
        for days_ago in (59, 60, 61, 70):
            vendor.sell("10.00", "EUR", NOW - timedelta(days=days_ago))
        snapshot = self.fetch(vendor, past_days=70)
        # Of the day 60 days ago the morning cannot be seen.
        assert min(snapshot.days) == date(2025, 12, 10)
        assert len(snapshot.days) == 59
        assert snapshot.days[date(2025, 12, 10)].sales == 1
        (notice,) = snapshot.notices
        assert "days before 10 December 2025 are not known" in notice

    def test_days_that_the_app_can_see_are_all_known(self) -> None:
        vendor = self.vendor()
        vendor.scopes.remove("read_all_orders")
        snapshot = self.fetch(vendor, past_days=59)
        assert len(snapshot.days) == 59
        assert snapshot.notices == ()

    # --- Limits -----------------------------------------------------------------------------------

    def test_throttled_query_is_waited_out(self) -> None:
        vendor = self.good
        vendor.points, vendor.restore_rate = 301.0, 10.0
        assert self.fetch(vendor).figures.sales == 1
        assert len(vendor.requests) == 2

    def test_wait_that_is_too_long_is_left_to_the_next_sync(self) -> None:
        vendor = self.good
        vendor.points, vendor.restore_rate = 2.0, 1.0
        error = self.refusal(vendor)
        assert isinstance(error, PlatformUnavailable)
        assert error.retry_after_s == 300
        assert len(vendor.requests) == 1

    def test_throttling_without_figures_is_waited_out_as_well(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sites.platforms.shopify_api.USUAL_WAIT_S", 0.01)
        vendor = self.good
        error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
        vendor.instead = {1: http(json.dumps({"errors": [error]}))}
        assert self.fetch(vendor).figures.sales == 1

    # --- What is wrong ----------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("INTERNAL_SERVER_ERROR", PlatformUnavailable),
            ("SHOP_INACTIVE", ConfigurationRefused),
            ("MAX_COST_EXCEEDED", BadResponse),
            (SECRET, BadResponse),
        ],
    )
    def test_error_of_a_query_is_put_into_words(self, code: str, kind: type[Exception]) -> None:
        error = {"message": SECRET, "extensions": {"code": code}}
        assert isinstance(self.refusal(http(json.dumps({"errors": [error]}))), kind)

    def test_errors_that_are_no_list_are_a_bad_response(self) -> None:
        for errors in ("text", {"a": 1}, 1):
            answer = http(json.dumps({"errors": errors, "data": None}))
            assert isinstance(self.refusal(answer), BadResponse)

    @pytest.mark.parametrize(
        ("status", "words"),
        [(402, "closed until its owner"), (423, "closed until its owner"), (404, "no such shop")],
    )
    def test_shop_that_cannot_be_read_is_named_as_such(self, status: int, words: str) -> None:
        error = self.refusal(http('{"errors": "..."}', status=status))
        assert isinstance(error, ConfigurationRefused)
        assert words in str(error)

    # --- The shop ---------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "shop",
        ["My-Shop.myshopify.com", "https://my-shop.myshopify.com/", "my-shop", " my-shop "],
    )
    def test_shop_may_be_typed_in_several_ways(self, shop: str) -> None:
        form = self.platform.Options({"shop": shop, "access": "token"})
        assert form.is_valid(), form.errors
        assert form.cleaned_data["shop"] == "my-shop.myshopify.com"

    @pytest.mark.parametrize(
        "shop",
        [
            "shop.example",
            "evil.example/my-shop.myshopify.com",
            "my-shop.myshopify.com.evil.example",
            "my-shop.myshopify.com@evil.example",
            "my-shop.myshopify.com:8080",
            "evil.example#.myshopify.com",
            "evil.example?.myshopify.com",
            "a.b.myshopify.com",
            "-shop.myshopify.com",
            ".myshopify.com",
            "{shop}.myshopify.com",
            "\u017fhop.myshopify.com",
            "shop.myshopify.com\n.evil.example",
            "http://my-shop.myshopify.com",
        ],
    )
    def test_nothing_that_leads_elsewhere_is_a_shop(self, shop: str) -> None:
        assert "shop" in self.platform.Options({"shop": shop, "access": "token"}).errors
        options = {"shop": shop, "access": "token"}
        with pytest.raises(ConfigurationRefused, match="not named as"):
            asyncio.run(self.fetch_through(outbound(), options))

    def test_shop_becomes_the_host(self) -> None:
        assert ORIGIN.format(shop=SHOP) == "https://made-up.myshopify.com"

    def test_account_is_the_shop(self) -> None:
        assert self.platform.account(self.options(""), self.credentials) == SHOP


class TestShopifyByApp(ShopifyCases):
    access = "app"
    credentials: ClassVar[Mapping[str, str]] = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }

    async def fetch_with(
        self, platform: Shopify, server: Loopback, now: datetime = NOW, secret: str = CLIENT_SECRET
    ) -> Snapshot:
        request = FetchRequest(
            options=self.options(""),
            credentials={"client_id": CLIENT_ID, "client_secret": secret},
            time_zone=UTC_DAYS,
            now=now,
        )
        async with outbound().client(timeout_s=10) as client:
            return await platform.fetch(request, client)

    def run(self, vendor: FakeShopify, *changes: dict[str, Any]) -> None:
        """Fetch with one platform, again and again; each time with other arguments."""

        async def run() -> None:
            async with Loopback(vendor) as server:
                platform = Shopify(server.url("", "shop.example"))
                for change in changes:
                    await self.fetch_with(platform, server, **change)

        asyncio.run(run())

    def test_credentials_are_exchanged_once_a_day(self) -> None:
        vendor = self.good
        self.run(vendor, {}, {"now": NOW + timedelta(hours=23)})
        assert len(vendor.exchanges) == 1
        self.run(vendor, {}, {"now": NOW + timedelta(hours=24)})
        assert len(vendor.exchanges) == 3
        tokens = {request.headers["x-shopify-access-token"] for request in vendor.requests}
        assert len(tokens) == 3

    def test_fetches_at_the_same_time_make_one_exchange(self) -> None:
        vendor = self.good

        async def run() -> list[Snapshot]:
            async with Loopback(vendor) as server:
                platform = Shopify(server.url("", "shop.example"))
                fetches = [self.fetch_with(platform, server) for _ in range(5)]
                return await asyncio.gather(*fetches)

        assert [snapshot.figures.sales for snapshot in asyncio.run(run())] == [1] * 5
        assert len(vendor.exchanges) == 1

    def test_token_that_was_revoked_is_exchanged_anew(self) -> None:
        vendor = self.good

        async def run() -> None:
            async with Loopback(vendor) as server:
                platform = Shopify(server.url("", "shop.example"))
                await self.fetch_with(platform, server)
                vendor.tokens.clear()
                await self.fetch_with(platform, server)

        asyncio.run(run())
        assert len(vendor.exchanges) == 2

    def test_right_that_is_given_later_is_found(self) -> None:
        vendor = self.good

        async def run() -> None:
            async with Loopback(vendor) as server:
                platform = Shopify(server.url("", "shop.example"))
                vendor.lacks_rights = True
                with pytest.raises(CredentialsRefused):
                    await self.fetch_with(platform, server)
                vendor.lacks_rights = False
                await self.fetch_with(platform, server)

        asyncio.run(run())
        assert len(vendor.exchanges) == 2

    def test_other_secret_is_not_let_in_by_the_token_of_the_right_one(self) -> None:
        vendor = self.good
        with pytest.raises(CredentialsRefused):
            self.run(vendor, {}, {"secret": "made-up-wrong"})
        assert len(vendor.exchanges) == 2

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            ("invalid_client", "does not know this client ID with this client secret"),
            ("application_cannot_be_found", "does not know this client ID"),
            ("app_not_installed", "not installed in this shop"),
            ("shop_not_permitted", "different organisations"),
        ],
    )
    def test_what_hinders_the_exchange_is_said(self, error: str, words: str) -> None:
        vendor = self.good
        vendor.not_exchanged = error
        refused = self.refusal(vendor)
        assert isinstance(refused, CredentialsRefused)
        assert words in str(refused)

    @pytest.mark.parametrize(
        "token",
        [
            {},
            {"access_token": 1, "expires_in": 86399},
            {"access_token": "a\r\nb", "expires_in": 86399},
            {"access_token": "made-up", "expires_in": "soon"},
            {"access_token": "made-up", "expires_in": 10**30},
        ],
    )
    def test_exchange_of_another_form_is_a_bad_response(self, token: dict[str, Any]) -> None:
        assert isinstance(self.refusal(http(json.dumps(token))), BadResponse)

    def test_each_kind_of_access_names_what_it_needs(self) -> None:
        needs = self.platform.required_credentials
        assert needs({"access": "app"}) == {"client_id", "client_secret"}
        assert needs({"access": "token"}) == {"access_token"}
