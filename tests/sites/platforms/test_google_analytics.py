import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sites.platforms import google_analytics
from sites.platforms.base import (
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    Figures,
    Metric,
    PlatformUnavailable,
    Snapshot,
)
from sites.platforms.google_analytics import Credentials, GoogleAnalytics, Options
from sites.platforms.google_token import ServiceAccount, parse
from tests.sites.loopback import Answer, Answers, Loopback, Request, http, outbound
from tests.sites.platforms.cases import BERLIN, NOW, UTC_DAYS, BusinessCases
from tests.sites.platforms.fakes.google_analytics import FakeGoogleAnalytics

EMAIL = "soloboard@made-up.iam.gserviceaccount.com"
KEY = generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ACCOUNT = ServiceAccount(email=EMAIL, key_id="madeup", private_key=PEM)
#: As Google's console gives it, with more in it than is needed.
KEY_FILE = {
    **json.loads(ACCOUNT.to_json()),
    "project_id": "made-up",
    "token_uri": "https://elsewhere.example/token",
}
LOS_ANGELES, AUCKLAND = ZoneInfo("America/Los_Angeles"), ZoneInfo("Pacific/Auckland")


def figures(visitors: int, sessions: int, page_views: int) -> Figures:
    return Figures(
        visitors=visitors,
        metrics={"sessions": Metric(value=sessions), "page_views": Metric(value=page_views)},
    )


class GoogleCases(BusinessCases):
    platform = GoogleAnalytics()
    credentials: ClassVar[Mapping[str, str]] = {"service_account": json.dumps(KEY_FILE)}
    right = "Viewer"

    @property
    def secrets(self) -> tuple[str, ...]:
        return (PEM.splitlines()[1], "made-up-token")

    def typed(self, url: str) -> dict[str, Any]:
        return {"property_id": "123456789"}

    def platform_at(self, origin: str) -> GoogleAnalytics:
        return GoogleAnalytics(origin, f"{origin}/token")

    def vendor(self, time_zone: ZoneInfo = UTC_DAYS) -> FakeGoogleAnalytics:
        return FakeGoogleAnalytics(
            email=EMAIL, public_key=KEY.public_key(), time_zone=time_zone, now=NOW
        )

    def happen(self, vendor: FakeGoogleAnalytics, at: datetime, times: int = 1) -> None:
        for _ in range(times):
            vendor.visit(at)

    def happened(self, figures: Figures) -> int | None:
        return figures.visitors

    def fetch(self, answers: Answers | bytes | None, **how: Any) -> Snapshot:
        """Fetch; other answers than the fake's own are those of the Data API, behind the token."""
        google = answers if isinstance(answers, FakeGoogleAnalytics) else self.vendor()
        google.now = how.get("now", NOW)

        def answer(request: Request) -> Answer:
            if answers is google or self.is_googles_own(request):
                return google(request)
            return answers(request) if callable(answers) else answers

        return super().fetch(answer, **how)

    def is_googles_own(self, request: Request) -> bool:
        return request.target == "/token"


class TestTokenExchange(GoogleCases):
    """The same cases where it is the token that Google has trouble with."""

    def is_googles_own(self, request: Request) -> bool:
        return request.target != "/token"

    def test_refused_grant_is_named_as_such(self) -> None:
        error = self.refusal(http('{"error": "invalid_grant"}', status=400))
        assert isinstance(error, CredentialsRefused)
        assert "make a new key" in str(error)

    @pytest.mark.parametrize(
        "body",
        [
            {"expires_in": 3599},
            {"access_token": "a", "expires_in": "soon"},
            {"access_token": "a\nb", "expires_in": 3599},
            {"access_token": 1, "expires_in": 3599},
        ],
    )
    def test_token_of_another_form_is_a_bad_response(self, body: dict[str, Any]) -> None:
        assert "another form" in str(self.refusal(http(json.dumps(body))))


