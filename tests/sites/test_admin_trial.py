"""'Test connection' in the form of a site."""

import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sites.models import MonitoredSite, SiteSnapshot
from tests.sites.loopback import Request, http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

ADD = reverse("admin:sites_monitoredsite_add")
STORED, TYPED = "made-up-stored", "made-up-typed"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def staff() -> Client:
    client = Client(enforce_csrf_checks=False)
    client.force_login(User.objects.create_superuser("me"))
    return client


@pytest.fixture
def figures(website: Website) -> Website:
    website.pages["/figures"] = http(json.dumps({"v": 1200}))
    return website


def form(website: Website, **changes: str) -> dict[str, str]:
    return {
        "name": "Figures",
        "timezone": "UTC",
        "enabled": "on",
        "option_url": website.url("/figures"),
        "option_method": "GET",
        "option_auth": "bearer",
        "option_figures": "visitors = v",
        "_test": "Test connection",
        **changes,
    }


def stored(website: Website) -> MonitoredSite:
    options = {"url": website.url("/old"), "auth": "bearer", "figures": "visitors = v"}
    return MonitoredSite.objects.create(
        name="Figures", platform="custom_json", options=options, credentials={"secret": STORED}
    )


def page_of(site: MonitoredSite) -> str:
    return reverse("admin:sites_monitoredsite_change", args=[site.pk])


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer
    return str(answer.content.decode())


def add(client: Client, data: dict[str, str], **how: Any) -> Any:
    return client.post(f"{ADD}?platform=custom_json", data, **how)


def sent_secrets(website: Website) -> list[str]:
    return [request.headers["authorization"] for request in website.requests]


def test_site_is_tried_before_it_is_added(staff: Client, figures: Website) -> None:
    shown = text(add(staff, form(figures, credential_secret=TYPED)))
    assert "The connection works." in shown
    assert "1,200" in shown
    assert sent_secrets(figures) == [f"Bearer {TYPED}"]
    assert not MonitoredSite.objects.exists()
    assert not LogEntry.objects.exists()


def test_form_comes_back_with_what_was_typed_except_for_credentials(
    staff: Client, figures: Website
) -> None:
    shown = text(add(staff, form(figures, name="Numbers", credential_secret=TYPED)))
    assert 'value="Numbers"' in shown
    assert figures.url("/figures") in shown
    assert TYPED not in shown
    assert "once more before you save" in shown
    assert "Please correct" not in shown


def test_script_is_given_the_outcome_alone(staff: Client, figures: Website) -> None:
    shown = text(add(staff, form(figures, credential_secret=TYPED), headers=HTMX))
    assert shown.strip().startswith('<div class="outcome">')
    assert "The connection works." in shown
    assert "once more before you save" not in shown
    assert TYPED not in shown


def test_stored_credentials_serve_where_nothing_is_typed(staff: Client, figures: Website) -> None:
    site = stored(figures)
    shown = text(staff.post(page_of(site), form(figures)))
    assert "The connection works." in shown
    assert STORED not in shown
    assert sent_secrets(figures) == [f"Bearer {STORED}"]


def test_typed_credentials_come_before_stored_ones_and_neither_is_saved(
    staff: Client, figures: Website
) -> None:
    site = stored(figures)
    before = MonitoredSite.objects.values().get()
    text(staff.post(page_of(site), form(figures, name="Other", credential_secret=TYPED)))
    assert sent_secrets(figures) == [f"Bearer {TYPED}"]
    assert MonitoredSite.objects.values().get() == before
    assert not SiteSnapshot.objects.exists()
    assert not LogEntry.objects.exists()


def test_what_is_wrong_is_said_in_words(staff: Client, figures: Website) -> None:
    figures.pages["/figures"] = http(status=403)
    shown = text(add(staff, form(figures, credential_secret=TYPED), headers=HTMX))
    assert "The credentials are refused." in shown
    assert "the credentials lack a right" in shown
    assert "credentials refused" in shown


