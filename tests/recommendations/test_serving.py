from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from recommendations import lists, serving, valkey
from recommendations.core.parameters import Parameters
from recommendations.models import ContentItem, UserAction
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


def ids(answer: Answer) -> list[str]:
    return [entry.item_id for entry in answer.items]


def wish(**changes: object) -> Wish:
    return Wish(**{"user_id": ME, "limit": 10, **changes})  # type: ignore[arg-type]


@pytest.fixture
def shop() -> None:
    build_shop()
    learn_version()


@pytest.mark.usefixtures("shop")
def test_first_list_is_computed_and_the_second_comes_from_the_cache() -> None:
    first, second = serving.recommend(wish()), serving.recommend(wish())
    assert (first.source, second.source) == ("computed", "cache")
    assert first.personal
    assert first.because == ""
    assert ids(first) == ids(second)
    assert len(first.items) == 10
