"""The pages of alerts: accessible, quiet, no wider than the screen; and a test with one click."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from alerts.evaluating import evaluate
from alerts.models import Alert, AlertRule, Channel, Delivery
from alerts.rules import RULES
from sites.models import MonitoredSite, SiteSnapshot
from tests.browser.test_pages import assert_no_faults


@pytest.fixture(autouse=True)
def world(transactional_db: None) -> None:
    """A site that is down since yesterday, a rule that says so, and a channel that cannot be reached."""
    now = timezone.now()
    site = MonitoredSite.objects.create(name="Inkwell API", platform="uptime", options={})
    for hours in range(24):
        SiteSnapshot.objects.create(
            site=site, taken_at=now - timedelta(hours=hours), state="down" if hours % 5 else "up",
            reason="answered 503 Service Unavailable; expected 200-399",
        )  # fmt: skip
    SiteSnapshot.objects.create(site=site, taken_at=now, state="down", reason="no answer")
    channel = Channel.objects.create(
        name="Phone", kind="webhook", options={}, secrets={"url": "http://127.0.0.1:9/"}
    )
    rule = AlertRule.objects.create(name="Down for long", kind="down", options={"minutes": 0})
    rule.channels.add(channel)
    evaluate(now)
    Delivery.objects.update(status="failed", attempts=30, error="127.0.0.1 refused the connection.")


def new_rule(key: str) -> Callable[[], str]:
    return lambda: f"/admin/alerts/alertrule/add/?kind={key}"


PAGES: dict[str, Callable[[], str]] = {
    "rules": lambda: "/admin/alerts/alertrule/",
    "kinds of rules": lambda: "/admin/alerts/alertrule/add/",
    **{f"new {key}": new_rule(key) for key in RULES},
    "rule": lambda: f"/admin/alerts/alertrule/{AlertRule.objects.get().pk}/change/",
    "backtest": lambda: f"/admin/alerts/alertrule/{AlertRule.objects.get().pk}/backtest/?days=3",
    "channels": lambda: "/admin/alerts/channel/",
    "kinds of channels": lambda: "/admin/alerts/channel/add/",
    "channel": lambda: f"/admin/alerts/channel/{Channel.objects.get().pk}/change/",
    "alerts": lambda: "/admin/alerts/alert/",
    "alert": lambda: f"/admin/alerts/alert/{Alert.objects.get().pk}/change/",
    "messages": lambda: "/admin/alerts/delivery/",
    "message": lambda: f"/admin/alerts/delivery/{Delivery.objects.get().pk}/change/",
}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible_and_fits(name: str, page: Page) -> None:
    page.goto(PAGES[name]())
    assert_no_faults(page)


def test_a_channel_is_tested_with_one_click(page: Page) -> None:
    page.goto(PAGES["channel"]())
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator(".messagelist .error")).to_have_text(re.compile("Phone: not sent. 127"))
