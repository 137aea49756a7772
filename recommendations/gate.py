"""Whether a version may be switched on: what it would have found, against what is there already."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from recommendations.candidates import NEW_FOR_DAYS
from recommendations.core.actions import Actions
from recommendations.core.arranging import Shares, choose_shares
from recommendations.core.evaluation import paired_bootstrap
from recommendations.core.model import Model, taste
from recommendations.core.replay import Replay, after_time, last_of_users
from recommendations.models import ContentItem
from recommendations.replaying import FEWEST_JUDGES, Judge, Judged, taste_of
from recommendations.versions import LearnedVersion

NEW_FOR = timedelta(days=NEW_FOR_DAYS)
#: With fewer users to judge it, a cut by time is given up for one at each user's last action.
_ENOUGH_JUDGES = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """The replay that decides.

    fair: the version that is switched on has not learned from what it is asked either, so that the
        two may be compared, and the new one may start from its factors.
    """

    replay: Replay
    fair: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """figures: for the admin. reason: why not to switch on, "" where nothing speaks against it."""

    figures: dict[str, Any]
    reason: str


def prepare(actions: Actions, before: LearnedVersion | None) -> Trial:
    """Choose what a new version is judged by: the newest actions, which it does not learn from yet.

    The newer half of what came after the last training judges both versions. Where too few users
    did anything there, the last tenth of all judges the new one, against trending alone.
    """
    if before is not None and (replay := _newer_half(actions, before.at_s)):
        return Trial(replay=replay, fair=True)
    replay = Replay.split(actions, after_time(actions))
    if len(replay.users) < _ENOUGH_JUDGES:
        users = np.unique(actions.users)
        replay = Replay.split(actions, last_of_users(actions, users))
    return Trial(replay=replay, fair=False)


def _newer_half(actions: Actions, since_s: float) -> Replay | None:
    times_s = actions.times_s
    if times_s is None or not np.any(times_s > since_s):
        return None
    cut_s = float(np.median(times_s[times_s > since_s]))
    replay = Replay.split(actions, times_s > cut_s)
    return replay if len(replay.users) >= _ENOUGH_JUDGES else None


def judge(
    trial: Trial, candidate: Model, item_ids: Sequence[str], before: LearnedVersion | None
) -> Verdict:
    """Replay a version that has learned from what the trial knows.

    item_ids: the trial's numbering of items, which the candidate shares.
    """
    replay = trial.replay
    if len(replay.users) < FEWEST_JUDGES:
        reason = f"Only {len(replay.users)} users did anything new that could judge it."
        return Verdict(figures={"users": len(replay.users)}, reason=reason)
    bench = Judge(replay)
    parameters = candidate.parameters
    lists = bench.personal(parameters, taste(candidate, replay.known, replay.users))
    trending = bench.everybody(bench.trend(parameters.trending_half_life_s))
    figures: dict[str, Any] = {
        "users": len(replay.users),
        "this version": lists.metrics.means(),
        "trending": trending.metrics.means(),
        "gain over trending": _gain(lists, trending),
    }
    reasons = []
    if lists.ndcg_10 < trending.ndcg_10:
        reasons.append(_in_words(lists, trending, "what is trending"))
    if before is not None and trial.fair:
        last = _lists_of(before, bench, item_ids)
        figures["last version"] = last.metrics.means()
        figures["gain over the last version"] = _gain(lists, last)
        # Two trainings on the same actions differ by chance, and the newer one knows more items: so
        # it has to be worse for more users than chance would have it.
        if figures["gain over the last version"][2] < 0:
            reasons.append(_in_words(lists, last, f"version {before.version_id}"))
    figures["shares"] = asdict(_shares(lists, replay, item_ids))
    return Verdict(figures=figures, reason=" ".join(reasons))


def _shares(lists: Judged, replay: Replay, item_ids: Sequence[str]) -> Shares:
    """How the judged lists would best have been divided between topics, and with what was new."""
    content = ContentItem.objects.in_bulk(item_ids, field_name="external_id")
    at = datetime.fromtimestamp(replay.at_s, tz=UTC)
    rows = {row: content[item_id] for row, item_id in enumerate(item_ids) if item_id in content}
    new = sorted(
        (row for row, item in rows.items() if at - NEW_FOR <= item.published_at <= at),
        key=lambda row: rows[row].published_at,
        reverse=True,
    )
    topics = [rows[row].topics if row in rows else [] for row in range(len(item_ids))]
    return choose_shares(lists.lists, new, topics, replay.targets)


def _lists_of(before: LearnedVersion, bench: Judge, item_ids: Sequence[str]) -> Judged:
    columns = np.array([before.rows.get(item_id, -1) for item_id in item_ids], dtype=np.int64)
    tastes = taste_of(before.model, columns, bench.replay)
    return bench.personal(before.model.parameters, tastes)


def _gain(one: Judged, other: Judged) -> list[float]:
    gain = paired_bootstrap(one.metrics.ndcg_10 - other.metrics.ndcg_10)
    return [gain.mean, gain.low, gain.high]


def _in_words(one: Judged, other: Judged, name: str) -> str:
    users = len(one.lists)
    return f"NDCG@10 {one.ndcg_10:.3f} against {other.ndcg_10:.3f} of {name}, on {users} users."
