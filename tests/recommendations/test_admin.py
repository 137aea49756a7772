import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from recommendations import queue, tokens
from recommendations.models import (
    FACTORS,
    ApplicationToken,
    ContentItem,
    FactorVersion,
    ItemVector,
    QuarantinedAction,
    UserAction,
)
from tests.recommendations.conftest import Drain, entry, raw

pytestmark = pytest.mark.django_db

SECRET = re.compile(r"sb_[A-Za-z0-9_-]{43}")


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("me"))
    return client


def list_of(model: str) -> str:
    return reverse(f"admin:recommendations_{model}_changelist")


def page_of(row: Any) -> str:
    return reverse(f"admin:recommendations_{row._meta.model_name}_change", args=[row.pk])


def html(client: Client, address: str, **query: str) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def act(client: Client, model: str, action: str, *rows: Any) -> str:
    """Use an action of a list; returns the page that follows."""
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    answer = client.post(list_of(model), chosen, follow=True)
    return answer.content.decode()


# --- Tokens ---------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_works(staff: Client) -> None:
    answer = staff.post(reverse("admin:recommendations_applicationtoken_add"), {"name": "shop"})
    assert "no-store" in answer.headers["Cache-Control"]
    (secret,) = set(SECRET.findall(answer.content.decode()))
    token = ApplicationToken.objects.get()
    assert tokens.find(secret) == token
    history = reverse("admin:recommendations_applicationtoken_history", args=[token.pk])
    for address in (list_of("applicationtoken"), page_of(token), history):
        shown = html(staff, address)
        assert not SECRET.search(shown)
        assert token.digest not in shown
    assert secret not in str(LogEntry.objects.values())
    assert (
        Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/items").status_code == 200
    )


def test_sending_the_form_again_makes_no_second_token_of_that_name(staff: Client) -> None:
    address = reverse("admin:recommendations_applicationtoken_add")
    staff.post(address, {"name": "shop"})
    again = staff.post(address, {"name": "shop"}).content.decode()
    assert not SECRET.search(again)
    assert ApplicationToken.objects.count() == 1


def test_renaming_keeps_the_token(staff: Client) -> None:
    token, secret = tokens.issue("shop")
    assert staff.post(page_of(token), {"name": "shop 2"}).status_code == 302
    assert str(tokens.find(secret)) == "shop 2"


def test_a_token_is_revoked(staff: Client) -> None:
    token, secret = tokens.issue("shop")
    assert "1 tokens: revoked." in act(staff, "applicationtoken", "revoke", token)
    assert tokens.find(secret) is None
    assert "revoked" in html(staff, list_of("applicationtoken"))


# --- Content --------------------------------------------------------------------------------------


def test_an_item_is_added_and_its_topics_edited(staff: Client) -> None:
    form = {"external_id": "i1", "title": "First", "topics": "a, b", "published_at_0": "2026-01-01",
            "published_at_1": "10:00:00", "expires_at_0": "", "expires_at_1": "", "text": ""}  # fmt: skip
    added = staff.post(reverse("admin:recommendations_contentitem_add"), form)
    assert added.status_code == 302, added.content.decode()
    item = ContentItem.objects.get()
    assert item.topics == ["a", "b"]
    assert (
        staff.post(page_of(item), {**form, "topics": "c", "external_id": "i2"}).status_code == 302
    )
    item.refresh_from_db()
    assert (item.topics, item.external_id) == (["c"], "i1")


def test_an_id_with_a_slash_is_explained_at_its_field(staff: Client) -> None:
    answer = staff.post(reverse("admin:recommendations_contentitem_add"), {"external_id": "a/b"})
    assert "holds no slash" in answer.content.decode()


@pytest.mark.parametrize("term", ["shoe", "i-7", "sport"])
def test_items_are_found_by_title_id_and_topic(staff: Client, term: str) -> None:
    ContentItem.objects.create(external_id="i-7", title="Red shoes", topics=["sport", "red"])
    ContentItem.objects.create(external_id="i-77", title="Hat", topics=["sports"])
    shown = html(staff, list_of("contentitem"), q=term)
    assert "Red shoes" in shown
    assert "Hat" not in shown


