import numpy as np
import pytest

from recommendations.core.parameters import Parameters
from recommendations.core.replay import Replay, after_time, random_share, replays_by_time
from recommendations.core.tuning import best, best_gate, climb, tune
from tests.recommendations.core.logs import actions_of, two_camps

SMALL = Parameters(factors=8, epochs=4)


def test_the_first_of_the_best_is_taken() -> None:
    assert best([3, -2, 2, -3], lambda x: x * x) == 3


@pytest.mark.parametrize("start", [1, 5, 9])
def test_climbing_ends_at_the_top(start: int) -> None:
    assert climb([1, 3, 5, 7, 9], start, lambda x: -abs(x - 6)) in (5, 7)


def test_climbing_asks_only_near_its_way() -> None:
    asked = []

    def value(x: int) -> float:
        asked.append(x)
        return -x

    assert climb(list(range(100)), 2, value) == 0
    assert max(asked) == 3


def test_the_gate_is_where_personal_lists_begin_to_gain() -> None:
    counts = np.array([1, 1, 2, 5, 9])
    assert best_gate(counts, np.array([-0.2, 0.1, -0.1, 0.3, 0.2])) == 5


def test_where_personal_lists_never_gain_nobody_gets_one() -> None:
    assert best_gate(np.array([1, 5]), np.array([-0.1, -0.2])) == 6


def test_where_personal_lists_always_gain_everybody_gets_one() -> None:
    assert best_gate(np.array([1, 5]), np.array([0.1, 0.2])) == 1


@pytest.mark.parametrize("timed", [True, False])
def test_taste_is_found_where_taste_is_all_there_is(timed: bool) -> None:
    log = two_camps(users=80)
    log = log if timed else log.without_times()
    later = after_time(log, share=0.2) if timed else random_share(log, share=0.2)
    lines: list[str] = []
    chosen = tune([Replay.split(log, later)], SMALL, log=lines.append)
    assert chosen.personal_from <= 9
    assert chosen.factors == 8
    assert any(line.startswith("score") for line in lines)


def test_where_nobody_took_anything_new_nothing_is_chosen() -> None:
    log = actions_of((0, 0, 1.0), (1, 0, 2.0), (0, 0, 3.0))
    replay = Replay.split(log, np.array([False, False, True]))
    assert tune([replay], SMALL) == SMALL


def test_chosen_parameters_survive_storage() -> None:
    chosen = tune(replays_by_time(two_camps()), SMALL)
    assert Parameters.from_json(chosen.as_json()) == chosen
