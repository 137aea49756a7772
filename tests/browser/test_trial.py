"""'Test connection' in a real browser: the form stays as it is, secrets and all."""

import json
from collections.abc import Iterator

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Page, expect
from pytest_django import Settings

from sites.models import MonitoredSite
from tests.browser.test_pages import assert_no_faults
from tests.sites.loopback import LOOPBACK, http
from tests.sites.website import Website

SECRET = "made-up-secret-of-a-trial"


@pytest.fixture
def website(settings: Settings) -> Iterator[Website]:
    settings.ALLOWED_PRIVATE_NETWORKS = [LOOPBACK]
    with Website() as website:
        website.pages["/figures"] = http(json.dumps({"today": {"visitors": 1200}}))
        yield website


def fill_in(page: Page, website: Website) -> None:
    page.goto("/admin/sites/monitoredsite/add/?platform=custom_json")
    page.get_by_label("URL").fill(website.url("/figures"))
    page.get_by_label("Authentication").select_option("bearer")
    page.get_by_label("Figures").fill("visitors = today.visitors")
    page.get_by_label("Secret").fill(SECRET)


def test_connection_is_tested_and_then_saved_without_typing_anything_again(
    page: Page, website: Website
) -> None:
    fill_in(page, website)
    page.get_by_role("button", name="Test connection").click()
    outcome = page.locator("#trial")
    expect(outcome).to_contain_text("The connection works.")
    expect(outcome).to_contain_text("1,200")
    expect(page.get_by_label("Secret")).to_have_value(SECRET)
    assert not MonitoredSite.objects.exists()
    assert_no_faults(page)

    page.get_by_label("Name:", exact=True).fill("Shop")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    assert MonitoredSite.objects.get().credentials == {"secret": SECRET}


def test_enter_key_saves(page: Page, website: Website) -> None:
    fill_in(page, website)
    page.get_by_label("Name:", exact=True).fill("Shop")
    page.get_by_label("Name:", exact=True).press("Enter")
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")


def test_who_has_been_logged_out_is_told_and_keeps_what_is_typed(
    page: Page, website: Website
) -> None:
    fill_in(page, website)
    Session.objects.all().delete()
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#trial")).to_contain_text("log in again in another tab")
    expect(page.get_by_label("Secret")).to_have_value(SECRET)
    assert website.requests == []
