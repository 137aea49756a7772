"""Rules, channels and history to judge."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_django import Settings

from alerts.models import AlertRule, Channel
from sites.models import MonitoredSite, SiteSnapshot
from tests.sites.loopback import LOOPBACK
from tests.sites.website import Website

#: A Monday.
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)

AddSite = Callable[..., MonitoredSite]
AddRule = Callable[..., AlertRule]
AddChannel = Callable[..., Channel]
AddPoint = Callable[..., SiteSnapshot]


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Website]:
    """A server on the loopback that webhooks go to."""
    settings.ALLOWED_PRIVATE_NETWORKS = [LOOPBACK]
    with Website() as website:
        yield website


@pytest.fixture
def add_site(db: None) -> AddSite:
    def add(name: str = "shop", **fields: Any) -> MonitoredSite:
        options = fields.pop("options", {"url": "https://shop.example/"})
        return MonitoredSite.objects.create(name=name, platform="uptime", options=options, **fields)

    return add


@pytest.fixture
def add_channel(db: None) -> AddChannel:
    """Add a webhook, unless it is told otherwise."""

    def add(name: str = "hook", **fields: Any) -> Channel:
        given: dict[str, Any] = {
            "kind": "webhook",
            "secrets": {"url": "https://hook.example/"},
            **fields,
        }
        return Channel.objects.create(name=name, **given)

    return add


@pytest.fixture
def add_rule(db: None) -> AddRule:
    """Add a rule that fires at once when a site is down, unless it is told otherwise."""

    def add(name: str = "Down", *channels: Channel, **fields: Any) -> AlertRule:
        given: dict[str, Any] = {"kind": "down", "options": {"minutes": 0}, **fields}
        rule = AlertRule.objects.create(name=name, **given)
        rule.channels.set(channels)
        return rule

    return add


@pytest.fixture
def add_point(db: None) -> AddPoint:
    def add(site: MonitoredSite, taken_at: datetime, state: str, **fields: Any) -> SiteSnapshot:
        return SiteSnapshot.objects.create(site=site, taken_at=taken_at, state=state, **fields)

    return add
