"""Whether personal lists are worth more than what is popular or trending: the table of a replay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.evaluation import (
    DEPTH,
    Interval,
    Metrics,
    coverage,
    metrics_of,
    middle_ranks,
    paired_bootstrap,
)
from recommendations.core.interactions import Interactions
from recommendations.core.model import Model, learn, lists, row_blocks
from recommendations.core.parameters import Parameters
from recommendations.core.ranking import hide, top_k
from recommendations.core.replay import Replay
from recommendations.core.weights import EVEN

# The numbers of items acted on at which a new line of the table begins.
BINS = (1, 3, 6, 11, 21, 51, 101)
_COVERED = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """What one way of making lists was worth.

    metrics: of every user of the replay. coverage: the share of the catalogue in any first ten places.
    """

    name: str
    metrics: Metrics
    coverage: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """The users with from_items to to_items (None: and more) items before the cut.

    worth: system name to the mean of each metric. gain: NDCG@10 of personal less trending lists.
    """

    from_items: int
    to_items: int | None
    users: int
    worth: dict[str, dict[str, float]]
    gain: Interval


def compare(
    replay: Replay, parameters: Parameters, *, features: Interactions | None = None
) -> list[System]:
    """Replay personal, trending and popular lists for the same users.

    Parameters must have been chosen on an earlier cut than the replay's. The gate is left out: every
    user gets a personal list, for the table to show where it pays.
    """
    open_to_all = replace(parameters, personal_from=0)
    model = learn(replay.known, open_to_all, at_s=replay.at_s, features=features)
    found = [listed for _, listed in lists(model, replay.known, replay.users, DEPTH)]
    empty = np.zeros((0, DEPTH), dtype=np.int32)
    personal = np.concatenate(found) if found else empty
    return [
        System(
            name="personal",
            metrics=metrics_of(ranks_in(personal, replay.targets), replay.targets),
            coverage=coverage(personal[:, :_COVERED], replay.known.n_items),
        ),
        general_system("trending", model.trending, replay),
        general_system("popular", model.popularity, replay),
    ]


def ranks_in(listed: IntArray, targets: Interactions) -> FloatArray:
    """(n_targets,) the place of each target in its row's list, from 1; inf where it is not listed.

    listed: (n_rows, k) items, -1 for none.
    """
    found = listed[targets.row_numbers] == targets.columns[:, None]
    places = np.argmax(found, axis=1) + 1.0
    return np.where(found.any(axis=1), places, np.inf)


def general_system(name: str, scores: FloatArray, replay: Replay) -> System:
    """The same scores for everybody, without what each user has seen; ties count as middle ranks."""
    targets = replay.targets
    seen = Interactions.from_actions(replay.known, EVEN).take(replay.users)
    ranks = np.empty(len(targets.columns))
    heads = []
    for rows, block in _general_blocks(scores, seen):
        entries = slice(targets.starts[rows[0]], targets.starts[rows[-1] + 1])
        ranks[entries] = middle_ranks(block, targets.take(rows))
        heads.append(top_k(block, _COVERED)[0])
    covered = coverage(np.concatenate(heads), len(scores)) if heads else 0.0
    return System(name=name, metrics=metrics_of(ranks, targets), coverage=covered)


def _general_blocks(
    scores: FloatArray, seen: Interactions
) -> Iterator[tuple[IntArray, FloatArray]]:
    for rows in row_blocks(len(seen), seen.n_columns):
        block = np.repeat(scores[None, :].astype(np.float32), len(rows), axis=0)
        hide(block, seen.take(rows))
        yield rows, block


def table(replay: Replay, systems: Sequence[System]) -> list[Line]:
    """One line for each number of items that users had acted on, and first one for all users."""
    counts = Interactions.from_actions(replay.known, EVEN).lengths[replay.users]
    bounds: list[tuple[int, int | None]] = [(1, None)]
    bounds += [(low, high - 1) for low, high in pairwise(BINS)]
    bounds.append((BINS[-1], None))
    found = []
    for low, high in bounds:
        inside = np.flatnonzero((counts >= low) & (counts <= (high or np.inf)))
        if len(inside):
            found.append(_line(low, high, systems, inside))
    return found


def _line(low: int, high: int | None, systems: Sequence[System], users: IntArray) -> Line:
    metrics = {system.name: system.metrics.take(users) for system in systems}
    gains = metrics["personal"].ndcg_10 - metrics["trending"].ndcg_10
    return Line(
        from_items=low,
        to_items=high,
        users=len(users),
        worth={name: own.means() for name, own in metrics.items()},
        gain=paired_bootstrap(gains),
    )


@dataclass(frozen=True, kw_only=True)
class Variety:
    """A choice of the two settings for variety, and the NDCG@10 and coverage that go with it."""

    exploration: float
    topic_share: float
    ndcg_10: float
    coverage: float


EXPLORATIONS = (0.0, 0.05, 0.1, 0.2)
TOPIC_SHARES = (1.0, 0.5, 0.3)
# So much of the NDCG@10 a list may lose for variety that nobody counts.
TOLERANCE = 0.01


def replay_variety(
    replay: Replay, model: Model, *, topics: Interactions | None = None
) -> list[Variety]:
    """What lists with each share for untouched items, and each cap of a topic, would be worth.

    replay: split with untouched=True, so that taking an untouched item counts.
    model: learned at the replay's cut.
    """
    found = []
    for exploration in EXPLORATIONS:
        for topic_share in TOPIC_SHARES if topics is not None else TOPIC_SHARES[:1]:
            settings = replace(model.parameters, exploration=exploration, topic_share=topic_share)
            varied = replace(model, parameters=settings)
            blocks = lists(varied, replay.known, replay.users, 10, topics=topics)
            listed = np.concatenate([items for _, items in blocks])
            metrics = metrics_of(ranks_in(listed, replay.targets), replay.targets)
            found.append(
                Variety(
                    exploration=exploration,
                    topic_share=topic_share,
                    ndcg_10=float(metrics.ndcg_10.mean()),
                    coverage=coverage(listed, replay.known.n_items),
                )
            )
    return found


def choose_variety(tried: Sequence[Variety]) -> Variety:
    """The choice with most coverage among those that cost next to nothing."""
    enough = (1 - TOLERANCE) * max(choice.ndcg_10 for choice in tried)
    return max((choice for choice in tried if choice.ndcg_10 >= enough), key=lambda c: c.coverage)
