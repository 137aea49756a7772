from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from sites.models import MonitoredSite, SiteDay, SiteSnapshot
from sites.platforms import PLATFORMS
from sites.platforms.base import PlatformUnavailable
from tests.sites.history.shops import WithPast, add_shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> WithPast:
    platform = WithPast()
    monkeypatch.setitem(PLATFORMS, platform.key, platform)
    return platform


def backfill(*arguments: str) -> str:
    out = StringIO()
    call_command("backfill_history", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_fetches_the_past_of_every_site_that_has_one(platform: WithPast) -> None:
    sites = [add_shop("one"), add_shop("two")]
    MonitoredSite.objects.create(name="page", platform="uptime", options={"url": "a.example"})
    said = backfill()
    assert platform.asked == [60, 60]
    assert SiteDay.objects.count() == 120
    assert "The past of 2 sites fetched" in said
    assert "page" not in said
    for site in sites:
        site.refresh_from_db()
        assert site.past_due_at is None


def test_it_changes_neither_states_nor_points(platform: WithPast) -> None:
    site = add_shop()
    backfill()
    site.refresh_from_db()
    assert (site.state, site.last_attempt_at, site.last_snapshot) == ("new", None, None)
    assert not SiteSnapshot.objects.exists()


def test_repeating_it_changes_nothing(platform: WithPast) -> None:
    add_shop()
    backfill("--days", "30")
    first = list(SiteDay.objects.values())
    backfill("--days", "30")
    assert list(SiteDay.objects.values()) == first


def test_named_sites_are_fetched_also_when_they_are_disabled(platform: WithPast) -> None:
    add_shop("one", enabled=False)
    add_shop("two")
    backfill("one", "--days", "5")
    assert platform.asked == [5]
    assert set(SiteDay.objects.values_list("site__name", flat=True)) == {"one"}


def test_it_says_what_a_platform_cannot_give(platform: WithPast) -> None:
    add_shop("one")
    MonitoredSite.objects.create(name="page", platform="uptime", options={"url": "a.example"})
    said = backfill("one", "page", "--days", "365")
    assert "page: Uptime has no past to fetch" in said
    assert "one: With a past gives at most 90 days" in said
    assert platform.asked == [90]


def test_a_failure_is_told_and_leaves_the_past_due(platform: WithPast) -> None:
    site = add_shop()
    platform.error, platform.longest_answered = PlatformUnavailable("answered 503"), 0
    out = StringIO()
    with pytest.raises(CommandError, match="1 of 1"):
        call_command("backfill_history", stdout=out)
    assert "answered 503" in out.getvalue()
    site.refresh_from_db()
    assert site.past_due_at is not None


def test_an_unknown_name_is_refused_before_anything_is_fetched(platform: WithPast) -> None:
    add_shop()
    with pytest.raises(CommandError, match="There is no site named 'none'"):
        backfill("shop", "none")
    assert platform.asked == []


@pytest.mark.parametrize("days", ["0", "-1", "many", "99999"])
def test_a_number_of_days_that_makes_no_sense_is_refused(days: str) -> None:
    with pytest.raises(CommandError, match="from 1 to"):
        backfill(f"--days={days}")
