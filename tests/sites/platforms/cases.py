"""Cases that every platform inherits, so that each is held to the same promises."""

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
import trustme

from sites.outbound import Outbound
from sites.platforms import PLATFORMS
from sites.platforms.base import (
    PAST_DAYS,
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    Figures,
    Platform,
    PlatformError,
    PlatformUnavailable,
    Snapshot,
)
from tests.sites.loopback import Answers, Loopback, http, outbound, resolving_to, server_tls
from tests.sites.platforms.fakes.vendor import Vendor

NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
TIMEOUT_S = 10.0
SECRET = "made-up-secret"
UTC_DAYS = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")


class PlatformCases(ABC):
    """Set `platform`, say how a site is set up at a URL, and give a good answer."""

    platform: ClassVar[Platform]
    credentials: ClassVar[Mapping[str, str]] = {}

    @property
    @abstractmethod
    def good(self) -> Answers | bytes:
        """What a host answers when all is well."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error may show."""
        return tuple(self.credentials.values())

    def platform_at(self, origin: str) -> Platform:
        """Return the platform; one with a vendor is told that the vendor is at this origin."""
        return self.platform

    @abstractmethod
    def typed(self, url: str) -> dict[str, Any]:
        """Return what an owner would enter for a site at this URL; the rest takes defaults."""

    def options(self, url: str, **changes: object) -> dict[str, Any]:
        """Return the cleaned options for a site at this URL."""
        form = self.platform.Options(self.platform.options({**self.typed(url), **changes}))
        assert form.is_valid(), form.errors
        return form.cleaned_data

    def fetch(
        self,
        answers: Answers | bytes | None,
        *,
        path: str = "/",
        host: str = "shop.example",
        timeout_s: float = TIMEOUT_S,
        now: datetime = NOW,
        time_zone: ZoneInfo = UTC_DAYS,
        past_days: int = PAST_DAYS,
        authority: trustme.CA | None = None,
        **changes: Any,
    ) -> Snapshot:
        """Fetch a site whose host gives these answers, over TLS if an authority is given."""
        tls = server_tls(authority.issue_cert(host)) if authority else None

        async def run() -> Snapshot:
            async with Loopback(answers, tls) as server:
                return await self.fetch_through(
                    outbound(authority),
                    self.options(server.url(path, host), **changes),
                    origin=server.url("", host),
                    timeout_s=timeout_s,
                    now=now,
                    time_zone=time_zone,
                    past_days=past_days,
                )

        return asyncio.run(run())

    def fetch_resolving_to(self, *addresses: str, url: str = "http://shop.example/") -> Snapshot:
        """Fetch a site whose name resolves to these addresses."""
        return asyncio.run(
            self.fetch_through(
                resolving_to(*addresses), self.options(url), origin=url.removesuffix("/")
            )
        )

    async def fetch_through(
        self,
        way_out: Outbound,
        options: Mapping[str, Any],
        *,
        origin: str = "",
        timeout_s: float = TIMEOUT_S,
        now: datetime = NOW,
        time_zone: ZoneInfo = UTC_DAYS,
        past_days: int = PAST_DAYS,
    ) -> Snapshot:
        """Give a site with these options its turn."""
        request = FetchRequest(
            options=options,
            credentials=self.credentials,
            time_zone=time_zone,
            now=now,
            past_days=past_days,
        )
        async with way_out.client(timeout_s=timeout_s) as client:
            return await self.platform_at(origin).fetch(request, client)

    def test_it_is_registered_under_its_key(self) -> None:
        assert type(PLATFORMS[self.platform.key]) is type(self.platform)

    def test_cleaned_options_survive_being_stored_as_json(self) -> None:
        options = self.options("https://shop.example/")
        stored = json.loads(json.dumps(options))
        again = self.platform.Options(self.platform.options(stored))
        assert again.is_valid(), again.errors
        assert again.cleaned_data == stored == options

    def test_secrets_are_never_rendered_nor_shown_by_repr(self) -> None:
        stored = dict.fromkeys(self.platform.Credentials.base_fields, SECRET)
        assert SECRET not in repr(
            FetchRequest(options={}, credentials=stored, time_zone=ZoneInfo("UTC"), now=NOW)
        )

    def test_good_answer_becomes_a_snapshot_that_json_can_hold(self) -> None:
        snapshot = self.fetch(self.good)
        stored = json.loads(json.dumps(snapshot.to_json(), allow_nan=False))
        assert stored["updatedAt"] == "2026-02-07T10:30:00.000Z"
        assert stored["health"] == "up"
        assert stored["http_status"] == 200
        assert stored["latency_ms"] == snapshot.latency_ms is not None

    def test_private_address_is_the_owners_to_mend(self) -> None:
        with pytest.raises(ConfigurationRefused, match="ALLOWED_PRIVATE_NETWORKS"):
            self.fetch_resolving_to("10.0.0.7")

    def test_redirect_to_a_private_address_is_not_followed(self) -> None:
        with pytest.raises(ConfigurationRefused):
            self.fetch(http(status=302, headers={"Location": "http://10.0.0.7/"}))


