import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.core.interactions import Interactions
from recommendations.core.variety import limit_topics, reserve


def topics_of(own: list[int], n_topics: int) -> Interactions:
    """Item n has the topic own[n]; none where that is -1."""
    items = np.flatnonzero(np.array(own) >= 0)
    return Interactions.from_pairs(
        items, np.array(own)[items], np.ones(len(items)), shape=(len(own), n_topics)
    )


def test_an_item_over_the_cap_gives_way_to_the_next_below_it() -> None:
    topics = topics_of([0, 0, 0, 1, 1], 2)
    lists = np.array([[0, 1, 2, 3, 4]])
    assert limit_topics(lists, topics, 4, most=2).tolist() == [[0, 1, 3, 4]]


def test_a_list_is_filled_rather_than_short() -> None:
    topics = topics_of([0, 0, 0, 1], 2)
    assert limit_topics(np.array([[0, 1, 2, 3]]), topics, 4, most=1).tolist() == [[0, 3, 1, 2]]


def test_items_without_a_topic_are_never_over_the_cap() -> None:
    topics = topics_of([-1, -1, -1], 1)
    assert limit_topics(np.array([[2, 0, 1]]), topics, 3, most=1).tolist() == [[2, 0, 1]]


def test_every_topic_of_an_item_counts() -> None:
    topics = Interactions.from_pairs(
        np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), np.ones(4), shape=(4, 2)
    )
    assert limit_topics(np.array([[0, 1, 2, 3]]), topics, 2, most=1).tolist() == [[0, 3]]


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="place"):
        limit_topics(np.array([[0]]), topics_of([0], 1), 1, most=0)


@given(seed=st.integers(0, 99), k=st.integers(1, 8), most=st.integers(1, 3))
def test_a_limited_list_has_no_doubles_and_keeps_the_cap_while_it_can(
    seed: int, k: int, most: int
) -> None:
    random = np.random.default_rng(seed)
    own = random.integers(-1, 4, 20).tolist()
    lists = np.stack([random.permutation(20)[:12] for _ in range(3)])
    found = limit_topics(lists, topics_of(own, 4), k, most=most)
    for row, full in zip(found.tolist(), lists.tolist(), strict=True):
        assert len(set(row)) == k
        assert set(row) <= set(full)
        for topic in range(4):
            over = sum(own[item] == topic for item in row) > most
            spare = [item for item in full if item not in row and own[item] < 0]
            assert not (over and spare)


def test_every_so_many_places_is_kept_for_another_item() -> None:
    lists, others = np.array([[0, 1, 2, 3]]), np.array([[8, 9]])
    assert reserve(lists, others, share=0.5).tolist() == [[0, 8, 1, 9]]
    assert reserve(lists, others, share=0.25).tolist() == [[0, 1, 2, 8]]
    assert reserve(lists, others, share=0.0).tolist() == [[0, 1, 2, 3]]


def test_a_missing_item_leaves_no_hole() -> None:
    lists, others = np.array([[0, 1, -1, -1]]), np.array([[8, -1]])
    assert reserve(lists, others, share=0.5).tolist() == [[0, 8, 1, -1]]
    assert reserve(np.array([[0, 1]]), np.array([[-1]]), share=0.5).tolist() == [[0, 1]]


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        reserve(np.array([[0]]), np.array([[1]]), share=share)
