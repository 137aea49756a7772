"""Parameters by replay: what would have been the best lists at an earlier cut.

Every choice is made on history that was stored before it; nothing here sees what the lists are
later judged by.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from recommendations.core.actions import DAY_S
from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.evaluation import Metrics, metrics_of, middle_ranks
from recommendations.core.fold_in import FoldIn
from recommendations.core.interactions import Interactions
from recommendations.core.item_item import ItemGram, ItemItem
from recommendations.core.model import (
    combine,
    in_spreads,
    item_item_rows,
    row_blocks,
    train_factors,
    training_rows,
)
from recommendations.core.parameters import History, Parameters, ScoreWeights
from recommendations.core.ranking import catalogue_terms, hide
from recommendations.core.replay import Replay
from recommendations.core.trending import popularity, trend
from recommendations.core.weights import EVEN, Recency

HALF_LIVES_S = tuple(days * DAY_S for days in (0.25, 0.5, 1, 2, 4, 7, 14, 30, 90))
FOLD_INS = (
    EVEN,
    Recency(half_life_s=30 * DAY_S),
    Recency(half_life_s=90 * DAY_S),
    Recency(position_scale=3),
    Recency(position_scale=8),
    Recency(position_scale=20),
)
HISTORIES = (
    History(),
    History(recency=Recency(half_life_s=90 * DAY_S)),
    History(window=40),
    History(window=20),
)
ITEM_ITEM_HISTORIES = (History(), History(window=20))
UNOBSERVED = (2.0, 4.0, 8.0, 16.0, 32.0)
RIDGES = (0.3, 1.0, 3.0, 8.0, 16.0)
ITEM_ITEM_RIDGES = (10.0, 30.0, 100.0, 300.0, 600.0, 1200.0)
EVENNESSES = (0.0, 0.5)

ITEM_ITEM_SHARES = (0.5, 0.25, 0.75, 0.0)
TRENDS = (0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 4.0, 8.0)
POPULARITIES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.6, 2.0)
CONFIDENCES = (0.0, 5.0, 15.0, 40.0, 100.0)
TREND_FLOORS = (0.01, 0.05, 0.25, 1.0)

# A part of the score may be worth more, or less, with a trend and a correction for popularity
# beside it than alone.
_COMPANY = (
    ScoreWeights(trend=0.0, popularity=0.0),
    ScoreWeights(trend=0.5, popularity=0.25),
    ScoreWeights(trend=2.5, popularity=1.25),
)
# Half of a full training ranks candidates like the whole.
_TUNING_EPOCHS = 8
# What a larger ridge may cost where only chance can cut: in logarithms, so it is a share.
_REGULARITY_COST = 0.01
_NEAR_RIDGES = (0.67, 1.0, 1.5, 2.25)
# The item-to-item model of so many items shows which one to make for all; it takes 4 s.
_TUNING_ITEMS = 6_000

Candidate = TypeVar("Candidate")
Log = Callable[[str], None]


def tune(
    replays: Sequence[Replay], start: Parameters, *, log: Log = lambda line: None
) -> Parameters:
    """Choose all parameters by what lists at the replays' cuts would have been worth.

    replays: the latest first. It alone decides what the models are, as that is what takes long; all
    of them decide what trend, popularity and taste weigh.
    """
    contests = [Contest(replay) for replay in replays if len(replay.users)]
    if not contests:
        log("nobody took anything new after a cut, so the default parameters stay")
        return start
    parameters = choose_trending(contests, start, log)
    factors = [FactorTrials(contest) for contest in contests]
    parameters = choose_factors(factors[0], parameters, log)
    item_item = [ItemItemTrials(contest) for contest in contests]
    parameters = choose_item_item(item_item[0], parameters, log)
    rounds = [
        Round(
            contest=contest,
            by_factors=own.tastes(parameters),
            by_items=beside.tastes(parameters),
        )
        for contest, own, beside in zip(contests, factors, item_item, strict=True)
    ]
    parameters = choose_score(rounds, parameters, log)
    return choose_gate(rounds, parameters, log)


class Contest:
    """One replay, and what every candidate's lists in it have in common."""

    def __init__(self, replay: Replay) -> None:
        everything = Interactions.from_actions(replay.known, EVEN)
        self.replay = replay
        self.timed = replay.known.times_s is not None
        self.seen = everything.take(replay.users)
        self.popularity = popularity(everything)
        self.trends = {
            half_life_s: trend(replay.known, at_s=replay.at_s, half_life_s=half_life_s)
            for half_life_s in (HALF_LIVES_S if self.timed else HALF_LIVES_S[-1:])
        }

    def personal(self, tastes: FloatArray, weights: ScoreWeights) -> Metrics:
        """What lists with these tastes, (n_users, n_items), would have been worth."""
        half_life_s = weights.trend_half_life_s if self.timed else HALF_LIVES_S[-1]
        terms = catalogue_terms(self.popularity, self.trends[half_life_s], weights)
        return self._judge(
            lambda rows: combine(tastes[rows], self.seen.lengths[rows], terms, weights)
        )

    def trending(self, half_life_s: float) -> Metrics:
        """What the list of what is trending would have been worth to the same users."""
        scores = self.trends[half_life_s]
        return self._judge(lambda rows: np.repeat(scores[None, :], len(rows), axis=0))

    def worth_in_company(self, tastes: FloatArray, half_life_s: float) -> float:
        """The worth of tastes with the best of a few weights beside them."""
        company = [replace(weights, trend_half_life_s=half_life_s) for weights in _COMPANY]
        return max(worth(self.personal(tastes, weights)) for weights in company)

    def _judge(self, score_rows: Callable[[IntArray], FloatArray]) -> Metrics:
        targets = self.replay.targets
        ranks = np.empty(len(targets.columns))
        for rows in row_blocks(len(targets), targets.n_columns):
            scores = score_rows(rows)
            hide(scores, self.seen.take(rows))
            entries = slice(targets.starts[rows[0]], targets.starts[rows[-1] + 1])
            ranks[entries] = middle_ranks(scores, targets.take(rows))
        return metrics_of(ranks, targets)