class JsonApiCases(PlatformCases):
    """Cases of platforms that ask a JSON API: what is wrong becomes the right error."""

    def refusal(self, answers: Answers | bytes | None, **how: Any) -> PlatformError:
        """Fetch, expect an error, and see that it does not give the credentials away."""
        with pytest.raises(PlatformError) as caught:
            self.fetch(answers, **how)
        for secret in self.secrets:
            assert secret not in str(caught.value)
        return caught.value

    def test_silence_is_unavailable(self) -> None:
        error = self.refusal(None, timeout_s=0.2)
        assert isinstance(error, PlatformUnavailable)
        assert "no complete answer within 0.2 s" in str(error)

    def test_name_that_does_not_resolve_is_unavailable(self) -> None:
        with pytest.raises(PlatformUnavailable, match=r"shop\.example has no address"):
            self.fetch_resolving_to()

    def test_status_401_refuses_the_credentials(self) -> None:
        error = self.refusal(http(status=401))
        assert isinstance(error, CredentialsRefused)
        assert "shop.example answered 401 Unauthorized" in str(error)

    def test_status_403_says_that_a_right_is_missing(self) -> None:
        error = self.refusal(http(status=403))
        assert isinstance(error, CredentialsRefused)
        assert re.search("lacks? a right", str(error))

    @pytest.mark.parametrize("status", [404, 410, 400, 422])
    def test_other_refusals_are_the_owners_to_mend(self, status: int) -> None:
        assert isinstance(self.refusal(http(status=status)), ConfigurationRefused)

    def test_status_429_is_unavailable_for_as_long_as_the_platform_says(self) -> None:
        error = self.refusal(http(status=429, headers={"Retry-After": "120"}))
        assert isinstance(error, PlatformUnavailable)
        assert error.retry_after_s == 120

    def test_status_429_then_success(self) -> None:
        assert isinstance(self.refusal(http(status=429)), PlatformUnavailable)
        assert self.fetch(self.good).http_status == 200

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
    def test_error_body_that_quotes_the_credentials_is_not_repeated(self, status: int) -> None:
        for secret in self.secrets:
            words = dict.fromkeys(("message", "code", "status", "type", "title", "detail"), secret)
            for body in (
                {"error": words},
                {"errors": [words]},
                {"error": secret, "error_description": secret},
                {"errors": secret},
            ):
                self.refusal(http(json.dumps(body), status=status))

    @pytest.mark.parametrize("body", ["{}", "[]", "1", '"text"', '{"error": 1}', '{"errors": []}'])
    def test_error_body_of_another_shape_leaves_the_status_to_say_it(self, body: str) -> None:
        assert isinstance(self.refusal(http(body, status=401)), CredentialsRefused)
        assert isinstance(self.refusal(http(body, status=503)), PlatformUnavailable)

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_status_5xx_is_unavailable(self, status: int) -> None:
        error = self.refusal(http("Traceback ...", status=status))
        assert isinstance(error, PlatformUnavailable)
        assert error.retry_after_s is None

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"{'a': 1}", b"\xff\xfe\xfa", b'{"a": NaN}', b'{"a": 1e999999999999}'],
    )
    def test_malformed_json_is_a_bad_response(self, body: bytes) -> None:
        assert isinstance(self.refusal(http(body)), BadResponse)

    def test_web_page_instead_of_json_is_named_as_such(self) -> None:
        error = self.refusal(http("<html>", headers={"Content-Type": "text/html; charset=utf-8"}))
        assert isinstance(error, BadResponse)
        assert "a web page, not JSON" in str(error)

    def test_nesting_bomb_is_a_bad_response(self) -> None:
        error = self.refusal(http(b"[" * 500_000))
        assert isinstance(error, BadResponse)
        assert "nested too deeply" in str(error)

    def test_body_too_large_is_a_bad_response(self) -> None:
        error = self.refusal(http(b'{"a": "' + b"x" * 2_000_000 + b'"}'))
        assert isinstance(error, BadResponse)
        assert "more than 2 MB" in str(error)

    def test_document_of_another_shape_is_a_bad_response(self) -> None:
        for body in ("[]", "{}", "null", "1", '"text"'):
            assert isinstance(self.refusal(http(body)), BadResponse), body


