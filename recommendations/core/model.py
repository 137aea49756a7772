"""What was learned, as one value: factors, item-to-item weights, popularity and trend."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recommendations.core.actions import Actions, windows
from recommendations.core.arrays import BoolArray, FloatArray, IntArray
from recommendations.core.fold_in import FoldIn
from recommendations.core.ials import Factors, Penalty, train
from recommendations.core.interactions import Interactions
from recommendations.core.item_item import ItemGram, ItemItem
from recommendations.core.parameters import History, Parameters, ScoreWeights
from recommendations.core.ranking import catalogue_terms, confidence, hide, score_spread, top_k
from recommendations.core.text import neighbour_vectors
from recommendations.core.trending import popularity, trend
from recommendations.core.weights import EVEN, Recency


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """Everything that a list is made from, apart from the user's own actions.

    item_factors: (n_items, k) float32, learned from actions; 0 for items that nobody touched.
    item_vectors: (n_items, k) float32, the same, and for untouched items those of their neighbours.
    touched: (n_items,) whether anybody acted on an item.
    penalty: what fold-in needs beside the factors.
    item_item: None where its share is 0. popularity, trend: (n_items,), for personal lists.
    trending: (n_items,), for the list of what is trending.
    """

    parameters: Parameters
    item_factors: FloatArray
    item_vectors: FloatArray
    touched: BoolArray
    penalty: Penalty
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
    rows: Interactions,
    parameters: Parameters,
    *,
    epochs: int | None = None,
    seed: int = 0,
    workers: int = 1,
) -> tuple[FloatArray, Penalty]:
    """(n_items, k) item factors from scratch, and the penalty that goes with them."""
    penalty = Penalty.scaled(rows, unobserved=parameters.unobserved, ridge=parameters.ridge)
    start = Factors.random(len(rows), rows.n_columns, parameters.factors, seed=seed)
    sweeps = train(rows, penalty, start, workers=workers)
    for _ in range(epochs or parameters.epochs):
        start = next(sweeps)
    return start.items, penalty


def train_item_item(actions: Actions, parameters: Parameters) -> ItemItem:
    """The item-to-item model."""
    rows = training_rows(actions, parameters.item_item_history)
    gram = ItemGram.of(rows, evenness=parameters.item_item_evenness)
    return gram.solve(parameters.item_item_ridge)


def learn(
    actions: Actions,
    parameters: Parameters,
    *,
    at_s: float,
    features: Interactions | None = None,
) -> Model:
    """Learn from scratch what a list at the time at_s needs.

    features: items by hashed words (text.tf_idf), for vectors of items that nobody touched.
    """
    rows = training_rows(actions, parameters.history)
    item_factors, penalty = train_factors(rows, parameters)
    item_item = None
    if parameters.score.item_item > 0:
        item_item = train_item_item(actions, parameters)
    touched = np.bincount(actions.items, minlength=actions.n_items) > 0
    vectors = item_factors
    if features is not None:
        vectors = neighbour_vectors(features, item_factors, touched)
    return Model(
        parameters=parameters,
        item_factors=item_factors,
        item_vectors=vectors,
        touched=touched,
        penalty=penalty,
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
    fold_in = FoldIn(model.item_factors, model.penalty)
    factors = model.item_factors[model.touched]
    for places in row_blocks(len(users), len(model.item_factors)):
        found = np.zeros((len(places), len(model.item_factors)), dtype=np.float32)
        if share < 1:
            vectors = fold_in.fast(own.take(places))
            vectors *= ((1 - share) / score_spread(vectors, factors))[:, None]
            found += vectors @ model.item_vectors.T
        if model.item_item is not None:
            scores = model.item_item.scores(beside.take(places))
            found += np.float32(share) * in_spreads(scores, model.touched)
        yield places, found


def item_item_rows(actions: Actions, recency: Recency) -> Interactions:
    """The users' rows for the item-to-item model, which asks whether, not how often."""
    return Interactions.from_actions(actions, recency, cap=1.0)


def row_blocks(n_rows: int, width: int, *, cells: int = 8_000_000) -> Iterator[IntArray]:
    """Row numbers in blocks whose dense rows of that width stay below so many cells."""
    step = max(1, cells // max(1, width))
    for first in range(0, n_rows, step):
        yield np.arange(first, min(first + step, n_rows))


def in_spreads(scores: FloatArray, touched: BoolArray | None = None) -> FloatArray:
    """Rows divided by their standard deviation over the touched items, or over all."""
    counted = scores if touched is None or touched.all() else scores[:, touched]
    spreads = np.maximum(counted.std(axis=1, keepdims=True), np.float32(1e-6))
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

    What a user ever acted on, dismissals included, is not listed, and neither is what nobody touched.
    A user below the gate gets what is trending.
    """
    parameters = model.parameters
    terms = catalogue_terms(model.popularity, model.trend, parameters.score)
    seen = Interactions.from_actions(actions, EVEN).take(users)
    for places, tastes in taste(model, actions, users):
        counts = seen.lengths[places]
        scores = combine(tastes, counts, terms, parameters.score)
        scores[counts < parameters.personal_from] = model.trending
        scores[:, ~model.touched] = -np.inf
        hide(scores, seen.take(places))
        yield places, top_k(scores, k)[0]


def trending_list(model: Model, k: int) -> IntArray:
    """(k,) int32 what is trending, for somebody who is not known; -1 for places left empty."""
    scores = np.where(model.touched, model.trending, -np.inf).astype(np.float32)
    listed: IntArray = top_k(scores[None, :], k)[0][0]
    return listed
