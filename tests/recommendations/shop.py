"""A shop whose customers have tastes, and what was learned from them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from django.conf import settings
from django.utils import timezone

from recommendations import signals, versions
from recommendations.core.actions import Actions
from recommendations.core.arrays import FloatArray
from recommendations.core.fold_in import FoldIn
from recommendations.core.interactions import Interactions
from recommendations.core.model import Model, learn
from recommendations.core.parameters import Parameters, ScoreWeights
from recommendations.core.ranking import score_spread
from recommendations.models import (
    ContentItem,
    FactorVersion,
    ItemVector,
    UserAction,
    UserEmbedding,
)

TOPICS = ("bread", "cheese", "tea", "wine")
USERS, ITEMS, ACTIONS_OF_A_USER = 60, 120, 15
# In so small a shop a strong trend would drown every taste.
PARAMETERS = Parameters(epochs=3, score=ScoreWeights(trend=0.5, confidence=5))


def item(number: int) -> str:
    return f"item-{number:03}"


def user(number: int) -> str:
    return f"user-{number:03}"


def topic_of(number: int) -> str:
    return TOPICS[number % len(TOPICS)]


def build_shop(*, users: int = USERS, items: int = ITEMS, seed: int = 1) -> None:
    """Items in four topics; user n likes topic n, and now and then something else."""
    now = timezone.now()
    ContentItem.objects.bulk_create(
        ContentItem(
            external_id=item(number),
            title=f"Title {number}",
            topics=[topic_of(number)],
            published_at=now - timedelta(days=90, minutes=number),
        )
        for number in range(items)
    )
    random = np.random.default_rng(seed)
    for number in range(users):
        own = [item(i) for i in range(items) if topic_of(i) == topic_of(number)]
        other = [item(i) for i in range(items) if topic_of(i) != topic_of(number)]
        liked = [*random.choice(own, 10, replace=False), *random.choice(other, 2, replace=False)]
        UserAction.objects.bulk_create(
            UserAction(
                action_id=f"{number}-{place}",
                user_id=user(number),
                item_id=str(item_id),
                action="view",
                occurred_at=now - timedelta(days=20 - place, hours=number % 24),
            )
            for place, item_id in enumerate(liked)
        )
    signals.refresh(PARAMETERS)


def act(
    user_id: str, item_id: str, action: str = "view", *, ago: timedelta = timedelta()
) -> UserAction:
    number = UserAction.objects.count()
    return UserAction.objects.create(
        action_id=f"action-{number}",
        user_id=user_id,
        item_id=item_id,
        action=action,
        occurred_at=timezone.now() - ago,
    )


def learn_version(parameters: Parameters = PARAMETERS, *, active: bool = True) -> FactorVersion:
    """Learn from everything that is stored, and write it as a training does."""
    actions, user_ids, item_ids = stored_actions()
    model = learn(actions, parameters, at_s=float(actions.times_s.max()))  # type: ignore[union-attr]
    if active:
        FactorVersion.objects.filter(status=FactorVersion.Status.ACTIVE).update(
            status=FactorVersion.Status.RETIRED
        )
    version = FactorVersion.objects.create(
        status=FactorVersion.Status.ACTIVE if active else FactorVersion.Status.TRAINING,
        parameters=parameters.as_json(),
        arrays=versions.pack_model(model, item_ids),
    )
    write_vectors(version, item_ids, model.item_factors)
    write_embeddings(version, model, actions, user_ids)
    return version


def stored_actions() -> tuple[Actions, list[str], list[str]]:
    rows = list(UserAction.objects.order_by("occurred_at", "pk"))
    user_ids = sorted({row.user_id for row in rows})
    item_ids = sorted({row.item_id for row in rows})
    actions = Actions(
        users=np.array([user_ids.index(row.user_id) for row in rows]),
        items=np.array([item_ids.index(row.item_id) for row in rows]),
        strengths=np.array([settings.ACTION_WEIGHTS[row.action] for row in rows]),
        times_s=np.array([row.occurred_at.timestamp() for row in rows]),
        n_users=len(user_ids),
        n_items=len(item_ids),
    )
    return actions, user_ids, item_ids


def write_vectors(version: FactorVersion, item_ids: Sequence[str], vectors: FloatArray) -> None:
    """With one more coordinate that makes all of them equally long; the longest first."""
    squares = np.square(vectors.astype(np.float64)).sum(axis=1)
    last = np.sqrt(np.maximum(squares.max(initial=0) - squares, 0))
    search = np.concatenate([vectors, last[:, None]], axis=1)
    ItemVector.objects.bulk_create(
        ItemVector(
            version=version,
            item_id=item_ids[row],
            vector=vectors[row].tolist(),
            search=search[row].tolist(),
        )
        for row in np.argsort(-squares)
    )


def write_embeddings(
    version: FactorVersion,
    model: Model,
    actions: Actions,
    user_ids: Sequence[str],
    *,
    updated_at: datetime | None = None,
) -> None:
    rows = Interactions.from_actions(actions, model.parameters.fold_in)
    vectors = FoldIn(model.item_factors, model.penalty).exact(rows)
    spreads = score_spread(vectors, model.item_factors)
    counts = actions.counts_by_user()
    UserEmbedding.objects.bulk_create(
        UserEmbedding(
            user_id=user_id,
            version=version,
            vector=vectors[number].tolist(),
            actions_used=int(counts[number]),
            items_used=int(rows.lengths[number]),
            spread=float(spreads[number]),
            updated_at=updated_at or timezone.now(),
        )
        for number, user_id in enumerate(user_ids)
    )