class BusinessCases(JsonApiCases):
    """Cases of platforms that read an account at a vendor day by day.

    Say what the vendor's fake is, how something happens in its account, and which figure counts it.
    """

    #: The name of the right that is missing when the fake says that one is.
    right: ClassVar[str]

    @abstractmethod
    def vendor(self, time_zone: ZoneInfo = UTC_DAYS) -> Vendor:
        """Return an empty account, of a business in this zone, that lets `credentials` in."""

    @abstractmethod
    def happen(self, vendor: Any, at: datetime, times: int = 1) -> None:
        """Let something happen in an account that `happened` counts."""

    @abstractmethod
    def happened(self, figures: Figures) -> int | None:
        """Return how often it did."""

    @abstractmethod
    def platform_at(self, origin: str) -> Platform:
        """Return the platform with its vendor at this origin."""

    def typed(self, url: str) -> dict[str, Any]:
        return {}

    @property
    def good(self) -> Vendor:
        """An account in which something happened today."""
        vendor = self.vendor()
        self.happen(vendor, NOW - timedelta(hours=1))
        return vendor

    def counted(self, snapshot: Snapshot) -> dict[date, int | None]:
        """Return what happened on each past day."""
        return {day: self.happened(figures) for day, figures in snapshot.days.items()}

    def test_empty_account_is_zeros(self) -> None:
        snapshot = self.fetch(self.vendor())
        assert self.happened(snapshot.figures) == 0
        assert list(self.counted(snapshot).values()) == [0] * PAST_DAYS

    def test_figures_are_of_today_so_far(self) -> None:
        vendor = self.vendor()
        self.happen(vendor, NOW - timedelta(hours=1), times=2)
        self.happen(vendor, NOW - timedelta(days=1), times=4)
        snapshot = self.fetch(vendor)
        assert self.happened(snapshot.figures) == 2
        assert self.counted(snapshot)[date(2026, 2, 6)] == 4

    @pytest.mark.parametrize("past_days", [0, 1, 60])
    def test_past_days_are_complete_with_zeros(self, past_days: int) -> None:
        vendor = self.vendor()
        for days_ago in (0, 1, 7, 60, 61):
            self.happen(vendor, NOW - timedelta(days=days_ago), times=days_ago + 1)
        snapshot = self.fetch(vendor, past_days=past_days)
        expected = {NOW.date() - timedelta(days=ago): 0 for ago in range(1, past_days + 1)}
        for days_ago in (1, 7, 60):
            day = NOW.date() - timedelta(days=days_ago)
            expected |= {day: days_ago + 1} if day in expected else {}
        assert self.counted(snapshot) == expected
        assert self.happened(snapshot.figures) == 1

    def test_all_pages_are_read(self) -> None:
        vendor = self.paged()
        snapshot = self.fetch(vendor)
        assert len(vendor.requests) > 1
        assert self.happened(snapshot.figures) == 1
        assert sum(count or 0 for count in self.counted(snapshot).values()) == 2

    def paged(self) -> Vendor:
        """An account whose three days are more than a page holds."""
        vendor = self.vendor()
        vendor.page_limit = 2
        for days_ago in range(3):
            self.happen(vendor, NOW - timedelta(days=days_ago))
        return vendor

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (http(status=429), PlatformUnavailable),
            (http(status=500), PlatformUnavailable),
            (http(status=403), CredentialsRefused),
            (http("{"), BadResponse),
            (http("{}"), BadResponse),
            (http(b'"' + b"x" * 2_000_000 + b'"'), BadResponse),
        ],
        ids=["limited", "broken", "forbidden", "malformed", "of another shape", "too large"],
    )
    def test_fault_on_the_second_page_is_an_error_and_not_a_smaller_total(
        self, answer: bytes, kind: type[PlatformError]
    ) -> None:
        vendor = self.paged()
        vendor.instead = {2: answer}
        assert isinstance(self.refusal(vendor), kind)

    @pytest.mark.parametrize(
        ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)], ids=["23 h", "25 h"]
    )
    def test_day_on_which_the_clocks_change_has_all_its_hours(self, day: date, hours: int) -> None:
        begin = datetime(day.year, day.month, day.day, tzinfo=BERLIN).astimezone(UTC)
        end, second = begin + timedelta(hours=hours), timedelta(seconds=1)
        vendor = self.vendor(BERLIN)
        for moment, times in ((begin - second, 1), (begin, 2), (end - second, 4)):
            self.happen(vendor, moment, times)
        still_today = self.fetch(vendor, now=end - second, time_zone=BERLIN)
        assert self.happened(still_today.figures) == 6
        self.happen(vendor, end, times=8)
        later = self.fetch(vendor, now=end + timedelta(days=1), time_zone=BERLIN)
        days = [day + timedelta(days=number) for number in (-1, 0, 1)]
        assert self.counted(later) == dict(zip(days, (1, 6, 8), strict=True))

    def test_revoked_key_is_refused(self) -> None:
        vendor = self.good
        vendor.key_is_revoked = True
        assert isinstance(self.refusal(vendor), CredentialsRefused)

    def test_missing_right_is_named(self) -> None:
        vendor = self.good
        vendor.lacks_rights = True
        error = self.refusal(vendor)
        assert isinstance(error, CredentialsRefused)
        assert self.right in str(error)

    def test_throttled_then_success(self) -> None:
        vendor = self.good
        vendor.is_throttled = True
        assert isinstance(self.refusal(vendor), PlatformUnavailable)
        vendor.is_throttled = False
        assert self.happened(self.fetch(vendor).figures) == 1

    def test_vendor_is_asked_over_tls(self) -> None:
        snapshot = self.fetch(self.good, authority=trustme.CA())
        assert snapshot.tls_expires_at is not None
        assert self.happened(snapshot.figures) == 1

    def test_limits_and_account_are_named(self) -> None:
        assert self.platform.limits
        account = self.platform.account(self.options("https://shop.example/"), self.credentials)
        assert account