def test_nothing_is_sent_until_the_fields_can_be_used(staff: Client, figures: Website) -> None:
    shown = text(add(staff, form(figures, option_figures="visitors ="), headers=HTMX))
    assert "not tried" in shown
    assert "<dt>Figures</dt><dd>Line 1:" in shown
    shown = text(add(staff, form(figures), headers=HTMX))
    assert "<dt>Secret</dt>" in shown
    assert "These options need this credential." in shown
    assert figures.requests == []


def test_name_may_come_later(staff: Client, figures: Website) -> None:
    shown = text(add(staff, form(figures, name="", credential_secret=TYPED), headers=HTMX))
    assert "The connection works." in shown


def test_what_the_site_sent_is_escaped(staff: Client, figures: Website) -> None:
    evil = "<script>alert(1)</script>"
    data = form(figures, option_url=figures.url("/page"), option_auth="none")
    data |= {"option_figures": f"load [{evil[:15]}] = v"}
    figures.pages["/page"] = http(json.dumps({"v": 1}))
    shown = text(add(staff, data, headers=HTMX))
    assert "Load" in shown
    assert "<script" not in shown


def test_call_goes_out_before_the_transaction_of_the_page(
    staff: Client, figures: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth = len(connection.savepoint_ids)
    seen: list[int] = []

    def page(request: Request) -> bytes:
        seen.append(len(connection_of_the_view.savepoint_ids))
        return http(json.dumps({"v": 1}))

    connection_of_the_view = connection._connections["default"]  # type: ignore[attr-defined]
    figures.pages["/figures"] = page
    text(add(staff, form(figures, credential_secret=TYPED)))
    assert seen == [depth]


class TestPermissions:
    def client(self, *names: str) -> Client:
        user = User.objects.create_user("helper", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client = Client()
        client.force_login(user)
        return client

    def test_who_may_only_look_may_not_test(self, figures: Website) -> None:
        site = stored(figures)
        client = self.client("view_monitoredsite")
        assert "Test connection" not in text(client.get(page_of(site)))
        assert client.post(page_of(site), form(figures)).status_code == 403
        assert add(client, form(figures, credential_secret=TYPED)).status_code == 403
        assert figures.requests == []

    def test_who_may_add_may_not_test_what_is_stored(self, figures: Website) -> None:
        site = stored(figures)
        client = self.client("add_monitoredsite", "view_monitoredsite")
        assert "works" in text(add(client, form(figures, name="B", credential_secret=TYPED)))
        assert client.post(page_of(site), form(figures)).status_code == 403

    def test_nobody_may_test_without_logging_in(self, figures: Website) -> None:
        assert add(Client(), form(figures, credential_secret=TYPED)).status_code == 302
        assert figures.requests == []

    def test_form_of_another_page_cannot_test(self, figures: Website) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.create_superuser("me"))
        assert add(client, form(figures, credential_secret=TYPED)).status_code == 403
        assert figures.requests == []


def test_site_that_has_gone_is_not_found(staff: Client, figures: Website) -> None:
    site = stored(figures)
    address = page_of(site)
    site.delete()
    assert staff.post(address, form(figures)).status_code == 404


def test_site_whose_platform_has_gone_cannot_be_tested(staff: Client, website: Website) -> None:
    site = MonitoredSite.objects.create(name="Old", platform="gone")
    assert "Test connection" not in text(staff.get(page_of(site)))
    assert staff.post(page_of(site), form(website)).status_code == 403


def test_site_whose_key_is_missing_is_tested_with_what_is_typed(
    staff: Client, figures: Website, settings: Settings
) -> None:
    site = stored(figures)
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    assert "not tried" in text(staff.post(page_of(site), form(figures), headers=HTMX))
    shown = text(staff.post(page_of(site), form(figures, credential_secret=TYPED), headers=HTMX))
    assert "The connection works." in shown