def test_the_state_of_an_item_is_shown_and_filtered(staff: Client) -> None:
    now, hour = timezone.now(), timedelta(hours=1)
    ContentItem.objects.create(external_id="1", title="Current")
    ContentItem.objects.create(external_id="2", title="Later", published_at=now + hour)
    ContentItem.objects.create(external_id="3", title="Gone", expires_at=now - hour)
    ContentItem.objects.create(external_id="4", title="Secret", hidden=True)
    shown = html(staff, list_of("contentitem"))
    for word in ("recommendable", "not yet published", "expired", "hidden"):
        assert f">{word}</span>" in shown
    assert "Gone" not in html(staff, list_of("contentitem"), listable="yes")
    not_now = html(staff, list_of("contentitem"), listable="no")
    assert "Gone" in not_now
    assert "Current" not in not_now


def test_items_are_hidden_and_shown_again(staff: Client) -> None:
    item = ContentItem.objects.create(external_id="1", title="T")
    assert "1 items: hidden" in act(staff, "contentitem", "hide", item)
    assert not ContentItem.objects.listable().exists()
    act(staff, "contentitem", "show", item)
    assert ContentItem.objects.listable().exists()


def test_the_page_of_an_item_says_where_its_vector_comes_from(staff: Client) -> None:
    item = ContentItem.objects.create(external_id="1", title="T")
    assert "None yet" in html(staff, page_of(item))
    ItemVector.objects.create(
        version=FactorVersion.objects.create(status="active"), item_id="1",
        vector=[0.0] * FACTORS, search=[0.0] * (FACTORS + 1),
    )  # fmt: skip
    assert "Learned from actions" in html(staff, page_of(item))


# --- Actions and the quarantine -------------------------------------------------------------------


def test_actions_are_read_and_never_written(staff: Client, drain: Drain) -> None:
    queue.push([entry(), entry(user_id="u2", item_id="i2")])
    drain()
    for term in ("u2", "i2"):
        shown = html(staff, list_of("useraction"), q=term)
        assert "u2" in shown
        assert "u1" not in shown
    action = UserAction.objects.get(user_id="u1")
    assert 'name="_save"' not in html(staff, page_of(action))
    assert staff.post(page_of(action), {"user_id": "x"}).status_code == 403
    assert staff.get(reverse("admin:recommendations_useraction_add")).status_code == 403


def test_an_entry_is_shown_as_harmless_text(staff: Client, drain: Drain) -> None:
    queue.push_raw([b"<script>alert(1)</script>\x00\xff\xe2\x80\xae" + b"x" * 50_000])
    drain()
    kept = QuarantinedAction.objects.get()
    for address in (list_of("quarantinedaction"), page_of(kept)):
        shown = html(staff, address)
        assert "<script>alert(1)" not in shown
        assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x00\\xff\\u202e" in shown
        assert len(shown) < 60_000
    assert kept.reason in html(staff, list_of("quarantinedaction"))


def test_an_entry_that_is_put_back_is_processed_once(
    staff: Client, drain: Drain, settings: Settings
) -> None:
    queue.push_raw([raw(action="listen"), raw(action="listen"), b"{"])
    drain()
    settings.ACTION_WEIGHTS = {**settings.ACTION_WEIGHTS, "listen": 1.5}
    chosen = list(QuarantinedAction.objects.all())
    assert "3 entries: back in the queue" in act(staff, "quarantinedaction", "put_back", *chosen)
    # As if it had died before the rows were gone, and somebody did it again.
    QuarantinedAction.objects.bulk_create(chosen)
    act(staff, "quarantinedaction", "put_back", *chosen)
    assert not QuarantinedAction.objects.exists()
    assert drain().counts["processed"] == 2
    assert QuarantinedAction.objects.count() == 2


def test_entries_can_be_deleted(staff: Client, drain: Drain) -> None:
    queue.push_raw([b"{"])
    drain()
    kept = QuarantinedAction.objects.get()
    delete = reverse("admin:recommendations_quarantinedaction_delete", args=[kept.pk])
    assert staff.post(delete, {"post": "yes"}).status_code == 302
    assert not QuarantinedAction.objects.exists()