class SalesCases(BusinessCases):
    """Cases of platforms that read sales: say how one is made."""

    @abstractmethod
    def sell(self, vendor: Any, amount_minor: int, currency: str, at: datetime) -> None:
        """Sell something for an amount in ISO 4217's minor units."""

    def happen(self, vendor: Any, at: datetime, times: int = 1) -> None:
        for _ in range(times):
            self.sell(vendor, 1999, "EUR", at)

    def happened(self, figures: Figures) -> int | None:
        return figures.sales

    @pytest.mark.parametrize(
        ("currency", "amount_minor"), [("EUR", 1999), ("JPY", 1500), ("KWD", 12_340)]
    )
    def test_revenue_is_minor_units_of_its_currency(self, currency: str, amount_minor: int) -> None:
        vendor = self.vendor()
        for minutes_ago in (1, 2):
            self.sell(vendor, amount_minor, currency, NOW - timedelta(minutes=minutes_ago))
        figures = self.fetch(vendor).figures
        assert figures.revenue_minor == {currency: 2 * amount_minor}
        assert figures.sales == 2

    def test_day_without_a_sale_has_zero_revenue_in_every_currency_met(self) -> None:
        vendor = self.vendor()
        self.sell(vendor, 1999, "EUR", NOW - timedelta(days=2))
        snapshot = self.fetch(vendor)
        assert snapshot.figures.revenue_minor == {"EUR": 0}
        assert [day.revenue_minor for _, day in sorted(snapshot.days.items())] == [
            {"EUR": 0},
            {"EUR": 1999},
            {"EUR": 0},
        ]
