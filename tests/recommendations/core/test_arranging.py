from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommendations.core.arranging import Shares, arrange, choose_shares
from recommendations.core.interactions import Interactions

NOTHING_KEPT = Shares(exploration=0.0, topic=1.0)


def no_topics(item: str) -> tuple[str, ...]:
    return ()


def first_letter(item: str) -> tuple[str, ...]:
    return (item[0],)


def test_without_shares_the_order_stays() -> None:
    ranked = ["a1", "b1", "c1"]
    assert arrange(ranked, ["n1"], limit=3, shares=NOTHING_KEPT, topics_of=no_topics) == ranked


def test_every_tenth_place_is_kept_with_a_tenth() -> None:
    shares = Shares(exploration=0.1)
    assert [place for place in range(1, 31) if shares.reserves(place)] == [10, 20, 30]


def test_kept_place_goes_to_the_best_when_there_is_nothing_new() -> None:
    shares = Shares(exploration=1.0, topic=1.0)
    assert arrange(["a1", "b1"], [], limit=2, shares=shares, topics_of=no_topics) == ["a1", "b1"]


def test_new_item_that_is_in_the_list_anyway_is_not_listed_twice() -> None:
    shares = Shares(exploration=0.5, topic=1.0)
    found = arrange(["a1", "n1", "b1"], ["n1", "n2"], limit=4, shares=shares, topics_of=no_topics)
    assert found == ["a1", "n1", "b1", "n2"]


def test_full_topic_is_passed_over() -> None:
    found = arrange(
        ["a1", "a2", "a3", "b1", "b2"], [], limit=4, shares=Shares(exploration=0, topic=0.5),
        topics_of=first_letter,
    )  # fmt: skip
    assert found == ["a1", "a2", "b1", "b2"]


def test_new_items_count_for_their_topics_too() -> None:
    found = arrange(
        ["a1", "a2", "b1"], ["a9"], limit=2, shares=Shares(exploration=0.5, topic=0.5),
        topics_of=first_letter,
    )  # fmt: skip
    assert found == ["a1", "b1"]


def test_one_of_a_topic_is_always_allowed() -> None:
    assert Shares(topic=0.0).most_of_a_topic(10) == 1


@given(
    ranked=st.lists(st.text("abc", min_size=1, max_size=3), unique=True),
    new=st.lists(st.text("abc", min_size=1, max_size=3), unique=True),
    limit=st.integers(1, 20),
    exploration=st.floats(0, 1),
    topic=st.floats(0, 1),
)
def test_no_repeats_no_stranger_no_full_topic(
    ranked: list[str], new: list[str], limit: int, exploration: float, topic: float
) -> None:
    shares = Shares(exploration=exploration, topic=topic)
    found = arrange(ranked, new, limit=limit, shares=shares, topics_of=first_letter)
    assert len(found) == len(set(found)) <= limit
    assert set(found) <= {*ranked, *new}
    counts = Counter(item[0] for item in found)
    assert all(count <= shares.most_of_a_topic(limit) for count in counts.values())


def targets_of(items: list[int]) -> Interactions:
    """One row for each item, which is the only thing that its user took."""
    rows = np.arange(len(items))
    return Interactions.from_pairs(rows, np.array(items), np.ones(len(rows)), shape=(len(rows), 60))


def test_variety_that_costs_nothing_is_chosen() -> None:
    topics = [(f"topic {item % 30}",) for item in range(60)]
    lists = np.tile(np.arange(40), (5, 1))
    shares = choose_shares(lists, [], topics, targets_of([0, 1, 2, 3, 4]))
    assert shares == Shares(exploration=0.2, topic=0.2)


def test_topic_that_everybody_wants_may_take_the_list() -> None:
    topics = [("wanted",) if item < 20 else ("other",) for item in range(60)]
    lists = np.tile(np.arange(40), (4, 1))
    shares = choose_shares(lists, [], topics, targets_of([6, 7, 8, 9]))
    assert shares.topic == 1.0


def test_no_place_of_the_first_ten_is_kept_where_new_items_cost_too_much() -> None:
    topics: list[tuple[str, ...]] = [()] * 60
    lists = np.tile(np.arange(10), (2, 1))
    shares = choose_shares(lists, [50, 51], topics, targets_of([4, 9]))
    assert shares.exploration == 0.05


def test_without_users_the_defaults_stay() -> None:
    lists = np.zeros((0, 40), dtype=np.int32)
    assert choose_shares(lists, [], [()] * 60, targets_of([])) == Shares()
