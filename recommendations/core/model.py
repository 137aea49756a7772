"""What was learned, as one value: factors, item-to-item weights, popularity and trend."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recommendations.core.actions import Actions, windows
from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.fold_in import FoldIn
from recommendations.core.ials import Factors, Penalty, train
from recommendations.core.interactions import Interactions
from recommendations.core.item_item import ItemGram, ItemItem
from recommendations.core.parameters import History, Parameters, ScoreWeights
from recommendations.core.ranking import catalogue_terms, confidence, hide, score_spread, top_k
from recommendations.core.trending import popularity, trend
from recommendations.core.weights import EVEN, Recency


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """Everything that a list is made from, apart from the user's own actions.

    item_factors: (n_items, k) float32. penalty, column_sums: what fold-in needs beside them.
    item_item: None where its share is 0. popularity, trend: (n_items,), for personal lists.
    trending: (n_items,), for the list of what is trending.
    """

    parameters: Parameters
    item_factors: FloatArray
    penalty: Penalty
    column_sums: FloatArray
    item_item: ItemItem | None
    popularity: FloatArray
    trend: FloatArray
    trending: FloatArray


def training_rows(actions: Actions, history: History) -> Interactions:
    """The rows that a model is trained on: users, or windows of their histories."""
    if history.window and actions.times_s is not None:
        cut = windows(actions, length=history.window, stride=history.window // 2)
        return Interactions.from_actions(cut, history.recency)
    return Interactions.from_actions(actions, history.recency)


def train_factors(
    rows: Interactions, parameters: Parameters, *, epochs: int | None = None, seed: int = 0
) -> tuple[FloatArray, Penalty]:
    """(n_items, k) item factors from scratch, and the penalty that goes with them."""
    penalty = Penalty.scaled(rows, unobserved=parameters.unobserved, ridge=parameters.ridge)
    start = Factors.random(len(rows), rows.n_columns, parameters.factors, seed=seed)
    sweeps = train(rows, penalty, start)
    for _ in range(epochs or parameters.epochs):
        start = next(sweeps)
    return start.items, penalty


def learn(actions: Actions, parameters: Parameters, *, at_s: float) -> Model:
    """Learn from scratch what a list at the time at_s needs."""
    rows = training_rows(actions, parameters.history)
    item_factors, penalty = train_factors(rows, parameters)
    item_item = None
    if parameters.score.item_item > 0:
        gram = ItemGram.of(training_rows(actions, parameters.item_item_history))
        item_item = gram.solve(parameters.item_item_ridge)
    return Model(
        parameters=parameters,
        item_factors=item_factors,
        penalty=penalty,
        column_sums=rows.column_sums(),
        item_item=item_item,
        popularity=popularity(Interactions.from_actions(actions, EVEN)),
        trend=trend(actions, at_s=at_s, half_life_s=parameters.score.trend_half_life_s),
        trending=trend(actions, at_s=at_s, half_life_s=parameters.trending_half_life_s),
    )


def taste(model: Model, actions: Actions, users: IntArray) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield (places in users, (b, n_items) float32 taste in units of its spread), block by block."""
    parameters = model.parameters
    share = parameters.score.item_item
    own = Interactions.from_actions(actions, parameters.fold_in).take(users)
    beside = item_item_rows(actions, parameters.item_item_fold_in).take(users)
    fold_in = FoldIn(model.item_factors, model.penalty, column_sums=model.column_sums)
    for places in row_blocks(len(users), len(model.item_factors)):
        found = np.zeros((len(places), len(model.item_factors)), dtype=np.float32)
        if share < 1:
            vectors = fold_in.fast(own.take(places))
            vectors *= ((1 - share) / score_spread(vectors, model.item_factors))[:, None]
            found += vectors @ model.item_factors.T
        if model.item_item is not None:
            found += np.float32(share) * in_spreads(model.item_item.scores(beside.take(places)))
        yield places, found


def item_item_rows(actions: Actions, recency: Recency) -> Interactions:
    """The users' rows for the item-to-item model, which asks whether, not how often."""
    return Interactions.from_actions(actions, recency, cap=1.0)


def row_blocks(n_rows: int, width: int, *, cells: int = 8_000_000) -> Iterator[IntArray]:
    """Row numbers in blocks whose dense rows of that width stay below so many cells."""
    step = max(1, cells // max(1, width))
    for first in range(0, n_rows, step):
        yield np.arange(first, min(first + step, n_rows))


def in_spreads(scores: FloatArray) -> FloatArray:
    """Rows divided by their standard deviation."""
    spreads = np.maximum(scores.std(axis=1, keepdims=True), np.float32(1e-6))
    found: FloatArray = scores / spreads
    return found


def combine(
    tastes: FloatArray,
    counts: IntArray,
    terms: tuple[FloatArray, FloatArray],
    weights: ScoreWeights,
) -> FloatArray:
    """(b, n_items) float32 scores from tastes and the catalogue's terms; see ranking."""
    popular, trending = terms
    own = confidence(counts, weights)[:, None]
    scores = tastes * own
    scores -= own * (np.float32(weights.popularity) * popular)
    scores += np.float32(weights.trend) * trending
    return scores


def lists(
    model: Model, actions: Actions, users: IntArray, k: int
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield (places in users, (b, k) int32 best items, -1 for none) of everybody asked for.

    What a user ever acted on is not listed. A user below the gate gets what is trending.
    """
    weights = model.parameters.score
    terms = catalogue_terms(model.popularity, model.trend, weights)
    seen = Interactions.from_actions(actions, EVEN).take(users)
    for places, tastes in taste(model, actions, users):
        counts = seen.lengths[places]
        scores = combine(tastes, counts, terms, weights)
        scores[counts < model.parameters.personal_from] = model.trending
        hide(scores, seen.take(places))
        yield places, top_k(scores, k)[0]


def trending_list(model: Model, k: int) -> IntArray:
    """(k,) int32 what is trending, for somebody who is not known; -1 for places left empty."""
    listed: IntArray = top_k(model.trending[None, :].astype(np.float32), k)[0][0]
    return listed
