import numpy as np
import pytest

from recommendations.core.actions import DAY_S, Actions
from recommendations.core.replay import (
    Replay,
    after_time,
    last_of_users,
    random_share,
    replays_by_time,
    replays_for,
)
from tests.recommendations.core.logs import actions_of, random_log


def test_targets_are_new_pairs_of_known_users_and_items() -> None:
    log = actions_of(
        (0, 0, 1.0),
        (1, 1, 2.0),
        (0, 0, 3.0),  # Known already.
        (0, 1, 4.0),  # The only target.
        (2, 0, 5.0),  # A stranger.
        (0, 2, 6.0),  # An item that nobody had touched.
    )
    later = np.array([False, False, True, True, True, True])
    replay = Replay.split(log, later)
    assert replay.users.tolist() == [0]
    assert replay.targets.columns.tolist() == [1]
    assert replay.at_s == 2.0
    assert Replay.split(log, later, untouched=True).targets.columns.tolist() == [1, 2]


def test_a_dismissal_is_no_target() -> None:
    log = actions_of((0, 0, 1.0), (1, 1, 2.0), (0, 1, 3.0))
    disliked = Actions(
        users=log.users,
        items=log.items,
        strengths=np.array([1, 1, -1.0]),
        times_s=log.times_s,
        n_users=2,
        n_items=2,
    )
    assert len(Replay.split(disliked, np.array([False, False, True])).users) == 0


def test_a_cut_by_time_knows_nothing_from_after_it() -> None:
    log = random_log()
    replay = Replay.split(log, after_time(log))
    times_s = np.asarray(log.times_s)
    assert np.asarray(replay.known.times_s).max() < times_s[after_time(log)].min()
    assert after_time(log).mean() == pytest.approx(0.1, abs=0.01)


def test_without_times_there_is_no_cut_by_time() -> None:
    with pytest.raises(ValueError, match="times"):
        after_time(random_log().without_times())


def test_each_user_asked_for_loses_the_last_action() -> None:
    log = actions_of((0, 0, 5.0), (0, 1, 3.0), (1, 0, 9.0), (1, 1, 8.0))
    assert last_of_users(log, np.array([0])).tolist() == [True, False, False, False]


def test_a_share_by_chance_is_the_same_each_time() -> None:
    log = random_log()
    assert np.array_equal(random_share(log), random_share(log))


def active_and_gone() -> Actions:
    """Users 0 to 19 act every day; the other eighty acted on some days in between."""
    rows = [
        (user, (user * 7 + day * 11) % 90, day * DAY_S + user)
        for user in range(20)
        for day in range(60)
    ]
    rows += [
        (user, (user * 7 + n) % 90, (user % 50 + n / 10) * DAY_S)
        for user in range(20, 100)
        for n in range(8)
    ]
    return actions_of(*rows)


def test_lists_for_those_who_act_next_are_judged_by_a_cut_in_time() -> None:
    cuts_s = [replay.at_s for replay in replays_for(active_and_gone(), np.arange(20))]
    assert len(cuts_s) == 3
    assert 56 * DAY_S > cuts_s[0] > cuts_s[1] > cuts_s[2]


def test_lists_for_everybody_are_judged_by_each_users_last_action() -> None:
    (replay,) = replays_for(active_and_gone(), np.arange(100))
    assert replay.at_s > 57 * DAY_S
    assert replay.targets.lengths.max() == 1


def test_an_earlier_cut_knows_nothing_of_a_later_one() -> None:
    log = random_log()
    latest, earlier, _ = replays_by_time(log)
    assert len(earlier.known) < len(latest.known)
    assert earlier.at_s < latest.at_s
