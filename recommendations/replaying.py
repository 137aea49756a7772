"""Stored history played again: what lists at a cut would have been worth, method by method."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recommendations.core.actions import Actions
from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.evaluation import (
    Metrics,
    coverage,
    metrics_of,
    middle_ranks,
    paired_bootstrap,
)
from recommendations.core.interactions import Interactions
from recommendations.core.model import Model, combine, learn, row_blocks, taste
from recommendations.core.parameters import Parameters
from recommendations.core.ranking import catalogue_terms, hide, top_k
from recommendations.core.replay import Replay, after_time, replays_by_time
from recommendations.core.trending import popularity, trend
from recommendations.core.tuning import (
    Contest,
    FactorTrials,
    Round,
    choose_factors,
    choose_gate,
    choose_score,
    choose_trending,
    tune,
)
from recommendations.core.weights import EVEN

#: The item-to-item model takes the square of this in memory, in every process that serves lists.
MOST_ITEM_ITEM = 4_000
#: More actions make the choice of parameters slower, and hardly better.
MOST_TUNING_ACTIONS = 300_000
#: More than these take longer to replay than a nightly run has.
MOST_EVALUATED_ACTIONS = 1_000_000
#: Fewer users than this prove nothing.
FEWEST_JUDGES = 10
SHOWN_PLACES = 10
#: Further down stands what moves up when a list is divided.
RANKED_PLACES = 30

Blocks = Iterable[tuple[IntArray, FloatArray]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What the lists of one method were worth. lists: (n_users, RANKED_PLACES) their first places."""

    metrics: Metrics
    lists: IntArray

    @property
    def ndcg_10(self) -> float:
        return self.metrics.means()["ndcg_10"]


class Judge:
    """One replay, and the lists of several methods for the same users."""

    def __init__(self, replay: Replay) -> None:
        everything = Interactions.from_actions(replay.known, EVEN)
        self.replay = replay
        self.seen = everything.take(replay.users)
        self.popularity = popularity(everything)
        # What nobody had touched by then is shown in places of its own, outside of this contest.
        self.untouched = np.bincount(replay.known.items, minlength=replay.known.n_items) == 0

    def trend(self, half_life_s: float) -> FloatArray:
        """(n_items,) what was trending at the cut."""
        return trend(self.replay.known, at_s=self.replay.at_s, half_life_s=half_life_s)

    def personal(self, parameters: Parameters, tastes: Blocks) -> Judged:
        """The product's own lists: personal ones, and what is trending for whom little is known of."""
        weights = parameters.score
        terms = catalogue_terms(self.popularity, self.trend(weights.trend_half_life_s), weights)
        trending = self.trend(parameters.trending_half_life_s)

        def scored() -> Iterator[tuple[IntArray, FloatArray]]:
            for places, found in tastes:
                counts = self.seen.lengths[places]
                scores = combine(found, counts, terms, weights)
                scores[counts < parameters.personal_from] = trending
                yield places, scores

        return self._judge(scored())

    def everybody(self, scores: FloatArray) -> Judged:
        """The same list for everybody. scores: (n_items,)."""
        one = scores[None, :].astype(np.float32)
        blocks = row_blocks(len(self.seen), len(scores))
        return self._judge((places, np.repeat(one, len(places), axis=0)) for places in blocks)

    def _judge(self, blocks: Blocks) -> Judged:
        targets = self.replay.targets
        ranks = np.empty(len(targets.columns))
        lists = np.full((len(targets), RANKED_PLACES), -1, dtype=np.int32)
        for places, scores in blocks:
            scores[:, self.untouched] = -np.inf
            hide(scores, self.seen.take(places))
            ranks[targets.entries_of(places)] = middle_ranks(scores, targets.take(places))
            lists[places] = top_k(scores, RANKED_PLACES)[0]
        return Judged(metrics=metrics_of(ranks, targets), lists=lists)


# --- Choosing parameters --------------------------------------------------------------------------


def choose_parameters(actions: Actions, start: Parameters) -> Parameters:
    """The best parameters for these actions, by what their last tenths would have been worth."""
    actions = some_users(actions, most=MOST_TUNING_ACTIONS)
    replays = [replay for replay in replays_by_time(actions) if len(replay.users)]
    if actions.n_items <= MOST_ITEM_ITEM or not replays:
        return tune(replays, start)
    return _tune_without_item_item(replays, start)


