"""What is popular, what is trending, and which topics rise."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from recommendations import cold_start, signals, valkey
from recommendations.core.actions import Actions
from recommendations.core.parameters import Parameters
from recommendations.core.trending import trend
from recommendations.models import ContentItem, ItemSignal, UserAction
from scheduling.run import JobResult, Run
from tests.recommendations.shop import act, build_shop, stored_actions, topic_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_lists")]

LONG_AGO = timedelta(days=200)


def add(item_id: str, *topics: str) -> None:
    ContentItem.objects.create(
        external_id=item_id,
        title=item_id,
        topics=list(topics),
        published_at=timezone.now() - LONG_AGO,
    )


def like(item_id: str, times: int, *, ago: timedelta = timedelta()) -> None:
    for number in range(times):
        act(f"somebody {item_id} {ago} {number}", item_id, ago=ago)


def refresh() -> JobResult:
    return cold_start.refresh(
        Run(id=1, payload={}, deadline=time.monotonic() + 60, report=lambda done, total: None)
    )


def trending_ids(topic: str = "") -> list[str]:
    return [leader.item_id for leader in cold_start.read(topic).entries]


def test_counts_are_those_of_the_engine() -> None:
    build_shop()
    act("user-000", "item-000", "dismiss")
    parameters = Parameters()
    refreshed = signals.refresh(parameters)
    actions, _, item_ids = stored_actions()
    assert isinstance(actions, Actions)
    expected = trend(
        actions, at_s=refreshed.at.timestamp(), half_life_s=parameters.score.trend_half_life_s
    )
    stored = {row.item_id: row for row in ItemSignal.objects.all()}
    for item_id, number in zip(item_ids, expected, strict=True):
        assert (stored[item_id].trend if item_id in stored else 0) == pytest.approx(number)
    likers = UserAction.objects.filter(item_id="item-004", action="view").values("user_id")
    assert stored["item-004"].popularity == likers.distinct().count()


def test_refresh_forgets_items_that_nobody_likes_any_more() -> None:
    like("gone", 2)
    signals.refresh()
    UserAction.objects.all().delete()
    assert signals.refresh().items == 0
    assert not ItemSignal.objects.exists()


def test_very_old_action_counts_as_popularity_alone() -> None:
    add("ancient")
    like("ancient", 1, ago=timedelta(days=20_000))
    refresh()
    (leader,) = cold_start.read().entries
    assert leader.listed().kind == "popular"


def test_recent_likings_weigh_more_than_many_old_ones() -> None:
    add("old")
    add("young")
    like("old", 20, ago=timedelta(days=60))
    like("young", 3)
    refresh()
    assert trending_ids() == ["young", "old"]


def test_each_topic_has_its_own_list() -> None:
    add("tea", "drinks")
    add("rye", "bread")
    add("toast", "bread", "breakfast")
    like("tea", 5)
    like("rye", 2)
    like("toast", 3)
    refresh()
    assert trending_ids("bread") == ["toast", "rye"]
    assert trending_ids("breakfast") == ["toast"]
    assert trending_ids() == ["tea", "toast", "rye"]


def test_lists_that_are_not_there_come_from_the_database() -> None:
    add("rye", "bread")
    add("tea", "drinks")
    add("untouched", "bread")
    like("rye", 2)
    like("tea", 3)
    assert trending_ids() == ["tea", "rye", "untouched"]
    assert trending_ids("bread") == ["rye", "untouched"]
    assert signals.refreshed_at() is not None


def test_hidden_items_are_in_no_list() -> None:
    add("rye")
    like("rye", 2)
    ContentItem.objects.update(hidden=True)
    refresh()
    assert trending_ids() == []


def test_refresh_reports_what_it_found() -> None:
    build_shop()
    counts = refresh().counts
    assert counts["items"] == ItemSignal.objects.count()
    assert counts["topics"] == len({topic_of(number) for number in range(4)})
    assert counts["milliseconds"] >= 0


def test_lists_have_an_age_and_end_by_themselves() -> None:
    build_shop()
    refresh()
    assert 0 <= cold_start.read().age_s < 60
    assert valkey.server().ttl(cold_start.KEY) > 0


def test_topic_that_rises_is_named_and_one_that_is_always_large_is_not() -> None:
    add("loaf", "bread")
    add("novel", "robots")
    for day in range(40):
        like("loaf", 10, ago=timedelta(days=day, hours=1))
    like("novel", 1, ago=timedelta(days=30))
    like("novel", 8)
    refresh()
    (topic,) = cold_start.read_rising_topics()
    assert topic.topic == "robots"
    assert topic.rise > 2
    assert topic.present > topic.usual


def test_topic_with_little_evidence_is_not_named() -> None:
    add("novel", "robots")
    add("loaf", "bread")
    like("loaf", 1, ago=timedelta(days=40))
    like("novel", 3)
    refresh()
    assert cold_start.read_rising_topics() == []


def test_rising_topics_are_found_without_valkey_too() -> None:
    add("novel", "robots")
    add("loaf", "bread")
    like("loaf", 1, ago=timedelta(days=40))
    like("novel", 12)
    found = [topic.topic for topic in cold_start.find_rising_topics()]
    assert found == ["robots"]
    assert [topic.topic for topic in cold_start.read_rising_topics()] == found
