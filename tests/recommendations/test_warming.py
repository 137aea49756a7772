"""Lists that are made before they are asked for are those that would be made for a request."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError

from recommendations import lists, serving, valkey, versions, warming
from recommendations.candidates import NEAREST
from recommendations.lists import CachedList
from recommendations.models import ContentItem, UserAction, UserEmbedding
from recommendations.serving import Wish
from scheduling.errors import PayloadRefused
from scheduling.run import JobResult, Run
from tests.recommendations.shop import ITEMS, PARAMETERS, USERS, build_shop, learn_version, user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_lists")]


def warm(*, time_s: float = 60.0, **payload: Any) -> JobResult:
    deadline = time.monotonic() + time_s
    return warming.warm(
        Run(id=1, payload=payload, deadline=deadline, report=lambda done, total: None)
    )


def kept(user_id: str) -> CachedList:
    found = lists.read(user_id)
    assert found is not None
    return found


def test_every_active_user_gets_a_list() -> None:
    build_shop()
    version = learn_version()
    counts = warm().counts
    assert (counts["users"], counts["lists"]) == (USERS, USERS)
    assert all(kept(user(number)).version_id == version.pk for number in range(USERS))
    assert serving.recommend(Wish(user_id=user(5))).source == "cache"


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_warmed_lists_equal_those_made_on_the_fly(share: float) -> None:
    build_shop()
    score = replace(PARAMETERS.score, item_item=share)
    learn_version(replace(PARAMETERS, score=score, item_item_ridge=20.0))
    warm()
    assert ITEMS < NEAREST
    for number in range(0, USERS, 7):
        warmed = kept(user(number))
        lists.forget(user(number))
        serving.recommend(Wish(user_id=user(number)))
        made = kept(user(number))
        assert [entry.item_id for entry in warmed.entries] == [
            entry.item_id for entry in made.entries
        ]
        assert [entry[2:] for entry in warmed.entries] == [entry[2:] for entry in made.entries]
        np.testing.assert_allclose(
            [entry.score for entry in warmed.entries], [entry.score for entry in made.entries],
            atol=2e-3,
        )  # fmt: skip


def test_lists_hold_neither_what_was_seen_nor_what_is_hidden() -> None:
    build_shop()
    learn_version()
    ContentItem.objects.filter(external_id="item-000").update(hidden=True)
    warm()
    seen = set(UserAction.objects.filter(user_id=user(0)).values_list("item_id", flat=True))
    assert not (seen | {"item-000"}) & {entry.item_id for entry in kept(user(0)).entries}


def test_user_who_has_not_acted_for_long_is_left_out() -> None:
    build_shop()
    learn_version()
    long_ago = timezone.now() - warming.ACTIVE_FOR - timedelta(days=1)
    UserAction.objects.filter(user_id=user(3)).update(occurred_at=long_ago)
    assert warm().counts["users"] == USERS - 1
    assert lists.read(user(3)) is None


def test_user_below_the_gate_is_left_out() -> None:
    build_shop()
    learn_version(replace(PARAMETERS, personal_from=12))
    UserEmbedding.objects.filter(user_id=user(3)).update(items_used=11)
    assert warm().counts["users"] == USERS - 1


def test_without_a_version_there_is_nothing_to_make() -> None:
    build_shop()
    result = warm()
    assert (result.message, result.counts["lists"]) == ("No version has been learned yet", 0)


def test_run_whose_time_is_up_hands_on_and_the_next_one_makes_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_shop()
    learn_version()
    monkeypatch.setattr(warming, "BLOCK_USERS", 25)
    written: list[int] = []
    write_many = lists.write_many

    def slow_write(made: Any) -> int:
        written.append(write_many(made))
        if len(written) == 1:
            monkeypatch.setattr(warming, "SPARE_S", 1e9)
        return written[-1]

    monkeypatch.setattr(lists, "write_many", slow_write)
    first = warm()
    assert first.counts["users"] == 25
    assert first.continuation == {"after": user(24)}
    monkeypatch.setattr(warming, "SPARE_S", 0.0)
    second = warm(**first.continuation)
    assert second.counts["users"] == USERS - 25
    assert second.continuation is None
    assert all(lists.read(user(number)) for number in range(USERS))


def test_run_that_has_no_time_at_all_loses_nobody() -> None:
    build_shop()
    learn_version()
    assert warm(time_s=0.0).continuation == {"after": ""}


def test_payload_that_names_no_user_is_refused() -> None:
    with pytest.raises(PayloadRefused):
        warm(after=3)


def test_run_reports_the_hit_rate_since_the_last_one() -> None:
    build_shop()
    learn_version()
    warm()
    for number in range(3):
        serving.recommend(Wish(user_id=user(number)))
    lists.forget(user(9))
    serving.recommend(Wish(user_id=user(9)))
    serving.recommend(Wish(user_id="stranger"))  # There is no list to hit.
    counts = warm().counts
    assert (counts["hits"], counts["misses"], counts["hit_rate_percent"]) == (3, 1, 75)
    counts = warm().counts
    assert (counts["hits"], counts["misses"], counts["hit_rate_percent"]) == (0, 0, 0)


def test_run_without_valkey_fails_so_that_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise RedisConnectionError("Connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(lists, "server", refuse)
        with pytest.raises(RedisConnectionError):
            warm()


def test_item_with_a_vector_from_its_text_is_listed() -> None:
    build_shop()
    version = learn_version()
    ContentItem.objects.create(external_id="fresh", title="Fresh", topics=["bread"])
    like = version.items.get(item_id="item-000")
    version.items.create(item_id="fresh", vector=like.vector, search=like.search, from_text=True)
    warm()
    assert "fresh" in {entry.item_id for entry in kept(user(0)).entries}
    assert versions.active() is not None
    assert valkey.server().ttl(lists.KEY.format(user_id=user(0))) > 0