def worth(metrics: Metrics) -> float:
    """One number for four metrics: the mean of their logarithms, so that each counts by its ratio."""
    return float(np.mean([np.log(value + 1e-4) for value in metrics.means().values()]))


# --- Searching ------------------------------------------------------------------------------------


def best(candidates: Iterable[Candidate], value: Callable[[Candidate], float]) -> Candidate:
    """The first of the best candidates."""
    return max(candidates, key=value)


def climb(
    candidates: Sequence[Candidate], start: Candidate, value: Callable[[Candidate], float]
) -> Candidate:
    """Walk along a row of candidates from start for as long as the value grows."""
    place = candidates.index(start)
    while True:
        near = [place, *(step for step in (place - 1, place + 1) if 0 <= step < len(candidates))]
        step = best(near, lambda at: value(candidates[at]))
        if step == place:
            return candidates[place]
        place = step


class FactorTrials:
    """What factors with these parameters find."""

    def __init__(self, contest: Contest) -> None:
        self.contest = contest
        self._rows: dict[History, Interactions] = {}
        self._folds: dict[Recency, Interactions] = {}
        self._trained: dict[tuple[History, float, float], tuple[FloatArray, FoldIn]] = {}
        self._worths: dict[Parameters, float] = {}

    def tastes(self, parameters: Parameters) -> FloatArray:
        """(n_users, n_items) float32 in units of their spread."""
        replay, recency = self.contest.replay, parameters.fold_in
        if recency not in self._folds:
            own = Interactions.from_actions(replay.known, recency)
            self._folds[recency] = own.take(replay.users)
        factors, fold_in = self._train(parameters)
        return in_spreads(fold_in.fast(self._folds[recency]) @ factors.T)

    def worth(self, parameters: Parameters) -> float:
        if parameters not in self._worths:
            self._worths[parameters] = self.contest.worth_in_company(
                self.tastes(parameters), parameters.trending_half_life_s
            )
        return self._worths[parameters]

    def _train(self, parameters: Parameters) -> tuple[FloatArray, FoldIn]:
        history = parameters.history
        if history not in self._rows:
            self._rows[history] = training_rows(self.contest.replay.known, history)
        key = (history, parameters.unobserved, parameters.ridge)
        if key not in self._trained:
            rows = self._rows[history]
            factors, penalty = train_factors(rows, parameters, epochs=_TUNING_EPOCHS)
            self._trained[key] = (factors, FoldIn(factors, penalty))
        return self._trained[key]