class TestGoogleAnalytics(GoogleCases):
    def test_visitors_sessions_and_page_views_are_read(self) -> None:
        vendor = self.vendor()
        for visitor, page_views in (("a", 3), ("a", 1), ("b", 1)):
            vendor.visit(NOW - timedelta(hours=1), visitor, page_views)
        vendor.visit(NOW - timedelta(days=2), "a", 4)
        snapshot = self.fetch(vendor)
        assert snapshot.figures == figures(2, 3, 5)
        assert snapshot.days == {
            date(2026, 2, 4): figures(0, 0, 0),
            date(2026, 2, 5): figures(1, 1, 4),
            date(2026, 2, 6): figures(0, 0, 0),
        }
        assert snapshot.notices == ()
        assert len(vendor.requests) == len(vendor.token_requests) == 1

    def test_real_addresses_are_the_default(self) -> None:
        assert GoogleAnalytics()._origin == "https://analyticsdata.googleapis.com"
        assert GoogleAnalytics()._token_url == "https://oauth2.googleapis.com/token"

    def test_days_are_the_propertys_and_the_owner_is_told(self) -> None:
        vendor = self.vendor(LOS_ANGELES)
        # 23:30 on the 6th in Los Angeles, and half past eight on the 7th in Berlin.
        vendor.visit(datetime(2026, 2, 7, 7, 30, tzinfo=UTC))
        snapshot = self.fetch(vendor, time_zone=BERLIN)
        assert snapshot.days[date(2026, 2, 6)].visitors == 1
        assert snapshot.figures.visitors == 0
        (notice,) = snapshot.notices
        assert "America/Los_Angeles" in notice
        assert "Europe/Berlin" in notice

    def test_zones_with_the_same_days_are_the_same(self) -> None:
        assert self.fetch(self.vendor(ZoneInfo("Etc/UTC"))).notices == ()

    def test_day_that_has_not_begun_for_the_property_is_not_known(self) -> None:
        vendor = self.vendor(LOS_ANGELES)
        now = datetime(2026, 2, 7, 3, tzinfo=UTC)  # The evening of the 6th in Los Angeles.
        vendor.visit(now - timedelta(hours=1))
        snapshot = self.fetch(vendor, time_zone=BERLIN, now=now)
        assert snapshot.figures == Figures()
        assert snapshot.days[date(2026, 2, 6)] == figures(1, 1, 1)

    def test_day_that_is_over_for_the_property_is_still_the_sites_today(self) -> None:
        vendor = self.vendor(AUCKLAND)
        now = datetime(2026, 2, 7, 20, tzinfo=UTC)  # The morning of the 8th in Auckland.
        vendor.visit(datetime(2026, 2, 7, 10, 59, tzinfo=UTC))
        vendor.visit(datetime(2026, 2, 7, 11, tzinfo=UTC))
        vendor.visit(datetime(2026, 2, 3, 12, tzinfo=UTC))  # The 4th there, the first day wanted.
        snapshot = self.fetch(vendor, now=now)
        assert snapshot.figures.visitors == 1
        assert sorted(snapshot.days) == [date(2026, 2, day) for day in (4, 5, 6)]
        assert snapshot.days[date(2026, 2, 4)].visitors == 1

    @pytest.mark.parametrize(
        "left_out",
        [{"subjectToThresholding": True}, {"dataLossFromOtherRow": True}, {"emptyReason": "why"}],
    )
    def test_day_without_a_row_is_not_known_when_google_leaves_rows_out(
        self, left_out: dict[str, Any]
    ) -> None:
        vendor = self.vendor()
        vendor.left_out = left_out
        vendor.visit(NOW - timedelta(days=1))
        snapshot = self.fetch(vendor)
        assert snapshot.figures == Figures()
        assert snapshot.days == {date(2026, 2, 6): figures(1, 1, 1)}
        assert "leaves small figures out" in snapshot.notices[0]

    def test_wrong_property_says_what_to_check(self) -> None:
        with pytest.raises(CredentialsRefused, match=f"add {EMAIL} as Viewer.*check the property"):
            self.fetch(self.vendor(), property_id="987654321")

    def test_api_that_is_not_enabled_is_named_as_such(self) -> None:
        vendor = self.vendor()
        vendor.is_disabled = True
        error = self.refusal(vendor)
        assert isinstance(error, CredentialsRefused)
        assert "Data API is not enabled" in str(error)

    @pytest.mark.parametrize("details", [5, {}, ["x"], None])
    def test_details_of_another_form_leave_the_missing_right(self, details: Any) -> None:
        body = {"error": {"status": "PERMISSION_DENIED", "details": details}}
        assert "Viewer" in str(self.refusal(http(json.dumps(body), status=403)))

    def test_quota_that_is_used_up_is_named_as_such(self) -> None:
        vendor = self.vendor()
        vendor.is_throttled = True
        error = self.refusal(vendor)
        assert isinstance(error, PlatformUnavailable)
        assert "quota of property 123456789" in str(error)

    def test_property_that_google_does_not_understand_is_the_owners_to_mend(self) -> None:
        body = '{"error": {"status": "INVALID_ARGUMENT"}}'
        error = self.refusal(http(body, status=400))
        assert isinstance(error, ConfigurationRefused)
        assert "check the property ID" in str(error)

    @pytest.mark.parametrize("zone", ["Mars/Olympus", "", 5, "/etc/passwd"])
    def test_zone_that_nobody_knows_is_a_bad_response(self, zone: object) -> None:
        body = {"metadata": {"timeZone": zone}}
        assert "another form" in str(self.refusal(http(json.dumps(body))))

    def test_columns_in_another_order_are_a_bad_response(self) -> None:
        row = {"dimensionValues": [{"value": "20260207"}], "metricValues": [{"value": "1"}] * 3}
        headers = [{"name": name} for name in reversed(google_analytics.METRICS)]
        body = {"metadata": {"timeZone": "UTC"}, "rows": [row], "metricHeaders": headers}
        assert "another form" in str(self.refusal(http(json.dumps(body))))

    def test_rows_that_never_come_are_a_bad_response(self) -> None:
        body = {"metadata": {"timeZone": "UTC"}, "rowCount": 3}
        assert "announced more rows" in str(self.refusal(http(json.dumps(body))))

    def test_report_without_an_end_is_an_error(self) -> None:
        vendor = self.vendor()
        vendor.page_limit = 1
        for days_ago in range(google_analytics.MAX_PAGES + 1):
            vendor.visit(NOW - timedelta(days=days_ago))
        with pytest.raises(PlatformUnavailable, match="more than 10 pages"):
            self.fetch(vendor, past_days=60)


