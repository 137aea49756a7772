import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import jwt
import pytest

from sites.platforms import lemon_squeezy, lemon_squeezy_api
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    Metric,
    PlatformUnavailable,
    Snapshot,
)
from sites.platforms.lemon_squeezy import TEST_MODE, LemonSqueezy
from tests.sites.loopback import Loopback, Request, http, outbound
from tests.sites.platforms.cases import NOW, SECRET, UTC_DAYS, SalesCases
from tests.sites.platforms.fakes.lemon_squeezy import FakeLemonSqueezy

EARLIER = NOW - timedelta(hours=1)


class TestLemonSqueezy(SalesCases):
    platform = LemonSqueezy()
    credentials: ClassVar[Mapping[str, str]] = {"api_key": SECRET}
    right = "owner of the store"

    def platform_at(self, origin: str) -> LemonSqueezy:
        return LemonSqueezy(origin)

    def vendor(self, time_zone: ZoneInfo = UTC_DAYS) -> FakeLemonSqueezy:
        return FakeLemonSqueezy(SECRET)

    def sell(self, vendor: Any, amount_minor: int, currency: str, at: datetime) -> None:
        vendor.order(amount_minor, currency, at)

    def metrics(self, vendor: FakeLemonSqueezy, **how: Any) -> dict[str, int | float]:
        figures = self.fetch(vendor, **how).figures
        return {name: metric.value for name, metric in figures.metrics.items()}

    # --- What was paid ----------------------------------------------------------------------------

    def test_renewals_and_updates_are_added_and_initial_invoices_are_the_orders_again(self) -> None:
        vendor = self.vendor()
        vendor.order(1000, "EUR", EARLIER)
        vendor.invoice(1000, "EUR", EARLIER, reason="initial")
        vendor.invoice(1000, "EUR", EARLIER, reason="renewal")
        vendor.invoice(300, "EUR", EARLIER, reason="updated")
        snapshot = self.fetch(vendor)
        assert snapshot.figures.revenue_minor == {"EUR": 2300}
        assert snapshot.figures.sales == 3
        assert snapshot.notices == ()

    def test_refunds_stand_beside_the_revenue(self) -> None:
        vendor = self.vendor()
        vendor.order(1000, "EUR", EARLIER, refunded_amount=250)
        vendor.order(700, "EUR", EARLIER, status="refunded", refunded_amount=700)
        vendor.invoice(900, "USD", EARLIER, refunded_amount=100)
        figures = self.fetch(vendor).figures
        assert figures.revenue_minor == {"EUR": 1700, "USD": 900}
        assert figures.metrics["refunds_eur"] == Metric(value=950, unit="EUR minor")
        assert figures.metrics["refunds_usd"] == Metric(value=100, unit="USD minor")

    def test_refund_without_an_amount_is_all_of_it(self) -> None:
        vendor = self.vendor()
        vendor.order(700, "EUR", EARLIER, status="refunded")
        vendor.order(400, "EUR", EARLIER)
        for order in vendor.objects["orders"]:
            del order["attributes"]["refunded_amount"]
        assert self.metrics(vendor)["refunds_eur"] == 700

    @pytest.mark.parametrize("status", ["pending", "failed", "fraudulent", "void"])
    def test_what_was_not_paid_is_no_revenue(self, status: str) -> None:
        vendor = self.vendor()
        vendor.order(1000, "EUR", EARLIER, status=status)
        vendor.invoice(1000, "EUR", EARLIER, status=status)
        snapshot = self.fetch(vendor)
        assert (snapshot.figures.sales, snapshot.figures.revenue_minor) == (0, {})
        assert snapshot.notices == ()

    def test_what_is_marked_with_an_unknown_word_is_left_out_and_told(self) -> None:
        vendor = self.vendor()
        vendor.order(1000, "EUR", EARLIER, status="half_paid")
        vendor.invoice(1000, "EUR", EARLIER, reason="gift")
        vendor.invoice(1000, "EUR", EARLIER, reason="gift")
        snapshot = self.fetch(vendor)
        assert snapshot.figures.sales == 0
        invoices, orders = snapshot.notices
        assert "2 invoices marked 'gift'" in invoices
        assert "1 orders marked 'half_paid'" in orders

    def test_order_of_nothing_is_no_sale(self) -> None:
        vendor = self.vendor()
        vendor.order(0, "EUR", EARLIER)
        assert self.fetch(vendor).figures.sales == 0

    def test_test_mode_is_not_counted(self) -> None:
        vendor = self.vendor()
        vendor.order(1000, "EUR", EARLIER, test_mode=True)
        vendor.invoice(1000, "EUR", EARLIER, test_mode=True)
        vendor.subscribe(vendor.price(), test_mode=True)
        snapshot = self.fetch(vendor)
        assert snapshot.figures.sales == 0
        assert snapshot.figures.metrics["active_subscriptions"].value == 0
        assert snapshot.notices == (TEST_MODE,)

    # --- Pages and stores -------------------------------------------------------------------------

    def test_pages_beyond_the_days_wanted_are_not_asked_for(self) -> None:
        vendor = self.vendor()
        vendor.page_limit = 2
        for days_ago in range(40):
            vendor.order(100, "EUR", NOW - timedelta(days=days_ago))
        self.fetch(vendor, past_days=3)
        pages = [request for request in vendor.requests if "/orders" in request.target]
        assert len(pages) == 3

    def test_order_that_moves_to_the_next_page_meanwhile_counts_once(self) -> None:
        vendor = self.vendor()
        vendor.page_limit = 2
        for days_ago in range(3):
            vendor.order(1999, "EUR", NOW - timedelta(days=days_ago))

        def answer_with_a_new_order(request: Request) -> bytes:
            if "orders" in request.target and "number%5D=2" in request.target:
                vendor.order(500, "EUR", NOW)
            return vendor(request)

        snapshot = self.fetch(answer_with_a_new_order)
        assert snapshot.figures.sales == 1
        assert sum(day.sales or 0 for day in snapshot.days.values()) == 2

    def test_too_many_pages_are_an_error_and_not_a_smaller_total(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lemon_squeezy_api, "MAX_CALLS", 2)
        error = self.refusal(self.paged())
        assert isinstance(error, PlatformUnavailable)
        assert "nothing was counted" in str(error)

    def test_one_store_of_several(self) -> None:
        vendor = self.vendor()
        other = vendor.add_store("USD")
        vendor.order(1000, "EUR", EARLIER)
        vendor.order(300, "USD", EARLIER, store_id=other)
        vendor.invoice(200, "USD", EARLIER, store_id=other)
        vendor.subscribe(vendor.price(), store_id=other)
        vendor.subscribe(vendor.price())
        everything = self.fetch(vendor).figures
        assert everything.revenue_minor == {"EUR": 1000, "USD": 500}
        assert everything.metrics["active_subscriptions"].value == 2
        one = self.fetch(vendor, store_id=str(other)).figures
        assert one.revenue_minor == {"USD": 500}
        assert one.metrics["active_subscriptions"].value == 1

    def test_wrong_store_is_named(self) -> None:
        error = self.refusal(self.good, store_id="4711")
        assert isinstance(error, ConfigurationRefused)
        assert "no store with the ID 4711" in str(error)

    def test_account_without_a_store_is_named_as_such(self) -> None:
        vendor = self.vendor()
        vendor.objects["stores"].clear()
        assert "has no store yet" in str(self.refusal(vendor))

    @pytest.mark.parametrize("store_id", ["shop", "1/../2", "-1", "1?x=1"])
    def test_store_is_a_number(self, store_id: str) -> None:
        form = self.platform.Options({"store_id": store_id})
        assert "store_id" in form.errors

    # --- Recurring revenue ------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("interval", "every", "mrr"),
        [("day", 1, 3042), ("week", 1, 433), ("month", 3, 33), ("year", 1, 8), ("year", 2, 4)],
    )
    def test_every_interval_is_spread_over_months(
        self, interval: str, every: int, mrr: int
    ) -> None:
        vendor = self.vendor()
        vendor.subscribe(vendor.price(100, interval, renewal_interval_quantity=every))
        assert self.metrics(vendor)["mrr_eur"] == mrr

    def test_fractions_are_rounded_once_all_are_added(self) -> None:
        vendor = self.vendor()
        price = vendor.price(100, "year")
        for _ in range(12):
            vendor.subscribe(price)
        assert self.metrics(vendor)["mrr_eur"] == 100

    def test_only_active_subscriptions_count(self) -> None:
        vendor = self.vendor()
        price = vendor.price(1000)
        for status in (
            "on_trial",
            "active",
            "paused",
            "past_due",
            "unpaid",
            "cancelled",
            "expired",
        ):
            vendor.subscribe(price, status=status)
        metrics = self.metrics(vendor)
        assert (metrics["active_subscriptions"], metrics["mrr_eur"]) == (1, 1000)

    def test_recurring_revenue_is_in_the_currency_of_the_store(self) -> None:
        vendor = self.vendor()
        yen = vendor.add_store("JPY")
        vendor.subscribe(vendor.price(1000), 2)
        vendor.subscribe(vendor.price(1500), store_id=yen)
        figures = self.fetch(vendor).figures
        assert figures.metrics["mrr_eur"] == Metric(value=2000, unit="EUR minor")
        assert figures.metrics["mrr_jpy"] == Metric(value=1500, unit="JPY minor")

    def test_usage_is_not_known_beforehand(self) -> None:
        vendor = self.vendor()
        vendor.subscribe(vendor.price(None, usage_aggregation="sum", unit_price_decimal="0.5"), 100)
        item = vendor.objects["subscriptions"][0]["attributes"]["first_subscription_item"]
        assert self.metrics(vendor)["mrr_eur"] == 0
        item["is_usage_based"] = True
        assert self.metrics(vendor) == {
            "active_subscriptions": 1,
            "mrr_eur": 0,
        }

    def test_subscription_without_a_price_is_told(self) -> None:
        vendor = self.vendor()
        vendor.subscribe(None)
        snapshot = self.fetch(vendor)
        assert snapshot.figures.metrics["active_subscriptions"].value == 1
        assert "without 1 active subscriptions" in snapshot.notices[0]

    def test_unknown_scheme_is_a_bad_response(self) -> None:
        vendor = self.vendor()
        vendor.subscribe(vendor.price(scheme="auction"))
        assert isinstance(self.refusal(vendor), BadResponse)

    def test_prices_are_read_once_in_the_life_of_the_process(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vendor = self.vendor()
        for _ in range(3):
            vendor.subscribe(vendor.price())

        def asked_for() -> int:
            return len([request for request in vendor.requests if "/prices/" in request.target])

        async def run() -> list[int]:
            counts = []
            async with Loopback(vendor) as server:
                platform = LemonSqueezy(server.url(""))
                monkeypatch.setattr(self, "platform_at", lambda origin: platform)
                for limit in (100, 100, 2):
                    monkeypatch.setattr(lemon_squeezy, "MAX_PRICES", limit)
                    if limit == 2:
                        vendor.subscribe(vendor.price())
                    await self.fetch_through(outbound(), self.options(""))
                    counts.append(asked_for())
                assert len(platform._prices) <= 3
            return counts

        assert asyncio.run(run()) == [3, 3, 4]

    # --- The key ----------------------------------------------------------------------------------

    def fetch_with_key_until(self, exp: Any, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
        key = jwt.encode({"exp": exp} if exp else {}, "made-up" * 8)
        vendor = FakeLemonSqueezy(key)
        monkeypatch.setattr(type(self), "credentials", {"api_key": key})
        return self.fetch(vendor)

    def test_key_tells_when_it_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        end = NOW + timedelta(days=200)
        snapshot = self.fetch_with_key_until(end.timestamp(), monkeypatch)
        assert snapshot.credentials_expire_at == end
        assert snapshot.notices == ()

    def test_key_that_ends_soon_is_a_notice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        end = datetime(2026, 2, 20, tzinfo=UTC)
        snapshot = self.fetch_with_key_until(int(end.timestamp()), monkeypatch)
        assert "ends on 20 February 2026" in snapshot.notices[0]

    @pytest.mark.parametrize("exp", [None, 1e30])
    def test_end_that_cannot_be_read_is_not_known(
        self, exp: float | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        snapshot = self.fetch_with_key_until(exp, monkeypatch)
        assert snapshot.credentials_expire_at is None

    def test_key_that_is_no_token_has_no_known_end(self) -> None:
        assert self.fetch(self.good).credentials_expire_at is None

    def test_wait_that_is_asked_for_is_told(self) -> None:
        vendor = self.good
        vendor.is_throttled = True
        assert self.refusal(vendor).retry_after_s == 30

    @pytest.mark.parametrize(
        "changes",
        [
            {"created_at": "2026-02-07T10:00:00"},
            {"created_at": "yesterday"},
            {"currency": "Euro"},
            {"total": "10.00"},
            {"total": 10.5},
            {"total": 10**30},
            {"status": None, "test_mode": 0, "total": None},
        ],
    )
    def test_order_of_another_form_is_a_bad_response(self, changes: dict[str, Any]) -> None:
        vendor = self.vendor()
        vendor.order(1000, "EUR", EARLIER)
        attributes = vendor.objects["orders"][0]["attributes"]
        attributes |= {"status": "paid", **changes}
        if changes.get("status", "") is None:
            attributes["status"] = ["paid"]
        assert isinstance(self.refusal(vendor), BadResponse)

    def test_links_of_an_answer_lead_nowhere(self) -> None:
        vendor = self.vendor()
        store = vendor.objects["stores"][0]
        page = {"meta": {"page": {"lastPage": 1}}, "links": {"next": "http://10.0.0.7/"}}
        vendor.instead = {1: http(json.dumps({**page, "data": [store]}))}
        assert self.fetch(vendor).figures.sales == 0