def _tune_without_item_item(replays: Sequence[Replay], start: Parameters) -> Parameters:
    contests = [Contest(replay) for replay in replays]
    trials = [FactorTrials(contest) for contest in contests]
    parameters = choose_trending(contests, start, _say_nothing)
    parameters = choose_factors(trials[0], parameters, _say_nothing)
    tastes = [trial.tastes(parameters) for trial in trials]
    # With the factors in the place of the other model, too, its share does not matter.
    rounds = [
        Round(contest=contest, by_factors=own, by_items=own)
        for contest, own in zip(contests, tastes, strict=True)
    ]
    parameters = without_item_item(choose_score(rounds, parameters, _say_nothing))
    return choose_gate(rounds, parameters, _say_nothing)


def without_item_item(parameters: Parameters) -> Parameters:
    """The same parameters with the factors alone for the personal part."""
    return replace(parameters, score=replace(parameters.score, item_item=0.0))


def _say_nothing(line: str) -> None:
    pass


def some_users(actions: Actions, *, most: int) -> Actions:
    """Whole histories of users drawn by chance, at most so many actions; users keep their numbers."""
    if len(actions) <= most:
        return actions
    drawn = np.random.default_rng(0).permutation(actions.n_users)
    fits = np.cumsum(actions.counts_by_user()[drawn]) <= most
    chosen = np.zeros(actions.n_users, dtype=bool)
    chosen[drawn[fits]] = True
    return actions.take(chosen[actions.users])


# --- The table ------------------------------------------------------------------------------------

#: Fewest actions of the users in a row of the table.
GROUPS = (1, 5, 20, 100)
EVERYBODY = "everybody"
PERSONAL, TRENDING, POPULAR = "personal", "trending", "popular"


def measure(actions: Actions, parameters: Parameters) -> list[dict[str, Any]]:
    """Replay the last tenth of the actions by time: one row a group of users and method.

    parameters: those of the personal lists, chosen on nothing that is replayed here.
    """
    replay = Replay.split(actions, after_time(actions))
    judge = Judge(replay)
    model = learn(replay.known, parameters, at_s=replay.at_s)
    methods = {
        PERSONAL: judge.personal(parameters, taste(model, replay.known, replay.users)),
        TRENDING: judge.everybody(judge.trend(parameters.trending_half_life_s)),
        POPULAR: judge.everybody(judge.popularity),
    }
    counts = replay.known.counts_by_user()[replay.users]
    return [
        row_of(name, method, methods, users, actions.n_items)
        for name, users in groups(counts)
        for method in methods
    ]


def known_before(actions: Actions) -> Actions:
    """The actions that measure() does not replay, to choose its parameters on."""
    return actions.take(~after_time(actions))


def groups(counts: IntArray) -> Iterator[tuple[str, IntArray]]:
    """Yield the name and the members of each group of users that has any, everybody first."""
    yield EVERYBODY, np.arange(len(counts))
    for first, after in zip(GROUPS, (*GROUPS[1:], None), strict=True):
        inside = counts >= first if after is None else (counts >= first) & (counts < after)
        if inside.any():
            name = f"{first} or more" if after is None else f"{first} to {after - 1}"
            yield f"{name} actions", np.flatnonzero(inside)


def row_of(
    group: str, method: str, methods: Mapping[str, Judged], users: IntArray, n_items: int
) -> dict[str, Any]:
    """One row of the table. gain: of NDCG@10 over trending, with its 95 % interval."""
    judged, trending = methods[method], methods[TRENDING]
    gain = paired_bootstrap((judged.metrics.ndcg_10 - trending.metrics.ndcg_10)[users])
    return {
        "group": group,
        "users": len(users),
        "method": method,
        **judged.metrics.take(users).means(),
        "coverage": coverage(judged.lists[users, :SHOWN_PLACES], n_items),
        "gain": [gain.mean, gain.low, gain.high],
    }


def taste_of(
    model: Model, columns: IntArray, replay: Replay
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield the taste that a model finds whose items are numbered otherwise than the replay's.

    columns: (n_items,) the model's number of each item of the replay, -1 for items that it does not
        know; their taste is 0, which is the mean.
    """
    known = replay.known
    mapped = columns[known.items]
    there = mapped >= 0
    own = Actions(
        users=known.users[there],
        items=mapped[there],
        strengths=known.strengths[there],
        times_s=None if known.times_s is None else known.times_s[there],
        n_users=known.n_users,
        n_items=len(model.item_factors),
    )
    for places, found in taste(model, own, replay.users):
        everywhere = np.zeros((len(places), len(columns)), dtype=np.float32)
        everywhere[:, columns >= 0] = found[:, columns[columns >= 0]]
        yield places, everywhere
