from datetime import timedelta

import pytest
from pytest_django import Settings

from recommendations import history
from recommendations.core.actions import Actions
from recommendations.models import UserAction
from tests.recommendations.tastes import START, act

pytestmark = pytest.mark.django_db


def store(*actions: UserAction) -> int:
    UserAction.objects.bulk_create(actions)
    return history.totals().last_id


def rows(actions: Actions) -> list[tuple[int, int, float]]:
    columns = zip(actions.users, actions.items, actions.strengths, strict=True)
    return [(int(user), int(item), float(strength)) for user, item, strength in columns]


def test_totals_count_actions_and_users() -> None:
    assert history.totals() == history.Totals(actions=0, users=0, last_id=0)
    last_id = store(act("a", "x"), act("a", "y"), act("b", "x"))
    assert history.totals() == history.Totals(actions=3, users=2, last_id=last_id)


def test_everything_is_numbered_and_weighted() -> None:
    last_id = store(act("b", "x"), act("a", "y", action="like"), act("a", "x", action="dismiss"))
    items = history.item_ids(last_id=last_id)
    assert items == ["x", "y"]
    actions = history.read_all(items, last_id=last_id)
    assert rows(actions) == [(1, 0, 1.0), (0, 1, 1.5), (0, 0, -1.5)]
    assert (actions.n_users, actions.n_items) == (2, 2)
    assert actions.times_s is not None
    assert actions.times_s.tolist() == [START.timestamp()] * 3


def test_later_actions_are_left_out() -> None:
    last_id = store(act("a", "x"))
    store(act("b", "y"))
    assert history.item_ids(last_id=last_id) == ["x"]
    assert rows(history.read_all(["x"], last_id=last_id)) == [(0, 0, 1.0)]


def test_users_are_numbered_as_asked_for_and_unknown_items_left_out() -> None:
    store(act("a", "x"), act("b", "y"), act("b", "new"), act("c", "x"))
    actions = history.read_users(["y", "x"], ["b", "nobody", "a"])
    assert rows(actions) == [(2, 1, 1.0), (0, 0, 1.0)]
    assert actions.n_users == 3


def test_kinds_that_no_longer_count_are_left_out(settings: Settings) -> None:
    last_id = store(act("a", "x"), act("a", "y", action="listen"))
    assert len(history.read_all(["x", "y"], last_id=last_id)) == 1
    settings.ACTION_WEIGHTS = {"listen": 1.5}
    assert rows(history.read_all(["x", "y"], last_id=last_id)) == [(0, 1, 1.5)]


def test_a_history_that_is_too_long_is_cut_to_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_ACTIONS", 3)
    days = [START + timedelta(days=number) for number in range(6)]
    last_id = store(*(act("a", f"{day:%d}", at=day) for day in days))
    items = history.item_ids(last_id=last_id)
    kept = history.read_all(items, last_id=last_id)
    assert [items[number] for number in kept.items] == ["03", "04", "05", "06"]


def test_no_actions_at_all() -> None:
    assert len(history.read_all([], last_id=0)) == 0