class ItemItemTrials:
    """What an item-to-item model with these parameters finds."""

    def __init__(self, contest: Contest) -> None:
        self.contest = contest
        self._grams: dict[tuple[History, float], ItemGram] = {}
        self._folds: dict[Recency, Interactions] = {}
        self._worths: dict[Parameters, float] = {}
        self._last: tuple[tuple[History, float, float], ItemItem] | None = None

    def tastes(self, parameters: Parameters) -> FloatArray:
        """(n_users, n_items) float32 in units of their spread."""
        replay, recency = self.contest.replay, parameters.item_item_fold_in
        if recency not in self._folds:
            self._folds[recency] = item_item_rows(replay.known, recency).take(replay.users)
        return in_spreads(self._solve(parameters).scores(self._folds[recency]))

    def worth(self, parameters: Parameters) -> float:
        if parameters not in self._worths:
            self._worths[parameters] = self.contest.worth_in_company(
                self.tastes(parameters), parameters.trending_half_life_s
            )
        return self._worths[parameters]

    def _solve(self, parameters: Parameters) -> ItemItem:
        data = (parameters.item_item_history, parameters.item_item_evenness)
        if data not in self._grams:
            history, evenness = data
            rows = training_rows(self.contest.replay.known, history)
            self._grams[data] = ItemGram.of(rows, evenness=evenness, most_items=_TUNING_ITEMS)
        key = (*data, parameters.item_item_ridge)
        # One model is I² numbers, so only the last is kept.
        if self._last is None or self._last[0] != key:
            self._last = (key, self._grams[data].solve(parameters.item_item_ridge))
        return self._last[1]


# --- Choosing -------------------------------------------------------------------------------------


def choose_trending(contests: Sequence[Contest], parameters: Parameters, log: Log) -> Parameters:
    """The half-life of the list of what is trending."""

    def value(half_life_s: float) -> float:
        return float(np.mean([worth(contest.trending(half_life_s)) for contest in contests]))

    half_life_s = best(contests[0].trends, value)
    log(f"trending: half-life {half_life_s / DAY_S:g} d, worth {value(half_life_s):.3f}")
    return replace(parameters, trending_half_life_s=half_life_s)


def choose_factors(trials: FactorTrials, parameters: Parameters, log: Log) -> Parameters:
    """History, fold-in and penalty of the factors."""
    timed = trials.contest.timed
    chosen = best(
        [
            replace(parameters, history=history, fold_in=fold_in)
            for history in (HISTORIES if timed else HISTORIES[:1])
            for fold_in in _fold_ins(timed)
        ],
        trials.worth,
    )
    ridges = [replace(chosen, ridge=ridge) for ridge in _with(RIDGES, chosen.ridge)]
    chosen = climb(ridges, chosen, trials.worth)
    weights = _with(UNOBSERVED, chosen.unobserved)
    unobserved = [replace(chosen, unobserved=weight) for weight in weights]
    chosen = climb(unobserved, chosen, trials.worth)
    chosen = best([replace(chosen, fold_in=fold_in) for fold_in in _fold_ins(timed)], trials.worth)
    log(
        f"factors: {chosen.history}, fold-in {chosen.fold_in}, unobserved {chosen.unobserved:g}, "
        f"ridge {chosen.ridge:g}, worth {trials.worth(chosen):.3f}"
    )
    return chosen


def choose_item_item(trials: ItemItemTrials, parameters: Parameters, log: Log) -> Parameters:
    """History, fold-in and ridge of the item-to-item model."""
    timed = trials.contest.timed
    chosen = best(
        [
            replace(parameters, item_item_history=history, item_item_fold_in=fold_in)
            for history in (ITEM_ITEM_HISTORIES if timed else ITEM_ITEM_HISTORIES[:1])
            for fold_in in _fold_ins(timed)
        ],
        trials.worth,
    )
    chosen = _climb_item_item_ridges(trials, chosen)
    if not timed:
        starts = [replace(chosen, item_item_evenness=evenness) for evenness in EVENNESSES]
        chosen = best([_climb_item_item_ridges(trials, start) for start in starts], trials.worth)
        chosen = _most_regular(trials, chosen)
    log(
        f"item to item: {chosen.item_item_history}, fold-in {chosen.item_item_fold_in}, "
        f"evenness {chosen.item_item_evenness:g}, ridge {chosen.item_item_ridge:g}, "
        f"worth {trials.worth(chosen):.3f}"
    )
    return chosen


def _climb_item_item_ridges(trials: ItemItemTrials, start: Parameters) -> Parameters:
    grid = _with(ITEM_ITEM_RIDGES, start.item_item_ridge)
    ridges = [replace(start, item_item_ridge=ridge) for ridge in grid]
    return climb(ridges, start, trials.worth)


