from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from scheduling.errors import PayloadRefused
from sites.models import MonitoredSite
from sites.platforms import PLATFORMS
from sites.selection import Selection

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
selections = st.builds(
    Selection,
    sites=st.lists(names, max_size=3).map(tuple),
    platform=st.sampled_from(["", *PLATFORMS]),
    stale_minutes=st.none() | st.integers(0, 1_000_000),
    started_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@given(selections)
def test_a_selection_survives_its_way_through_a_message(selection: Selection) -> None:
    assert Selection.from_payload(selection.to_payload()) == selection


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ({"site": ["Shop"]}, "Unknown field 'site'; a sync takes sites, platform"),
        ({"sites": "Shop"}, "'sites' must be a list of names"),
        ({"sites": []}, "'sites' must be a list of names"),
        ({"sites": [1]}, "'sites' must be a list of names"),
        ({"sites": ["a\0b"]}, r"There is no site named 'a\\x00b'"),
        ({"sites": ["\udcff"]}, r"There is no site named '\\udcff'"),
        ({"platform": "gone"}, "'platform' must be one of uptime"),
        ({"platform": ["uptime"]}, "'platform' must be one of uptime"),
        ({"stale_minutes": "15"}, "'stale_minutes' must be a whole number"),
        ({"stale_minutes": True}, "'stale_minutes' must be a whole number"),
        ({"stale_minutes": -1}, "'stale_minutes' must be a whole number"),
        ({"stale_minutes": 10**12}, "'stale_minutes' must be a whole number"),
        ({"started_at": "yesterday"}, "'started_at' must be a time"),
        ({"started_at": None}, "'started_at' must be a time"),
        ({"started_at": "0001-01-01T00:00:00+23:59"}, "'started_at' must be a time"),
        ({"started_at": "9999-12-31T23:59:59-23:59"}, "'started_at' must be a time"),
        ({"started_at": "2026-02-07T10:30:00"}, "'started_at' must name its offset"),
    ],
)
def test_a_payload_that_cannot_be_used_is_refused_by_the_name_of_its_field(
    payload: Mapping[str, Any], complaint: str
) -> None:
    with pytest.raises(PayloadRefused, match=complaint):
        Selection.from_payload(payload)


def add(name: str, **fields: Any) -> MonitoredSite:
    return MonitoredSite.objects.create(name=name, platform="uptime", **fields)


def selected(now: datetime | None = None, **fields: Any) -> list[str]:
    return [site.name for site in Selection(**fields).due(now or timezone.now())]


@pytest.mark.django_db
def test_without_a_choice_all_due_sites_are_selected() -> None:
    add("shop")
    add("blog")
    add("disabled", enabled=False)
    assert selected() == ["shop", "blog"]


@pytest.mark.django_db
def test_named_sites_are_fetched_even_while_they_wait_or_are_disabled() -> None:
    now = timezone.now()
    add("waiting", not_before=now + timedelta(hours=1))
    add("disabled", enabled=False)
    add("other")
    assert selected(sites=("waiting", "disabled")) == ["waiting", "disabled"]


@pytest.mark.django_db
def test_a_name_that_no_site_has_is_refused() -> None:
    add("shop")
    with pytest.raises(PayloadRefused, match=r"There is no site named 'Shop'\."):
        selected(sites=("shop", "Shop"))


@pytest.mark.django_db
def test_a_site_that_went_away_does_not_stop_the_continuation() -> None:
    now = timezone.now()
    add("shop", last_attempt_at=now - timedelta(hours=1))
    assert selected(sites=("gone", "shop"), started_at=now) == ["shop"]


@pytest.mark.django_db
@pytest.mark.parametrize("sites", [(), ("tried", "not tried", "never")])
def test_a_continuation_leaves_out_what_has_been_tried(sites: tuple[str, ...]) -> None:
    started_at = timezone.now()
    add("tried", last_attempt_at=started_at + timedelta(seconds=1))
    add("not tried", last_attempt_at=started_at - timedelta(seconds=1))
    add("never")
    later = started_at + timedelta(minutes=5)
    assert selected(later, sites=sites, started_at=started_at) == ["never", "not tried"]


@pytest.mark.django_db
def test_platform_and_staleness_narrow_the_choice() -> None:
    now = timezone.now()
    add("fresh", last_sync_at=now - timedelta(minutes=10))
    add("old", last_sync_at=now - timedelta(minutes=20))
    add("never")
    MonitoredSite.objects.create(name="figures", platform="custom_json")
    assert selected(platform="uptime", stale_minutes=15) == ["old", "never"]
    assert selected(sites=("fresh", "old"), stale_minutes=15) == ["old"]