class TestTokens:
    """The tokens of one process."""

    def fetch(
        self, google: FakeGoogleAnalytics, *moments: datetime, at_once: int = 1
    ) -> list[BaseException | Snapshot]:
        """Fetch with one platform at these moments, so many sites at once."""

        async def run() -> list[BaseException | Snapshot]:
            results: list[BaseException | Snapshot] = []
            async with Loopback(google) as server:
                origin = server.url("", "google.example")
                platform = GoogleAnalytics(origin, f"{origin}/token")
                for now in moments:
                    google.now = now
                    sites = [self._fetch_one(platform, now) for _ in range(at_once)]
                    results += await asyncio.gather(*sites, return_exceptions=True)
            return results

        return asyncio.run(run())

    async def _fetch_one(self, platform: GoogleAnalytics, now: datetime) -> Snapshot:
        request = FetchRequest(
            options={"property_id": "123456789"},
            credentials={"service_account": ACCOUNT.to_json()},
            time_zone=UTC_DAYS,
            now=now,
        )
        async with outbound().client(timeout_s=10.0) as client:
            return await platform.fetch(request, client)

    @pytest.fixture
    def google(self) -> FakeGoogleAnalytics:
        return FakeGoogleAnalytics(
            email=EMAIL, public_key=KEY.public_key(), time_zone=UTC_DAYS, now=NOW
        )

    def test_token_is_kept_until_shortly_before_it_ends(self, google: FakeGoogleAnalytics) -> None:
        self.fetch(google, NOW, NOW + timedelta(seconds=3298))
        assert len(google.token_requests) == 1
        self.fetch(google, NOW, NOW + timedelta(seconds=3299))
        assert len(google.token_requests) == 3

    def test_sites_that_are_read_at_once_share_one_exchange(
        self, google: FakeGoogleAnalytics
    ) -> None:
        snapshots = self.fetch(google, NOW, at_once=5)
        assert all(isinstance(snapshot, Snapshot) for snapshot in snapshots)
        assert (len(google.token_requests), len(google.requests)) == (1, 5)

    def test_failed_exchange_is_not_kept(self, google: FakeGoogleAnalytics) -> None:
        google.key_is_revoked = True
        (error,) = self.fetch(google, NOW)
        assert isinstance(error, CredentialsRefused)
        google.key_is_revoked = False
        assert isinstance(self.fetch(google, NOW)[0], Snapshot)

    def test_token_that_is_refused_is_not_used_again(self, google: FakeGoogleAnalytics) -> None:
        refused = http('{"error": {"status": "UNAUTHENTICATED"}}', status=401)
        google.instead = {2: refused}
        first, second, third = self.fetch(google, *[NOW] * 3)
        assert isinstance(second, CredentialsRefused)
        assert isinstance(first, Snapshot)
        assert isinstance(third, Snapshot)
        assert len(google.token_requests) == 2

    def test_platform_serves_event_loops_one_after_another(
        self, google: FakeGoogleAnalytics
    ) -> None:
        platform = GoogleAnalytics("http://google.example", "http://google.example/token")

        async def run() -> None:
            async with Loopback(google) as server:
                platform._origin = server.url("", "google.example")
                platform._token_url = platform._origin + "/token"
                await asyncio.gather(*(self._fetch_one(platform, NOW) for _ in range(3)))

        for _ in range(2):
            asyncio.run(run())
        assert len(google.token_requests) == 1


