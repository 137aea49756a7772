"""What is popular, what is trending, and which topics are more alive than usual."""

from dataclasses import dataclass

import numpy as np

from recommendations.core.actions import DAY_S, Actions
from recommendations.core.arrays import FloatArray, IntArray, group_sums
from recommendations.core.interactions import Interactions
from recommendations.core.weights import decay_weights


def popularity(interactions: Interactions) -> FloatArray:
    """(n_columns,) how many rows like each column, of all time; a dismissal is no liking."""
    liked = interactions.columns[interactions.gains > 0]
    return np.bincount(liked, minlength=interactions.n_columns).astype(np.float64)


def trend(actions: Actions, *, at_s: float, half_life_s: float) -> FloatArray:
    """(n_items,) the number of likings, each halved with every half-life of its age at at_s.

    Later actions and dismissals do not count. Without times nobody knows an age, so this is the
    plain number.
    """
    counted = actions.strengths > 0
    if actions.times_s is None:
        return np.bincount(actions.items[counted], minlength=actions.n_items).astype(np.float64)
    counted &= actions.times_s <= at_s
    weights = decay_weights(at_s - actions.times_s[counted], half_life_s)
    return group_sums(actions.items[counted], weights, actions.n_items)


def topic_leaders(scores: FloatArray, topics: Interactions, k: int) -> list[IntArray]:
    """For each topic its k best items, best first; items with a score of 0 are left out.

    scores: (n_items,) popularity or trend. topics: items by topics.
    Ties keep the catalogue's order.
    """
    members = topics.transposed()
    found = []
    for first, last in zip(members.starts[:-1], members.starts[1:], strict=True):
        items = members.columns[first:last]
        best = items[np.argsort(-scores[items], kind="stable")[:k]]
        found.append(best[scores[best] > 0])
    return found


@dataclass(frozen=True, kw_only=True)
class TopicTrendSettings:
    """How much more alive than usual a topic must be.

    half_life_s: of the rate at present; usual_half_life_s: of the topic's own usual rate.
    min_evidence: decayed actions at present, below which nothing is said.
    min_rise: standard deviations above the usual number.
    """

    half_life_s: float = DAY_S
    usual_half_life_s: float = 14 * DAY_S
    min_evidence: float = 5.0
    min_rise: float = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class TopicTrends:
    """Trending topics, the one that rose most first.

    topics: (n,) their numbers. rises: (n,) standard deviations above the usual number.
    present, usual: (n,) the decayed number of actions, and how many would be usual.
    """

    topics: IntArray
    rises: FloatArray
    present: FloatArray
    usual: FloatArray


def trending_topics(
    actions: Actions, topics: Interactions, *, at_s: float, settings: TopicTrendSettings
) -> TopicTrends:
    """Topics with more actions than is usual for themselves, not those with most.

    topics: items by topics; an action counts for each topic of its item.
    A topic's usual number is its rate over the long half-life, in units of the short one. Counts
    scatter like a Poisson number: a decayed count of mean m has the variance m / 2.
    Without times nothing can rise, and the answer is empty.
    """
    if actions.times_s is None:
        return _no_trends()
    reach_s = at_s - float(actions.times_s.min()) if len(actions) else 0.0
    return rising_topics(
        _topic_counts(actions, topics, at_s, settings.half_life_s),
        _topic_counts(actions, topics, at_s, settings.usual_half_life_s),
        reach_s=reach_s,
        settings=settings,
    )


def rising_topics(
    present: FloatArray, past: FloatArray, *, reach_s: float, settings: TopicTrendSettings
) -> TopicTrends:
    """The same from counts that somebody else made.

    present, past: (n_topics,) actions, decayed by the short and by the long half-life.
    reach_s: how long ago the first of all actions happened.
    """
    usual = past * _share_of_window(reach_s, settings)
    rises = (present - usual) / np.sqrt(usual / 2 + 1)
    named = np.flatnonzero((present >= settings.min_evidence) & (rises >= settings.min_rise))
    named = named[np.argsort(-rises[named], kind="stable")]
    return TopicTrends(topics=named, rises=rises[named], present=present[named], usual=usual[named])


def _no_trends() -> TopicTrends:
    nothing = np.zeros(0)
    return TopicTrends(
        topics=np.zeros(0, dtype=np.int64), rises=nothing, present=nothing, usual=nothing
    )


def _topic_counts(
    actions: Actions, topics: Interactions, at_s: float, half_life_s: float
) -> FloatArray:
    by_item = trend(actions, at_s=at_s, half_life_s=half_life_s)
    return group_sums(topics.columns, by_item[topics.row_numbers], topics.n_columns)


def _share_of_window(reach_s: float, settings: TopicTrendSettings) -> float:
    """What a steady stream's short count is of its long count, given how far back the log reaches."""
    reach_s = max(reach_s, 1.0)
    short = settings.half_life_s * -np.expm1(-np.log(2) * reach_s / settings.half_life_s)
    long = settings.usual_half_life_s * -np.expm1(-np.log(2) * reach_s / settings.usual_half_life_s)
    return float(short / long)
