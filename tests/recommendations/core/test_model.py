from dataclasses import replace

import numpy as np
import pytest

from recommendations.core.actions import DAY_S, Actions
from recommendations.core.model import Model, learn, lists, trending_list
from recommendations.core.parameters import Parameters, ScoreWeights
from recommendations.core.text import ItemText, tf_idf
from tests.recommendations.core.logs import two_camps

PARAMETERS = Parameters(
    factors=8, epochs=10, score=ScoreWeights(item_item=0.5, trend=0.1, popularity=0.0)
)
EVERYBODY = np.arange(60)


def learned(log: Actions, **changes: object) -> Model:
    return learn(log, replace(PARAMETERS, **changes), at_s=DAY_S)  # type: ignore[arg-type]


def listed(model: Model, log: Actions, k: int = 8) -> np.ndarray:
    found = list(lists(model, log, EVERYBODY, k))
    assert np.concatenate([places for places, _ in found]).tolist() == EVERYBODY.tolist()
    return np.concatenate([items for _, items in found])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_users_get_items_of_their_camp_that_they_have_not_seen(share: float) -> None:
    log = two_camps()
    model = learned(log, score=replace(PARAMETERS.score, item_item=share))
    found = listed(model, log)
    own = found % 2 == EVERYBODY[:, None] % 2
    assert own.mean() > 0.95
    for user in EVERYBODY:
        assert not set(found[user].tolist()) & set(log.items[log.users == user].tolist())


def test_a_list_is_as_long_as_there_are_unseen_items() -> None:
    log = two_camps()
    found = listed(learned(log), log, k=40)
    assert ((found >= 0).sum(axis=1) == 28).all()


def test_what_was_dismissed_is_not_listed_again() -> None:
    log = two_camps()
    unseen = int(np.setdiff1d(np.arange(0, 40, 2), log.items[log.users == 0])[0])
    disliked = replace(
        log,
        users=np.append(log.users, 0),
        items=np.append(log.items, unseen),
        strengths=np.append(log.strengths, -1.0),
        times_s=np.append(np.asarray(log.times_s), DAY_S),
    )
    assert unseen in listed(learned(log), log, k=40)[0]
    assert unseen not in listed(learned(disliked), disliked, k=40)[0]


def test_below_the_gate_a_list_is_what_is_trending() -> None:
    log = two_camps()
    model = learned(log, personal_from=1000)
    trending = trending_list(model, 40)
    for user, found in zip(EVERYBODY, listed(model, log, k=5), strict=True):
        own = log.items[log.users == user]
        assert found.tolist() == [item for item in trending if item not in own][:5]


def test_a_vector_for_an_untouched_item_moves_no_user() -> None:
    log = two_camps()
    wider = replace(log, n_items=44)
    texts = [ItemText(text="even" if item % 2 == 0 else "odd") for item in range(44)]
    model = learn(wider, PARAMETERS, at_s=DAY_S, features=tf_idf(texts))
    assert not model.item_factors[40:].any()
    assert model.item_vectors[40:].any(axis=1).all()
    assert listed(model, wider).max() < 40
    assert listed(model, wider) == pytest.approx(listed(learned(wider), wider))
