"""Business sites through the admin: their keys are entered once, and stay when the rest changes."""

from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from sites.models import MonitoredSite
from sites.platforms import PLATFORMS
from sites.platforms.base import Platform
from sites.platforms.google_analytics import GoogleAnalytics
from sites.platforms.stripe import Stripe
from tests.sites.conftest import RunSync
from tests.sites.loopback import LOOPBACK, Loopback
from tests.sites.platforms.fakes.google_analytics import FakeGoogleAnalytics
from tests.sites.platforms.fakes.stripe import FakeStripe
from tests.sites.platforms.fakes.vendor import Vendor
from tests.sites.platforms.test_google_analytics import ACCOUNT, EMAIL, KEY
from tests.sites.platforms.test_stripe import RESTRICTED
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

Entered = dict[str, str]


class VendorsHost(Website):
    """A vendor on the loopback."""

    def __init__(self, vendor: Vendor) -> None:
        super().__init__()
        self._server = Loopback(vendor)


def stripe(origin: str) -> tuple[Platform, Entered, Entered]:
    return Stripe(origin), {}, {"credential_api_key": RESTRICTED}


def google_analytics(origin: str) -> tuple[Platform, Entered, Entered]:
    return (
        GoogleAnalytics(origin, f"{origin}/token"),
        {"option_property_id": "123456789"},
        {"credential_service_account": ACCOUNT.to_json()},
    )


def account_at_stripe() -> FakeStripe:
    vendor = FakeStripe(RESTRICTED)
    vendor.book("charge", 1_299, "eur", timezone.now())
    vendor.subscribe(vendor.item(500))
    return vendor


def property_at_google() -> FakeGoogleAnalytics:
    now = timezone.now()
    zone = ZoneInfo("UTC")
    vendor = FakeGoogleAnalytics(email=EMAIL, public_key=KEY.public_key(), time_zone=zone, now=now)
    vendor.visit(now)
    return vendor


MADE: dict[str, tuple[Callable[[], Vendor], Callable[[str], tuple[Platform, Entered, Entered]]]] = {
    "stripe": (account_at_stripe, stripe),
    "google_analytics": (property_at_google, google_analytics),
}


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("me"))
    return client


@pytest.fixture(params=MADE)
def entered(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Entered, Entered]]:
    """The key of a platform, what an owner enters for a site of it, and the credentials."""
    settings.ALLOWED_PRIVATE_NETWORKS = [LOOPBACK]
    make_vendor, make_platform = MADE[request.param]
    with VendorsHost(make_vendor()) as host:
        platform, options, credentials = make_platform(host.url(""))
        monkeypatch.setitem(PLATFORMS, request.param, platform)
        form = {"name": "Shop", "timezone": "UTC", "enabled": "on", **options}
        yield request.param, form, credentials


def test_site_is_added_synced_and_changed_without_entering_its_key_again(
    staff: Client, entered: tuple[str, Entered, Entered], run_sync: RunSync
) -> None:
    key, form, credentials = entered
    add = f"{reverse('admin:sites_monitoredsite_add')}?platform={key}"
    refused = staff.post(add, form)
    assert "These options need this credential." in refused.content.decode()
    assert staff.post(add, {**form, **credentials}).status_code == 302
    site = MonitoredSite.objects.get()
    page = reverse("admin:sites_monitoredsite_change", args=[site.pk])
    empty = dict.fromkeys(credentials, "")
    assert staff.post(page, {**form, **empty, "name": "Renamed"}).status_code == 302
    run_sync()
    site.refresh_from_db()
    assert (site.name, site.state, site.state_reason) == ("Renamed", "up", "")
    snapshot = site.last_snapshot or {}
    assert len(snapshot["days"]) == 3
    if key == "stripe":
        assert snapshot["revenue_minor"] == {"EUR": 1_299}
        assert snapshot["metrics"]["mrr_eur"] == {"value": 500, "unit": "EUR minor"}
    else:
        assert (snapshot["visitors"], snapshot["notices"]) == (1, [])
    shown = staff.get(page).content.decode() + str(snapshot)
    assert not any(secret in shown for secret in credentials.values())
    assert ACCOUNT.private_key.splitlines()[1] not in shown
