import numpy as np
import pytest

from recommendations.core.actions import DAY_S, Actions
from recommendations.core.interactions import Interactions
from recommendations.core.trending import (
    TopicTrendSettings,
    popularity,
    topic_leaders,
    trend,
    trending_topics,
)
from tests.recommendations.core.logs import actions_of


def topics_of(*pairs: tuple[int, int], n_items: int, n_topics: int) -> Interactions:
    items, topics = (np.array(column) for column in zip(*pairs, strict=True))
    return Interactions.from_pairs(items, topics, np.ones(len(pairs)), shape=(n_items, n_topics))


def test_popularity_counts_users_and_no_dismissal() -> None:
    matrix = Interactions.from_pairs(
        np.array([0, 0, 1, 2]), np.array([0, 0, 0, 0]), np.array([1, 1, 1, -1.0]), shape=(3, 2)
    )
    assert popularity(matrix).tolist() == [2, 0]


def test_an_action_counts_half_after_a_half_life() -> None:
    log = actions_of((0, 0, 0.0), (1, 1, DAY_S), (2, 1, 2 * DAY_S))
    found = trend(log, at_s=2 * DAY_S, half_life_s=DAY_S)
    assert found.tolist() == [0.25, 1.5]


def test_what_comes_later_does_not_count() -> None:
    log = actions_of((0, 0, 0.0), (0, 1, 10.0))
    assert trend(log, at_s=5.0, half_life_s=DAY_S)[1] == 0


def test_without_times_the_trend_is_the_number() -> None:
    log = actions_of((0, 0, 0.0), (1, 0, 1.0), (0, 1, 2.0)).without_times()
    assert trend(log, at_s=0.0, half_life_s=DAY_S).tolist() == [2, 1]


def test_leaders_of_a_topic_are_its_best_items() -> None:
    topics = topics_of((0, 0), (1, 0), (2, 0), (2, 1), (3, 1), n_items=4, n_topics=3)
    first, second, third = topic_leaders(np.array([1.0, 5.0, 3.0, 0.0]), topics, 2)
    assert first.tolist() == [1, 2]
    assert second.tolist() == [2]
    assert third.tolist() == []


def test_ties_keep_the_catalogues_order() -> None:
    topics = topics_of((0, 0), (1, 0), (2, 0), n_items=3, n_topics=1)
    assert topic_leaders(np.array([2.0, 2.0, 2.0]), topics, 3)[0].tolist() == [0, 1, 2]


def steady_and_rising() -> Actions:
    """Topic 0 has 20 actions each day; topic 1 has one, and 12 on the last day."""
    rows = [(n, 0, day * DAY_S + n * 4000) for day in range(40) for n in range(20)]
    rows += [(0, 1, (day + 0.5) * DAY_S) for day in range(40)]
    rows += [(n, 1, (39 + n / 12) * DAY_S) for n in range(12)]
    return actions_of(*rows, n_items=2)


def test_a_topic_trends_by_its_own_usual_level_not_by_volume() -> None:
    topics = topics_of((0, 0), (1, 1), n_items=2, n_topics=2)
    found = trending_topics(
        steady_and_rising(), topics, at_s=40 * DAY_S, settings=TopicTrendSettings()
    )
    assert found.topics.tolist() == [1]
    assert found.present[0] > 3 * found.usual[0]


def test_little_evidence_is_no_trend() -> None:
    topics = topics_of((0, 0), n_items=1, n_topics=1)
    log = actions_of((0, 0, 0.0), (1, 0, 99 * DAY_S), (2, 0, 99 * DAY_S))
    found = trending_topics(log, topics, at_s=99 * DAY_S, settings=TopicTrendSettings())
    assert found.topics.tolist() == []


def test_a_steady_topic_of_a_young_product_is_no_trend() -> None:
    topics = topics_of((0, 0), n_items=1, n_topics=1)
    log = actions_of(*[(n, 0, n * 600.0) for n in range(400)])
    found = trending_topics(log, topics, at_s=400 * 600.0, settings=TopicTrendSettings())
    assert found.topics.tolist() == []


def test_without_times_nothing_trends() -> None:
    topics = topics_of((0, 0), n_items=2, n_topics=1)
    log = steady_and_rising().without_times()
    found = trending_topics(log, topics, at_s=0.0, settings=TopicTrendSettings())
    assert found.rises == pytest.approx([])
