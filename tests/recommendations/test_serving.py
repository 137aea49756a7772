"""Where a list comes from, what may never come back, and how a list is divided."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from redis.exceptions import ConnectionError as RedisConnectionError

from recommendations import lists, serving, signals, valkey, versions
from recommendations.models import (
    ContentItem,
    FactorVersion,
    ItemVector,
    UserAction,
    UserEmbedding,
)
from recommendations.serving import Answer, Wish
from tests.recommendations.shop import (
    PARAMETERS,
    act,
    build_shop,
    item,
    learn_version,
    topic_of,
    user,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_lists")]

ME = user(0)
MY_TOPIC = topic_of(0)


def ids(answer: Answer) -> list[str]:
    return [entry.item_id for entry in answer.items]


def ask(**changes: object) -> Answer:
    return serving.recommend(Wish(**{"user_id": ME, "limit": 10, **changes}))  # type: ignore[arg-type]


def hide(item_id: str) -> None:
    ContentItem.objects.filter(external_id=item_id).update(hidden=True)


def expire(item_id: str) -> None:
    ContentItem.objects.filter(external_id=item_id).update(expires_at=timezone.now())


def unpublish(item_id: str) -> None:
    later = timezone.now() + timedelta(hours=1)
    ContentItem.objects.filter(external_id=item_id).update(published_at=later)


def remove(item_id: str) -> None:
    ContentItem.objects.filter(external_id=item_id).delete()


def see(item_id: str) -> None:
    act(ME, item_id, "view")


def dismiss(item_id: str) -> None:
    act(ME, item_id, "dismiss")


WAYS_OUT: list[Callable[[str], None]] = [see, dismiss, hide, expire, unpublish, remove]


@pytest.fixture
def _shop() -> None:
    build_shop()
    learn_version()


@pytest.fixture
def valkey_away(no_lists: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse() -> None:
        raise RedisConnectionError("Connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(valkey, "server", refuse)
        patch.setattr(valkey, "_not_before", 0.0)
        yield


# --- Where it comes from --------------------------------------------------------------------------


@pytest.mark.usefixtures("_shop")
def test_first_list_is_computed_and_the_next_one_kept() -> None:
    first, second = ask(), ask()
    assert (first.source, second.source) == ("computed", "cache")
    assert first.personal
    assert first.because == ""
    assert first.items == second.items
    assert len(first.items) == 10


@pytest.mark.usefixtures("_shop")
def test_answer_tells_the_age_of_the_list() -> None:
    ask()
    kept = lists.read(ME)
    assert kept is not None
    UserEmbedding.objects.update(updated_at=timezone.now() - timedelta(days=1))
    lists.write(ME, replace(kept, made_at=kept.made_at - 600))
    answer = ask()
    assert answer.source == "cache"
    assert 600 <= answer.age_s < 660


@pytest.mark.usefixtures("_shop")
def test_most_of_a_list_is_of_what_the_user_likes() -> None:
    topics = Counter(topic for entry in ask().items for topic in entry.topics)
    assert topics.most_common(1)[0][0] == MY_TOPIC


@pytest.mark.usefixtures("_shop")
def test_list_is_made_again_when_the_vector_changed() -> None:
    ask()
    UserEmbedding.objects.filter(user_id=ME).update(updated_at=timezone.now())
    assert ask().source == "computed"


@pytest.mark.usefixtures("_shop")
def test_list_of_an_older_version_is_not_served() -> None:
    ask()
    learn_version()
    answer = ask()
    assert answer.source == "computed"
    assert answer.version == versions.active().version_id  # type: ignore[union-attr]


@pytest.mark.usefixtures("_shop", "valkey_away")
def test_without_valkey_the_list_is_computed_every_time() -> None:
    first, second = ask(), ask()
    assert (first.source, second.source) == ("computed", "computed")
    assert ids(first) == ids(second)


@pytest.mark.usefixtures("valkey_away")
def test_without_valkey_strangers_get_what_is_trending() -> None:
    build_shop()
    answer = ask(user_id="stranger")
    assert answer.source == "trending"
    assert len(answer.items) == 10


@pytest.mark.usefixtures("valkey_away")
def test_valkey_that_is_away_is_not_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert valkey.ask(lambda redis: redis.get("anything")) is None
    with monkeypatch.context() as patch:
        patch.setattr(valkey, "server", lambda: pytest.fail("It was asked again."))
        assert valkey.ask(lambda redis: redis.get("anything")) is None


def test_without_a_version_the_list_is_trending_and_says_so() -> None:
    build_shop()
    answer = ask()
    assert (answer.source, answer.personal, answer.version) == ("trending", False, None)
    assert answer.because == "Nothing has been learned yet."
    assert all(entry.reason.startswith("trending in ") for entry in answer.items)


def test_content_without_any_action_is_listed_too() -> None:
    ContentItem.objects.create(external_id="only", title="Only")
    answer = ask()
    assert (ids(answer), answer.source) == (["only"], "popular")


def test_without_content_the_list_is_empty() -> None:
    assert ask().items == []


@pytest.mark.usefixtures("_shop")
def test_user_who_is_not_known_gets_what_is_trending() -> None:
    answer = ask(user_id="stranger")
    assert (answer.source, answer.personal) == ("trending", False)
    assert answer.because == "Nothing has been learned about this user yet."


@pytest.mark.usefixtures("_shop")
def test_nobody_in_particular_gets_what_is_trending() -> None:
    assert ask(user_id="").because == "No user_id was given."


def test_user_below_the_gate_gets_what_is_trending_and_is_told_why() -> None:
    build_shop()
    learn_version(replace(PARAMETERS, personal_from=13))
    answer = ask()
    assert (answer.source, answer.personal) == ("trending", False)
    assert "acted on 12 items" in answer.because
    assert "from 13 items on" in answer.because


def test_user_at_the_gate_gets_a_personal_list() -> None:
    build_shop()
    learn_version(replace(PARAMETERS, personal_from=12))
    assert ask().personal


def test_old_actions_make_items_popular_not_trending() -> None:
    long_ago = timezone.now() - timedelta(days=400)
    ContentItem.objects.create(external_id="classic", title="Classic", published_at=long_ago)
    act("somebody", "classic", ago=timedelta(days=365))
    answer = ask()
    assert answer.source == "popular"
    assert answer.items[0].reason == "popular"


# --- What may never come back ---------------------------------------------------------------------


@pytest.mark.parametrize("way_out", WAYS_OUT)
@pytest.mark.usefixtures("_shop")
def test_item_does_not_come_back_in_a_computed_list(way_out: Callable[[str], None]) -> None:
    first = ids(ask())[0]
    lists.forget(ME)
    way_out(first)
    answer = ask()
    assert answer.source == "computed"
    assert first not in ids(answer)


@pytest.mark.parametrize("way_out", WAYS_OUT)
@pytest.mark.usefixtures("_shop")
def test_item_does_not_come_back_in_a_kept_list(way_out: Callable[[str], None]) -> None:
    first = ids(ask())[0]
    way_out(first)
    answer = ask()
    assert answer.source == "cache"
    assert first not in ids(answer)
    assert len(answer.items) == 10


@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_item_does_not_come_back_in_a_trending_list(way_out: Callable[[str], None]) -> None:
    build_shop()
    first = ids(ask())[0]
    way_out(first)
    answer = ask()
    assert answer.source == "trending"
    assert first not in ids(answer)
    assert len(answer.items) == 10


@pytest.mark.parametrize("way_out", WAYS_OUT)
@pytest.mark.usefixtures("_shop")
def test_new_item_does_not_come_back_in_a_kept_place(
    way_out: Callable[[str], None], settings: Settings
) -> None:
    settings.RECOMMEND_EXPLORATION_SHARE = 1.0
    ContentItem.objects.create(external_id="fresh", title="Fresh")
    assert ids(ask())[0] == "fresh"
    way_out("fresh")
    assert "fresh" not in ids(ask())


@pytest.mark.usefixtures("_shop")
def test_nothing_seen_is_ever_listed_however_long_the_list() -> None:
    seen = set(UserAction.objects.filter(user_id=ME).values_list("item_id", flat=True))
    assert not seen & set(ids(ask(limit=100)))


@pytest.mark.usefixtures("_shop")
def test_user_who_has_seen_nearly_everything_gets_the_rest() -> None:
    for number in range(118):
        act(ME, item(number))
    assert ids(ask()) == [item(118), item(119)] or set(ids(ask())) <= {item(118), item(119)}


# --- What is asked for ----------------------------------------------------------------------------


@pytest.mark.usefixtures("_shop")
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_list_is_as_long_as_asked_for(limit: int) -> None:
    assert len(ask(limit=limit).items) == limit


@pytest.mark.usefixtures("_shop")
def test_excluded_items_are_left_out() -> None:
    first = ids(ask())[:3]
    answer = ask(exclude=frozenset(first))
    assert not set(first) & set(ids(answer))
    assert len(answer.items) == 10


@pytest.mark.usefixtures("_shop")
@pytest.mark.parametrize("user_id", [ME, "stranger"])
def test_list_of_a_topic_holds_nothing_else(user_id: str) -> None:
    answer = ask(user_id=user_id, topic="tea")
    assert len(answer.items) == 10
    assert all(entry.topics == ["tea"] for entry in answer.items)


@pytest.mark.usefixtures("_shop")
def test_topic_of_which_the_kept_list_has_too_little_is_computed() -> None:
    kept = lists.read(ME) or (ask(), lists.read(ME))[1]
    assert kept is not None
    few = [entry for entry in kept.entries if entry.item_id in {item(2), item(6)}]
    lists.write(ME, replace(kept, entries=few))
    answer = ask(topic="tea")
    assert (answer.source, len(answer.items)) == ("computed", 10)
    again = lists.read(ME)
    assert again is not None
    assert again.entries == few


def test_unknown_topic_has_no_items() -> None:
    build_shop()
    assert ask(topic="no such thing").items == []


# --- How it is divided ----------------------------------------------------------------------------


@pytest.mark.usefixtures("_shop")
@pytest.mark.parametrize("user_id", [ME, "stranger"])
def test_no_topic_takes_more_than_its_share(user_id: str, settings: Settings) -> None:
    settings.RECOMMEND_TOPIC_SHARE = 0.3
    counts = Counter(entry.topics[0] for entry in ask(user_id=user_id).items)
    assert max(counts.values()) == 3


@pytest.mark.usefixtures("_shop")
def test_full_topic_fills_a_list_that_would_else_be_short(settings: Settings) -> None:
    settings.RECOMMEND_TOPIC_SHARE = 0.1
    ContentItem.objects.exclude(topics=[MY_TOPIC]).delete()
    assert len(ask().items) == 10


@pytest.mark.usefixtures("_shop")
@pytest.mark.parametrize("user_id", [ME, "stranger"])
def test_share_of_the_list_is_kept_for_new_items(user_id: str, settings: Settings) -> None:
    settings.RECOMMEND_EXPLORATION_SHARE = 0.2
    for number in range(5):
        ContentItem.objects.create(external_id=f"new-{number}", title="New", topics=["juice"])
    answer = ask(user_id=user_id)
    places = [place for place, entry in enumerate(answer.items, 1) if entry.item_id[:3] == "new"]
    assert places == [5, 10]
    assert answer.items[4].reason == "new in juice"


@pytest.mark.usefixtures("_shop")
def test_no_place_is_kept_when_the_share_is_0(settings: Settings) -> None:
    settings.RECOMMEND_EXPLORATION_SHARE = 0.0
    ContentItem.objects.create(external_id="new", title="New")
    assert "new" not in ids(ask())


@pytest.mark.usefixtures("_shop")
def test_items_older_than_three_days_are_not_new(settings: Settings) -> None:
    settings.RECOMMEND_EXPLORATION_SHARE = 1.0
    long_ago = timezone.now() - timedelta(days=3, minutes=1)
    ContentItem.objects.create(external_id="aged", title="Aged", published_at=long_ago)
    assert "aged" not in ids(ask())


@pytest.mark.usefixtures("_shop")
def test_shares_that_replay_chose_hold_where_the_owner_set_none() -> None:
    FactorVersion.objects.update(figures={"shares": {"exploration": 0.0, "topic": 0.2}})
    counts = Counter(entry.topics[0] for entry in ask().items)
    # Four topics of two each leave two places that only full topics can fill.
    assert sorted(counts.values())[:2] == [2, 2] or max(counts.values()) <= 4


# --- Reasons --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_shop")
def test_reason_names_an_own_item_of_the_same_taste() -> None:
    entry = next(entry for entry in ask().items if entry.topics == [MY_TOPIC])
    assert entry.reason_kind == "because"
    assert entry.reason.startswith("because you read Title ")
    number = int(entry.reason.removeprefix("because you read Title "))
    assert UserAction.objects.filter(user_id=ME, item_id=item(number)).exists()
    assert topic_of(number) == MY_TOPIC


@pytest.mark.parametrize(
    ("action", "words"), [("purchase", "because you bought "), ("listen", "because of ")]
)
def test_reason_says_what_the_user_did(action: str, words: str, settings: Settings) -> None:
    settings.ACTION_WEIGHTS = {**settings.ACTION_WEIGHTS, "listen": 1.5}
    build_shop()
    UserAction.objects.filter(user_id=ME).update(action=action)
    learn_version()
    reasons = [entry.reason for entry in ask().items if entry.reason_kind == "because"]
    assert reasons
    assert all(reason.startswith(words) for reason in reasons)


# --- What it costs --------------------------------------------------------------------------------


@pytest.mark.usefixtures("_shop")
@pytest.mark.parametrize("limit", [1, 100])
def test_kept_list_takes_a_bounded_number_of_queries(
    limit: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    ask(limit=limit)
    # The reader, the items, new items (a transaction and two settings around), titles of reasons.
    with django_assert_max_num_queries(9):
        assert ask(limit=limit).source == "cache"


@pytest.mark.usefixtures("_shop")
def test_computed_list_takes_a_bounded_number_of_queries(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    versions.active()
    with django_assert_max_num_queries(15):
        assert ask().source == "computed"


# --- A version that is replaced meanwhile ---------------------------------------------------------


@pytest.mark.usefixtures("_shop")
def test_version_that_was_emptied_at_the_same_instant_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(versions, "active", lambda: None)
    answer = ask()
    assert (answer.personal, answer.source) == (False, "trending")
    assert answer.because == "What was learned is being replaced right now."
    assert len(answer.items) == 10


@pytest.mark.django_db(transaction=True)
def test_reader_sees_one_version_or_the_other_while_they_are_switched() -> None:
    build_shop()
    first = learn_version()
    second = learn_version(replace(PARAMETERS, factors=64, epochs=2), active=False)
    expected = {}
    for version in (first, second):
        switch_to(version)
        lists.forget(ME)
        expected[version.pk] = ids(ask())
    found: list[Answer] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while len(found) < 30:
                lists.forget(ME)
                found.append(ask())
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=read)
    thread.start()
    turn = 0
    while thread.is_alive():
        switch_to((first, second)[turn % 2])
        turn += 1
        time.sleep(0.1)
    thread.join()
    assert not failures
    assert {answer.version for answer in found} == {first.pk, second.pk}
    for answer in found:
        assert answer.personal
        assert ids(answer) == expected[answer.version or 0]


def switch_to(version: FactorVersion) -> None:
    with transaction.atomic():
        FactorVersion.objects.filter(status="active").update(status="retired")
        FactorVersion.objects.filter(pk=version.pk).update(status="active")


def test_half_of_the_index_may_belong_to_another_version() -> None:
    build_shop()
    learn_version(active=False)
    version = learn_version()
    assert ItemVector.objects.exclude(version=version).exists()
    assert ask().version == version.pk
    assert signals.refreshed_at() is not None
