from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from sites.borrowed_fields import STORED
from sites.forms import UNREADABLE, MonitoredSiteForm, form_for
from sites.models import MonitoredSite
from sites.platforms import PLATFORMS
from tests.services import SETTINGS

pytestmark = pytest.mark.django_db

SECRET = "made-up-secret"
BEARER = {
    "name": "Shop",
    "timezone": "UTC",
    "enabled": "on",
    "option_url": "https://example.com/figures",
    "option_method": "GET",
    "option_auth": "bearer",
    "option_figures": "visitors = v",
}


def form_of(
    site: MonitoredSite | None = None, data: dict[str, str] | None = None, key: str = "custom_json"
) -> MonitoredSiteForm:
    return form_for(PLATFORMS[key])(data, instance=site)


def saved(**changes: str) -> MonitoredSite:
    form = form_of(data={**BEARER, "credential_secret": SECRET, **changes})
    assert form.is_valid(), form.errors
    site: MonitoredSite = form.save()
    return site


def test_a_form_has_the_fields_of_its_platform_with_their_defaults() -> None:
    form = form_of(key="uptime")
    assert form["option_expected_status"].initial == "200-399"
    assert form["option_expected_status"].label == "Expected status"
    assert not any(name.startswith("credential_") for name in form.fields)


def test_what_is_typed_is_stored_where_it_belongs() -> None:
    site = MonitoredSite.objects.get(pk=saved().pk)
    assert (site.name, site.platform) == ("Shop", "custom_json")
    assert site.options["url"] == "https://example.com/figures"
    assert site.credentials == {"secret": SECRET}


def test_a_fault_stands_at_the_field_it_is_about_once() -> None:
    form = form_of(data={**BEARER, "option_url": "ftp://example.com", "option_auth": "header"})
    assert set(form.errors) == {"option_url", "option_auth_name"}
    assert len(form.errors["option_url"]) == 1


def test_a_credential_that_is_needed_is_asked_for_at_its_field() -> None:
    form = form_of(data=BEARER)
    assert form.errors == {"credential_secret": ["These options need this credential."]}


def test_no_form_shows_a_stored_or_a_typed_credential() -> None:
    site = saved()
    data = {**BEARER, "option_url": "", "credential_secret": "typed-just-now"}
    html = form_of(site).as_p() + form_of(site, data).as_p()
    assert SECRET not in html
    assert "typed-just-now" not in html
    assert STORED in html


def test_an_empty_field_keeps_what_is_stored() -> None:
    form = form_of(saved(), {**BEARER, "name": "Store", "credential_secret": ""})
    assert form.is_valid()
    assert form.save().credentials == {"secret": SECRET}


def test_credentials_can_be_forgotten_when_the_options_need_none() -> None:
    site = saved()
    forgetting = {**BEARER, "forget_credentials": "on"}
    assert set(form_of(site, forgetting).errors) == {"credential_secret"}
    form = form_of(site, {**forgetting, "option_auth": "none"})
    assert form.is_valid()
    assert form.save().credentials == {}


def test_an_unticked_box_is_off() -> None:
    form = form_of(
        key="uptime", data={"name": "Shop", "timezone": "UTC", "option_url": "a.example"}
    )
    assert not form.is_valid()
    data = {
        f"option_{name}": str(value)
        for name, value in PLATFORMS["uptime"].options({"url": "a.example"}).items()
        if value is not True
    }
    form = form_of(key="uptime", data={"name": "Shop", "timezone": "UTC", **data})
    assert form.is_valid(), form.errors
    site = form.save()
    assert (site.enabled, site.options["follow_redirects"]) == (False, False)


def test_a_save_makes_a_site_due_at_once() -> None:
    site = saved()
    site.not_before = timezone.now()
    form = form_of(site, BEARER)
    assert form.is_valid()
    assert form.save().not_before is None


class TestWithoutTheKeyOfTheCredentials:
    @pytest.fixture
    def site(self, settings: Settings) -> MonitoredSite:
        site = saved()
        settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
        return MonitoredSite.objects.sealed().get(pk=site.pk)

    def test_the_form_opens_and_says_what_to_do(self, site: MonitoredSite) -> None:
        assert UNREADABLE in form_of(site).as_p()

    def test_what_is_needed_must_be_entered_again(self, site: MonitoredSite) -> None:
        assert set(form_of(site, BEARER).errors) == {"credential_secret"}
        form = form_of(site, {**BEARER, "credential_secret": "newer"})
        assert form.is_valid()
        form.instance.save_settings()
        assert MonitoredSite.objects.get().credentials == {"secret": "newer"}

    def test_what_is_not_entered_is_not_lost(self, site: MonitoredSite, settings: Settings) -> None:
        form: Any = form_of(site, {**BEARER, "option_auth": "none", "name": "Store"})
        assert form.is_valid()
        form.instance.save_settings()
        settings.SOLOBOARD_SECRET_KEYS = [SETTINGS["SOLOBOARD_SECRET_KEYS"]]
        kept = MonitoredSite.objects.get()
        assert (kept.name, kept.credentials) == ("Store", {"secret": SECRET})
