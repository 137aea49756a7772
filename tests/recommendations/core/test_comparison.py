import numpy as np
import pytest

from recommendations.core.comparison import (
    Variety,
    choose_variety,
    compare,
    ranks_in,
    replay_variety,
    table,
)
from recommendations.core.interactions import Interactions
from recommendations.core.model import learn
from recommendations.core.parameters import Parameters, ScoreWeights
from recommendations.core.replay import Replay, after_time
from tests.recommendations.core.logs import two_camps

PARAMETERS = Parameters(
    factors=8, epochs=8, score=ScoreWeights(item_item=0.5, trend=0.0, popularity=0.0)
)


def replayed() -> Replay:
    log = two_camps(users=120, items=60, per_user=15)
    return Replay.split(log, after_time(log, share=0.2))


def test_personal_lists_win_where_taste_is_all_there_is() -> None:
    replay = replayed()
    systems = compare(replay, PARAMETERS)
    assert [system.name for system in systems] == ["personal", "trending", "popular"]
    first = table(replay, systems)[0]
    assert first.users == len(replay.users)
    assert first.gain.low > 0
    worth = {name: means["ndcg_10"] for name, means in first.worth.items()}
    assert first.gain.mean == pytest.approx(worth["personal"] - worth["trending"])


def test_lines_cover_every_user_once() -> None:
    replay = replayed()
    lines = table(replay, compare(replay, PARAMETERS))
    assert sum(line.users for line in lines[1:]) == len(replay.users)


def test_a_target_has_the_place_at_which_it_is_listed() -> None:
    targets = Interactions.from_pairs(
        np.array([0, 0, 1]), np.array([4, 7, 2]), np.ones(3), shape=(2, 9)
    )
    assert ranks_in(np.array([[7, 1], [-1, -1]]), targets).tolist() == [np.inf, 1, np.inf]


def test_each_share_and_cap_is_tried() -> None:
    replay = replayed()
    model = learn(replay.known, PARAMETERS, at_s=replay.at_s)
    topics = Interactions.from_pairs(np.arange(60), np.arange(60) % 2, np.ones(60), shape=(60, 2))
    tried = replay_variety(replay, model, topics=topics)
    assert len(tried) == 12
    assert all(0 <= choice.ndcg_10 <= 1 and 0 < choice.coverage <= 1 for choice in tried)


def test_variety_is_taken_where_it_costs_next_to_nothing() -> None:
    def choice(ndcg_10: float, coverage: float) -> Variety:
        return Variety(exploration=0.1, topic_share=1.0, ndcg_10=ndcg_10, coverage=coverage)

    plain, varied, too_dear = choice(0.1, 0.2), choice(0.0995, 0.4), choice(0.09, 0.9)
    assert choose_variety([plain, varied, too_dear]) == varied