def _most_regular(trials: ItemItemTrials, chosen: Parameters) -> Parameters:
    """The largest ridge that costs hardly anything of what the chosen one is worth.

    A cut by chance leaves in a user's row what was taken together with a target. No later occasion
    does, so it flatters models that know such pairs by heart.
    """
    around = [
        replace(chosen, item_item_ridge=chosen.item_item_ridge * factor) for factor in _NEAR_RIDGES
    ]
    least = max(trials.worth(candidate) for candidate in around) - _REGULARITY_COST
    return [candidate for candidate in around if trials.worth(candidate) >= least][-1]


def _with(grid: Sequence[float], value: float) -> Sequence[float]:
    """The grid and the value, ascending."""
    return sorted({*grid, value})


def _fold_ins(timed: bool) -> Sequence[Recency]:
    return FOLD_INS if timed else FOLD_INS[:1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """One contest and the tastes of both models in it, (n_users, n_items) each."""

    contest: Contest
    by_factors: FloatArray
    by_items: FloatArray

    def metrics(self, weights: ScoreWeights) -> Metrics:
        share = np.float32(weights.item_item)
        tastes: FloatArray = self.by_factors * (1 - share)
        tastes += self.by_items * share
        return self.contest.personal(tastes, weights)


def choose_score(rounds: Sequence[Round], parameters: Parameters, log: Log) -> Parameters:
    """The weights of the score, one after another until none gains more."""
    values: dict[ScoreWeights, float] = {}

    def value(weights: ScoreWeights) -> float:
        if weights not in values:
            values[weights] = float(np.mean([worth(each.metrics(weights)) for each in rounds]))
        return values[weights]

    half_life_s = parameters.trending_half_life_s
    company = [replace(weights, trend_half_life_s=half_life_s) for weights in _COMPANY]
    chosen = best([replace(weights, item_item=0.5) for weights in company], value)
    while True:
        before = chosen
        for candidates in _score_candidates(rounds[0].contest):
            chosen = best([chosen, *candidates(chosen)], value)
        if value(chosen) < value(before) + 1e-3:
            break
    log(f"score: {chosen}, worth {value(chosen):.3f}")
    return replace(parameters, score=chosen)


def _score_candidates(
    contest: Contest,
) -> Sequence[Callable[[ScoreWeights], list[ScoreWeights]]]:
    """For each weight, what to try in its place."""
    # A cut by chance leaves every item as popular and every neighbour as near as it was: it overrates
    # the correction for popularity, and an item-to-item model that knows its pairs by heart.
    popularities = POPULARITIES if contest.timed else POPULARITIES[:1]
    shares = (*ITEM_ITEM_SHARES, 1.0 if contest.timed else 0.9)
    return (
        lambda now: [replace(now, item_item=share) for share in shares],
        lambda now: [replace(now, trend=weight) for weight in TRENDS],
        lambda now: [replace(now, popularity=weight) for weight in popularities],
        lambda now: [replace(now, confidence=count) for count in CONFIDENCES],
        lambda now: [replace(now, trend_floor=floor) for floor in TREND_FLOORS],
        lambda now: [replace(now, trend_half_life_s=half_life_s) for half_life_s in contest.trends],
    )


def choose_gate(rounds: Sequence[Round], parameters: Parameters, log: Log) -> Parameters:
    """From how many items on a user's own list beats what is trending."""
    counts, gains = [], []
    for each in rounds:
        personal = each.metrics(parameters.score)
        trending = each.contest.trending(parameters.trending_half_life_s)
        gains.append(personal.ndcg_10 - trending.ndcg_10 + personal.ndcg_100 - trending.ndcg_100)
        counts.append(each.contest.seen.lengths)
    gate = best_gate(np.concatenate(counts), np.concatenate(gains))
    log(f"personal lists from {gate} items on")
    return replace(parameters, personal_from=gate)


def best_gate(counts: IntArray, gains: FloatArray) -> int:
    """The count from which on the gains add up to most; above all counts where none are positive.

    counts, gains: (n_users,) items acted on, and what the personal list was worth more.
    """
    nobody = int(counts.max(initial=0)) + 1
    thresholds: list[int] = [1, *np.unique(counts).tolist(), nobody]
    return best(thresholds, lambda threshold: float(gains[counts >= threshold].sum()))
