"""Business sites through the admin, from 'Test connection' to a sync, against fakes of their vendors."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_redis import get_redis_connection
from pytest_django import Settings

from sites.models import MonitoredSite
from sites.platforms import PLATFORMS
from sites.platforms.base import Platform
from sites.platforms.google_analytics import GoogleAnalytics
from sites.platforms.lemon_squeezy import LemonSqueezy
from sites.platforms.shopify import Shopify
from sites.platforms.stripe import Stripe
from sites.platforms.tokens import Tokens
from tests.sites.conftest import RunSync
from tests.sites.loopback import LOOPBACK, Loopback
from tests.sites.platforms.fakes.google_analytics import FakeGoogleAnalytics
from tests.sites.platforms.fakes.lemon_squeezy import FakeLemonSqueezy
from tests.sites.platforms.fakes.shopify import FakeShopify
from tests.sites.platforms.fakes.stripe import FakeStripe
from tests.sites.platforms.fakes.vendor import Vendor
from tests.sites.platforms.test_google_analytics import ACCOUNT, EMAIL, KEY
from tests.sites.platforms.test_stripe import RESTRICTED
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

SECRET = "made-up-secret"
LIST = reverse("admin:sites_monitoredsite_changelist")
ADD = reverse("admin:sites_monitoredsite_add")


class VendorsHost(Website):
    """A vendor on the loopback."""

    def __init__(self, vendor: Vendor) -> None:
        super().__init__()
        self._server = Loopback(vendor)


def lemon_squeezy(origin: str) -> tuple[LemonSqueezy, dict[str, str]]:
    return LemonSqueezy(origin), {"option_store_id": "", "credential_api_key": SECRET}


def shopify(origin: str) -> tuple[Shopify, dict[str, str]]:
    return Shopify(origin), {
        "option_shop": "made-up",
        "option_access": "app",
        "credential_client_id": "made-up-id",
        "credential_client_secret": SECRET,
    }


def stripe(origin: str) -> tuple[Stripe, dict[str, str]]:
    return Stripe(origin), {"credential_api_key": RESTRICTED}


def google_analytics(origin: str) -> tuple[GoogleAnalytics, dict[str, str]]:
    return GoogleAnalytics(origin, f"{origin}/token"), {
        "option_property_id": "123456789",
        "credential_service_account": ACCOUNT.to_json(),
    }


def shop_at_lemon_squeezy() -> FakeLemonSqueezy:
    vendor = FakeLemonSqueezy(SECRET)
    vendor.order(1299, "EUR", timezone.now())
    vendor.subscribe(vendor.price(500))
    return vendor


def shop_at_shopify() -> FakeShopify:
    now = timezone.now()
    vendor = FakeShopify(
        token="made-up-token", client_id="made-up-id", client_secret=SECRET, now=now
    )
    vendor.sell("12.99", "EUR", now)
    return vendor


def account_at_stripe() -> FakeStripe:
    vendor = FakeStripe(RESTRICTED)
    vendor.book("charge", 1299, "eur", timezone.now())
    vendor.subscribe(vendor.item(500))
    return vendor


def property_at_google() -> FakeGoogleAnalytics:
    now, zone = timezone.now(), ZoneInfo("UTC")
    vendor = FakeGoogleAnalytics(email=EMAIL, public_key=KEY.public_key(), time_zone=zone, now=now)
    vendor.visit(now)
    return vendor


MADE: dict[str, tuple[Callable[[], Vendor], Callable[[str], tuple[Platform, dict[str, str]]]]] = {
    "google_analytics": (property_at_google, google_analytics),
    "lemon_squeezy": (shop_at_lemon_squeezy, lemon_squeezy),
    "shopify": (shop_at_shopify, shopify),
    "stripe": (account_at_stripe, stripe),
}
SECRETS = (SECRET, RESTRICTED, ACCOUNT.private_key.splitlines()[1])
#: What is in the snapshot of each, of what happened there today.
FOUND: dict[str, dict[str, Any]] = {
    "google_analytics": {"visitors": 1},
    "lemon_squeezy": {"sales": 1, "revenue_minor": {"EUR": 1299}},
    "shopify": {"sales": 1, "revenue_minor": {"EUR": 1299}},
    "stripe": {"sales": 1, "revenue_minor": {"EUR": 1299}},
}


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("me"))
    return client


@pytest.fixture(params=MADE)
def made(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Vendor, dict[str, str]]]:
    """The key of a platform, its vendor, and what an owner enters."""
    settings.ALLOWED_PRIVATE_NETWORKS = [LOOPBACK]
    forget_used_limits()
    make_vendor, make_platform = MADE[request.param]
    vendor = make_vendor()
    with ExitStack() as stack:
        host = stack.enter_context(VendorsHost(vendor))
        platform, form = make_platform(host.url("").removesuffix("/"))
        monkeypatch.setitem(PLATFORMS, request.param, platform)
        yield request.param, vendor, {"name": "Shop", "timezone": "UTC", "enabled": "on", **form}


def forget_used_limits() -> None:
    """The tests share their accounts, and some of these may be asked only a few times a minute."""
    valkey = get_redis_connection("default")
    for key in valkey.scan_iter("soloboard:limits:*"):
        valkey.delete(key)


def revoke(key: str, vendor: Any) -> None:
    """Have the vendor refuse the key. What it was exchanged for before would be good for an hour."""
    vendor.key_is_revoked = True
    platform = PLATFORMS[key]
    if isinstance(platform, GoogleAnalytics):
        platform._tokens = Tokens()


def post(staff: Client, key: str, form: dict[str, str], **more: str) -> Any:
    return staff.post(f"{ADD}?platform={key}", {**form, **more})


def test_site_is_tested_added_and_synced(
    staff: Client, made: tuple[str, Any, dict[str, str]], run_sync: RunSync
) -> None:
    key, _, form = made
    tried = post(staff, key, form, _test="Test connection").content.decode()
    assert "The connection works." in tried
    assert key == "google_analytics" or "12.99 EUR" in tried
    assert not MonitoredSite.objects.exists()

    assert post(staff, key, form).status_code == 302
    run_sync()
    site = MonitoredSite.objects.get()
    snapshot = site.last_snapshot or {}
    assert (site.state, site.state_reason) == ("up", "")
    assert {name: snapshot[name] for name in FOUND[key]} == FOUND[key]
    assert site.days.count() == 60

    pages = [LIST, reverse("admin:sites_monitoredsite_change", args=[site.pk])]
    shown = [staff.get(page).content.decode() for page in pages]
    told = "".join([tried, *shown, json.dumps(snapshot)])
    assert not any(secret in told for secret in SECRETS)


def test_site_is_changed_without_entering_its_key_again(
    staff: Client, made: tuple[str, Any, dict[str, str]], run_sync: RunSync
) -> None:
    key, _, form = made
    blank = {name: "" if name.startswith("credential_") else form[name] for name in form}
    assert "These options need this credential." in post(staff, key, blank).content.decode()
    assert post(staff, key, form).status_code == 302
    page = reverse("admin:sites_monitoredsite_change", args=[MonitoredSite.objects.get().pk])
    assert staff.post(page, {**blank, "name": "Renamed"}).status_code == 302
    run_sync()
    site = MonitoredSite.objects.get()
    assert (site.name, site.state, site.state_reason) == ("Renamed", "up", "")


def test_stored_credentials_are_tried_where_none_are_typed(
    staff: Client, made: tuple[str, Vendor, dict[str, str]]
) -> None:
    key, vendor, form = made
    post(staff, key, form)
    page = reverse("admin:sites_monitoredsite_change", args=[MonitoredSite.objects.get().pk])
    blank = {name: "" if name.startswith("credential_") else form[name] for name in form}
    tried = staff.post(page, {**blank, "_test": "Test connection"}).content.decode()
    assert "The connection works." in tried
    revoke(key, vendor)
    tried = staff.post(page, {**blank, "_test": "Test connection"}).content.decode()
    assert "The credentials are refused." in tried


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ("key_is_revoked", "The credentials are refused."),
        ("lacks_rights", "lacks a right"),
        ("is_throttled", "There was no answer that can be used"),
    ],
)
def test_what_is_wrong_is_said_before_the_site_is_added(
    staff: Client, made: tuple[str, Vendor, dict[str, str]], fault: str, verdict: str
) -> None:
    key, vendor, form = made
    setattr(vendor, fault, True)
    shown = post(staff, key, form, _test="Test connection").content.decode()
    assert verdict in shown
    assert not any(secret in shown for secret in SECRETS)


def test_key_that_is_revoked_later_is_a_state_of_its_own(
    staff: Client, made: tuple[str, Vendor, dict[str, str]], run_sync: RunSync
) -> None:
    key, vendor, form = made
    post(staff, key, form)
    run_sync()
    MonitoredSite.objects.update(last_attempt_at=timezone.now() - timedelta(hours=1))
    revoke(key, vendor)
    run_sync()
    site = MonitoredSite.objects.get()
    assert site.state == MonitoredSite.State.CREDENTIALS_REFUSED
    assert not any(secret in site.state_reason for secret in SECRETS)
    snapshot = site.last_snapshot or {}
    assert {name: snapshot[name] for name in FOUND[key]} == FOUND[key]
