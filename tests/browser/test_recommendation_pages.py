"""The pages of recommendations: accessible, quiet, no wider than the screen; a token is copied."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from recommendations import tokens
from recommendations.models import ContentItem, QuarantinedAction, UserAction
from tests.browser.test_pages import assert_no_faults

ADMIN = "/admin/recommendations"


def first(model: Any) -> int:
    return int(model.objects.order_by("pk").values_list("pk", flat=True)[0])


PAGES: dict[str, Callable[[], str]] = {
    "content": lambda: f"{ADMIN}/contentitem/",
    "item": lambda: f"{ADMIN}/contentitem/{first(ContentItem)}/change/",
    "new item": lambda: f"{ADMIN}/contentitem/add/",
    "actions": lambda: f"{ADMIN}/useraction/",
    "action": lambda: f"{ADMIN}/useraction/{first(UserAction)}/change/",
    "quarantine": lambda: f"{ADMIN}/quarantinedaction/",
    "entry": lambda: f"{ADMIN}/quarantinedaction/{first(QuarantinedAction)}/change/",
    "tokens": lambda: f"{ADMIN}/applicationtoken/",
    "new token": lambda: f"{ADMIN}/applicationtoken/add/",
}


def build_content() -> None:
    now, day = timezone.now(), timedelta(days=1)
    for number in range(12):
        ContentItem.objects.create(
            external_id=f"article-{number}", title=f"Article {number}: how a list is made",
            topics=["lists", "made up"], text="Once upon a time. " * 20,
            published_at=now - (number - 1) * day, hidden=number == 4,
            expires_at=now - day if number == 5 else None,
        )  # fmt: skip
    UserAction.objects.bulk_create(
        UserAction(
            action_id=f"a{number}", user_id="an-id-without-any-place-to-break-it-" + "x" * 80,
            item_id=f"article-{number}", action="view", occurred_at=now,
        )
        for number in range(5)
    )  # fmt: skip
    QuarantinedAction.objects.create(
        entry_id="e1", reason="It is not JSON: Expecting value: line 1 column 1 (char 0).",
        raw=b"\x00\xff" + b"no-place-to-break" * 60,
    )  # fmt: skip
    tokens.issue("Shop")
    tokens.revoke([tokens.issue("Old shop")[0].pk])


@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible_and_fits(name: str, page: Page) -> None:
    build_content()
    page.goto(PAGES[name]())
    assert_no_faults(page)


def test_a_token_is_made_copied_and_never_shown_again(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{ADMIN}/applicationtoken/")
    page.get_by_role("link", name="Add application token").click()
    page.get_by_label("Name").fill("Shop")
    page.get_by_role("button", name="Save", exact=True).click()
    secret = page.get_by_label("Token:").input_value()
    assert re.fullmatch(r"sb_[\w-]{43}", secret)
    page.wait_for_load_state()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    assert_no_faults(page)
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_role("row").filter(has_text="Shop")).to_contain_text("active")
    assert secret not in page.content()


def test_an_entry_is_put_back_from_the_list(page: Page) -> None:
    build_content()
    page.goto(f"{ADMIN}/quarantinedaction/")
    page.locator("tbody .action-select").first.check()
    page.get_by_label("Action:").select_option("put_back")
    page.get_by_role("button", name="Go").click()
    expect(page.locator(".messagelist")).to_contain_text("back in the queue")


@pytest.mark.parametrize("path", ["/api/items", "/api/items/article-1", "/api/actions"])
def test_browsable_api_keeps_the_content_security_policy(path: str, page: Page) -> None:
    build_content()
    page.goto(path, wait_until="networkidle")
    expect(page.get_by_role("link", name="SoloBoard")).to_be_visible()