def complaints(form: Any) -> str:
    return " ".join(str(error) for errors in form.errors.values() for error in errors)


@pytest.mark.parametrize("typed", ["123456789", "properties/123456789", " 123456789 "])
def test_property_is_taken_as_people_copy_it(typed: str) -> None:
    form = Options({"property_id": typed})
    assert form.is_valid(), form.errors
    assert form.cleaned_data["property_id"] == "123456789"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("G-ABC123", "data stream or tag"),
        ("UA-1234-1", "data stream or tag"),
        ("shop", "is a number"),
        ("012", "is a number"),
        ("1/../2", "is a number"),
        ("", "required"),
    ],
)
def test_other_ids_than_the_propertys_are_refused(typed: str, words: str) -> None:
    assert words in complaints(Options({"property_id": typed}))


def test_only_what_is_needed_of_the_key_file_is_kept() -> None:
    form = Credentials({"service_account": json.dumps(KEY_FILE, indent=2)})
    assert form.is_valid(), form.errors
    kept = form.cleaned_data["service_account"]
    assert "elsewhere.example" not in kept
    assert parse(kept) == ACCOUNT
    assert PEM.splitlines()[1] not in repr(ACCOUNT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "not JSON"),
        ("[" * 9_000, "not JSON"),
        ("[]", "not the key file of a service account"),
        ('{"installed": {}}', "not the key file of a service account"),
        (json.dumps({**KEY_FILE, "client_email": "nobody"}), "no 'client_email'"),
        (json.dumps({**KEY_FILE, "private_key": ""}), "no 'private_key'"),
        (json.dumps({**KEY_FILE, "private_key": PEM[:-200]}), "is damaged"),
        (json.dumps({**KEY_FILE, "private_key": "\x00"}), "is damaged"),
    ],
)
def test_other_texts_than_a_key_file_are_refused(text: str, words: str) -> None:
    form = Credentials({"service_account": text})
    assert words in complaints(form)
    assert PEM.splitlines()[1] not in str(form)
