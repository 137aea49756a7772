from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sites.platforms import stripe, stripe_api
from sites.platforms.base import CredentialsRefused, Figures, PlatformUnavailable
from sites.platforms.stripe import Credentials, Stripe
from sites.platforms.stripe_api import API_VERSION
from tests.sites.loopback import Request, http
from tests.sites.platforms.cases import NOW, SECRET, UTC_DAYS, SalesCases
from tests.sites.platforms.fakes.stripe import FakeStripe

# Put together here, so that no text in the repository looks like a key.
RESTRICTED, FULL, TESTING = (
    "_".join((kind, mode, SECRET.replace("-", "")))
    for kind, mode in (("rk", "live"), ("sk", "live"), ("rk", "test"))
)
ONE_HOUR_AGO = NOW - timedelta(hours=1)
YESTERDAY = date(2026, 2, 6)


class TestStripe(SalesCases):
    platform = Stripe()
    credentials: ClassVar[Mapping[str, str]] = {"api_key": RESTRICTED}
    right = "Balance: Read"

    def platform_at(self, origin: str) -> Stripe:
        return Stripe(origin)

    def vendor(self, time_zone: ZoneInfo = UTC_DAYS) -> FakeStripe:
        return FakeStripe(RESTRICTED)

    def sell(self, vendor: FakeStripe, amount_minor: int, currency: str, at: datetime) -> None:
        vendor.book("charge", amount_minor, currency, at)

    def figures(self, vendor: FakeStripe) -> Figures:
        return self.fetch(vendor).figures

    def metrics(self, vendor: FakeStripe) -> dict[str, int | float]:
        return {name: metric.value for name, metric in self.figures(vendor).metrics.items()}

    def mrr(self, *items: Any, **subscription: Any) -> int | float:
        """Return the MRR in euros of one subscription to these items."""
        vendor = subscription.pop("vendor", None) or self.vendor()
        vendor.subscribe(*items, **subscription)
        return self.metrics(vendor)["mrr_eur"]

    def test_calls_carry_the_key_and_a_pinned_version(self) -> None:
        vendor = self.good
        self.fetch(vendor)
        for request in vendor.requests:
            assert request.headers["authorization"] == f"Bearer {RESTRICTED}"
            assert request.headers["stripe-version"] == API_VERSION

    def test_real_origin_is_the_default(self) -> None:
        assert Stripe()._origin == "https://api.stripe.com"
        assert not Stripe.Options.base_fields

    def test_days_are_asked_for_by_their_bounds_in_the_sites_zone(self) -> None:
        vendor = self.vendor()
        self.fetch(vendor, time_zone=ZoneInfo("Pacific/Auckland"), past_days=1)
        query = parse_qs(urlsplit(vendor.requests[0].target).query)
        first, end = (
            datetime.fromtimestamp(int(query[name][0]), UTC)
            for name in ("created[gte]", "created[lt]")
        )
        assert (first, end) == (
            datetime(2026, 2, 5, 11, tzinfo=UTC),
            datetime(2026, 2, 7, 11, tzinfo=UTC),
        )

    def test_each_category_is_what_it_is_to_the_owner(self) -> None:
        vendor = self.vendor()
        for category, amount, fee in (
            ("charge", 10_000, 320),
            ("charge", 5_000, 170),
            ("charge", 0, 0),
            ("partial_capture_reversal", -1_000, -30),
            ("refund", -2_000, 0),
            ("refund_failure", 500, 0),
            ("charge_failure", -700, 35),
            ("dispute", -3_000, 1_500),
            ("dispute_reversal", 3_000, -1_500),
            ("fee", -150, 0),
            ("network_cost", -40, 0),
            ("payout", -9_000, 0),
            ("transfer", -800, 0),
            ("a_new_one", 12_345, 7),
        ):
            vendor.book(category, amount, "eur", ONE_HOUR_AGO, fee=fee)
        figures = self.figures(vendor)
        assert (figures.sales, figures.revenue_minor) == (2, {"EUR": 14_000})
        assert {name: metric.to_json() for name, metric in figures.metrics.items()} == {
            "refunds_eur": {"value": 2_200, "unit": "EUR minor"},
            "disputes_eur": {"value": 0, "unit": "EUR minor"},
            "fees_eur": {"value": 685, "unit": "EUR minor"},
            "net_eur": {"value": 11_115, "unit": "EUR minor"},
            "mrr_eur": {"value": 0, "unit": "EUR minor"},
            "active_subscriptions": {"value": 0, "unit": ""},
        }

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(stripe._KINDS)),
                st.integers(-(10**6), 10**6),
                st.integers(-(10**3), 10**3),
                st.sampled_from(["eur", "jpy", "isk", "mga", "kwd"]),
            ),
            max_size=12,
        )
    )
    def test_net_is_what_is_left_in_every_currency(
        self, entries: list[tuple[str, int, int, str]]
    ) -> None:
        vendor = self.vendor()
        for category, amount, fee, currency in entries:
            # Whole ones of Stripe's units, so that nothing is rounded for ISK.
            vendor.book(category, amount * 100, currency, ONE_HOUR_AGO, fee=fee * 100)
        figures = self.figures(vendor)
        for currency, revenue in figures.revenue_minor.items():
            refunds, disputes, fees, net = (
                figures.metrics[f"{kind}_{currency.lower()}"].value
                for kind in ("refunds", "disputes", "fees", "net")
            )
            assert net == revenue - refunds - disputes - fees

    @pytest.mark.parametrize(
        ("currency", "of_stripe", "minor"),
        [
            ("JPY", 1_500, 1_500),
            ("KWD", 12_340, 12_340),
            ("HUF", 104_500, 104_500),
            ("TWD", 80_045, 80_045),
            ("ISK", 50_000, 500),
            ("UGX", 50_000, 500),
            ("MGA", 500, 50_000),
        ],
    )
    def test_stripes_own_units_become_those_of_iso_4217(
        self, currency: str, of_stripe: int, minor: int
    ) -> None:
        vendor = self.vendor()
        vendor.book("charge", of_stripe, currency, ONE_HOUR_AGO)
        vendor.subscribe(vendor.item(of_stripe), currency=currency.lower())
        figures = self.figures(vendor)
        assert figures.revenue_minor == {currency: minor}
        assert figures.metrics[f"mrr_{currency.lower()}"].value == minor

    def test_currencies_are_never_added_up(self) -> None:
        vendor = self.vendor()
        for currency in ("EUR", "JPY", "USD"):
            vendor.book("charge", 1_000, currency, ONE_HOUR_AGO, fee=10)
        figures = self.figures(vendor)
        assert figures.revenue_minor == {"EUR": 1_000, "JPY": 1_000, "USD": 1_000}
        assert figures.metrics["fees_jpy"].to_json() == {"value": 10, "unit": "JPY minor"}

    def test_refund_is_of_the_day_on_which_it_was_made(self) -> None:
        vendor = self.vendor()
        vendor.book("charge", 5_000, "eur", NOW - timedelta(days=1))
        vendor.book("refund", -5_000, "eur", ONE_HOUR_AGO)
        snapshot = self.fetch(vendor)
        assert snapshot.days[YESTERDAY].revenue_minor == {"EUR": 5_000}
        assert snapshot.figures.revenue_minor == {"EUR": 0}
        assert snapshot.figures.metrics["refunds_eur"].value == 5_000

    @pytest.mark.parametrize(
        ("interval", "count", "mrr"),
        [
            ("month", 1, 1_200),
            ("month", 3, 400),
            ("year", 1, 100),
            ("week", 1, 5_200),
            ("day", 365, 100),
        ],
    )
    def test_prices_of_every_interval_are_spread_over_months(
        self, interval: str, count: int, mrr: int
    ) -> None:
        item = self.vendor().item(1_200, interval=interval, interval_count=count)
        assert self.mrr(item) == mrr

    def test_quantities_fractions_and_packages_are_in_the_mrr(self) -> None:
        make = self.vendor().item
        package = {"divide_by": 10, "round": "up"}
        assert self.mrr(make(500, 3)) == 1_500
        assert self.mrr(make("0.5", 41)) == 20  # Half to even.
        assert self.mrr(make(900, 11, transform_quantity=package)) == 1_800
        assert self.mrr(make(900, 11, transform_quantity={**package, "round": "down"})) == 900

    def test_fractions_are_rounded_once_after_adding_up(self) -> None:
        vendor = self.vendor()
        for _ in range(3):
            vendor.subscribe(vendor.item("33.4"))
        assert self.metrics(vendor)["mrr_eur"] == 100

    def test_usage_that_is_metered_is_left_out(self) -> None:
        make = self.vendor().item
        assert self.mrr(make(500), make(100, None, usage_type="metered")) == 500

    def test_only_active_subscriptions_that_are_paid_for_count(self) -> None:
        vendor = self.vendor()
        for status in ("active", "trialing", "paused", "past_due", "unpaid", "canceled"):
            vendor.subscribe(vendor.item(1_000), status=status)
        vendor.subscribe(vendor.item(1_000), pause_collection={"behavior": "void"})
        metrics = self.metrics(vendor)
        assert (metrics["active_subscriptions"], metrics["mrr_eur"]) == (1, 1_000)

    def test_all_pages_of_subscriptions_are_read(self) -> None:
        vendor = self.vendor()
        for _ in range(stripe.SUBSCRIPTIONS_PER_PAGE + 1):
            vendor.subscribe(vendor.item(100))
        metrics = self.metrics(vendor)
        assert (metrics["active_subscriptions"], metrics["mrr_eur"]) == (51, 5_100)
        assert len(vendor.requests) == 3

    def test_items_beyond_the_first_ten_of_a_subscription_are_read(self) -> None:
        vendor = self.vendor()
        vendor.page_limit = 7
        assert self.mrr(*(vendor.item(100) for _ in range(15)), vendor=vendor) == 1_500

    def test_discounts_that_come_back_are_taken_off(self) -> None:
        vendor = self.vendor()
        item, off = vendor.item(10_000), vendor.discount
        assert self.mrr(item, discounts=(off(percent_off=12.5),)) == 8_750
        assert self.mrr(item, discounts=(off(percent_off=50), off(percent_off=50))) == 2_500
        assert self.mrr(item, discounts=(off(amount_off=99_999, currency="eur"),)) == 0
        assert self.mrr(item, discounts=(off(percent_off=50, duration="once"),)) == 10_000
        assert self.mrr(item, discounts=(off(amount_off=100, currency="usd"),)) == 10_000
        for end, mrr in ((NOW, 10_000), (NOW + timedelta(days=1), 5_000)):
            ending = off(percent_off=50, duration="repeating", end=end)
            assert self.mrr(item, discounts=(ending,)) == mrr

    def test_amount_off_is_taken_off_each_invoice(self) -> None:
        vendor = self.vendor()
        off = vendor.discount(amount_off=1_200, currency="eur")
        assert self.mrr(vendor.item(12_000, interval="year"), discounts=(off,)) == 900

    def test_discount_of_one_item_leaves_the_others(self) -> None:
        vendor = self.vendor()
        half = vendor.item(1_000, discounts=(vendor.discount(percent_off=50),))
        assert self.mrr(half, vendor.item(1_000), vendor=vendor) == 1_500

    def test_prices_in_tiers_are_told_about(self) -> None:
        vendor = self.vendor()
        vendor.subscribe(vendor.item(None), vendor.item(700))
        snapshot = self.fetch(vendor)
        assert snapshot.figures.metrics["mrr_eur"].value == 700
        assert "without 1 subscription items" in snapshot.notices[0]

    @pytest.mark.parametrize(
        ("key", "notices"),
        [(RESTRICTED, ()), (FULL, (stripe.FULL_POWER,)), (TESTING, (stripe.TEST_MODE,))],
    )
    def test_key_that_should_be_another_one_is_told_about(
        self, key: str, notices: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(type(self), "credentials", {"api_key": key})
        snapshot = self.fetch(FakeStripe(key))
        assert snapshot.notices == notices
        assert key not in str(snapshot.to_json())

    @pytest.mark.parametrize(
        ("right", "named"),
        [
            ("rak_balance_read", "'Balance: Read'"),
            ("rak_subscription_read", "'Subscriptions: Read'"),
            ("rak_coupon_read", "'Coupons: Read'"),
        ],
    )
    def test_each_missing_right_is_named(self, right: str, named: str) -> None:
        vendor = self.good
        assert isinstance(vendor, FakeStripe)
        vendor.subscribe(vendor.item(100), discounts=(vendor.discount(percent_off=50),))
        vendor.rights.remove(right)
        error = self.refusal(vendor)
        assert isinstance(error, CredentialsRefused)
        assert named in str(error)

    def test_expired_key_is_named_as_such(self) -> None:
        error = self.refusal(http('{"error": {"code": "api_key_expired"}}', status=401))
        assert isinstance(error, CredentialsRefused)
        assert "has expired" in str(error)

    def test_entry_that_is_deleted_between_two_pages_is_for_the_next_sync(self) -> None:
        vendor = self.vendor()
        vendor.page_limit = 1
        for _ in range(2):
            vendor.subscribe(vendor.item(100))

        def answer(request: Request) -> bytes:
            shown = vendor(request)
            if request.target.startswith("/v1/subscriptions?"):
                vendor.subscriptions.clear()
            return shown

        error = self.refusal(answer)
        assert isinstance(error, PlatformUnavailable)
        assert "deleted at Stripe" in str(error)

    def test_account_with_too_much_to_read_is_an_error_and_not_a_wrong_total(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stripe_api, "MAX_CALLS", 3)
        vendor = self.vendor()
        vendor.page_limit = 1
        for _ in range(4):
            vendor.book("charge", 100, "eur", ONE_HOUR_AGO)
        error = self.refusal(vendor)
        assert isinstance(error, PlatformUnavailable)
        assert "more than 3 pages" in str(error)
        assert len(vendor.requests) == 3


@pytest.mark.parametrize("key", [RESTRICTED, FULL, TESTING, f" {RESTRICTED} "])
def test_key_is_taken(key: str) -> None:
    form = Credentials({"api_key": key})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["api_key"] == key.strip()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("_".join(("pk", "live", "madeup")), "publishable"),
        ("_".join(("whsec", "madeup")), "begins with rk_ or sk_"),
        (RESTRICTED + "\nX-Header: 1", "begins with rk_ or sk_"),
        ("", "required"),
    ],
)
def test_what_is_no_key_to_read_with_is_refused(key: str, words: str) -> None:
    form = Credentials({"api_key": key})
    assert words in str(form.errors["api_key"])
    assert key == "" or key not in str(form)
