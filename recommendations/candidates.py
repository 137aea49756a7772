"""Which items come into question for a user, and their exact scores.

The nearest by taste come from the HNSW index of the version's vectors. What is trending or new
stands beside them, since a score has other parts than taste. All are scored exactly.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from recommendations.cold_start import TRENDING_FROM
from recommendations.core.arrays import FloatArray
from recommendations.core.model import in_spreads
from recommendations.core.parameters import Parameters
from recommendations.core.ranking import catalogue_terms, confidence
from recommendations.models import LISTABLE
from recommendations.own_actions import OwnItems
from recommendations.readers import Embedding
from recommendations.versions import LearnedVersion

# Among 100,000 items the first 20 of a list were 99.5 % of the exact ones with these, and 97.5 % with
# half and a fifth of them; docs/benchmarks.md.
NEAREST = 800
TRENDING = 1000
NEW = 50
#: An item is new for so long, and may have a place that is kept for new ones.
NEW_FOR_DAYS = 3
#: pgvector's upper bound of hnsw.ef_search, which is also the most rows a plain scan returns.
MOST_EF_SEARCH = 1000

# Conditions as subqueries, since a join would lead the planner to read everything and sort it, where
# an index that gives the best first can stop early.
_LISTABLE = f"""(SELECT {LISTABLE} AND (%(topic)s = '' OR c.topics @> ARRAY[%(topic)s]::varchar[])
        FROM content_items c WHERE c.external_id = {{item_id}})"""  # noqa: S608 - Only what stands here goes in.
_UNSEEN = "{item_id} NOT IN (SELECT a.item_id FROM user_actions a WHERE a.user_id = %(user_id)s)"


def _allowed(item_id: str) -> str:
    """The condition that the user may be shown the item of this column."""
    return f"{_UNSEEN} AND {_LISTABLE}".format(item_id=item_id)


_CHOSEN = {
    "nearest": f"""
        (SELECT v.item_id FROM item_vectors v
         WHERE v.version_id = %(version)s AND {_allowed("v.item_id")}
         ORDER BY v.search <-> %(search)s::vector LIMIT %(nearest)s)""",  # noqa: S608 - Only what stands here goes in.
    "trending": f"""
        (SELECT s.item_id FROM item_signals s WHERE {_allowed("s.item_id")}
         ORDER BY s.trend DESC LIMIT %(trending)s)""",  # noqa: S608 - As above.
    "new": f"""
        (SELECT i.external_id FROM content_items i
         WHERE i.published_at > statement_timestamp() - make_interval(days => %(new_for_days)s)
           AND {_allowed("i.external_id")} ORDER BY i.published_at DESC LIMIT %(new)s)""",  # noqa: S608 - As above.
    "allowed": f"""
        (SELECT n.item_id FROM unnest(%(named)s::varchar[]) AS n (item_id)
         WHERE {_allowed("n.item_id")})""",  # noqa: S608 - As above.
    "any": "SELECT unnest(%(named)s::varchar[])",
}
_WITH_PARTS = """
    SELECT chosen.item_id, coalesce(-(v.vector <#> %(vector)s::vector), 0),
           coalesce(s.popularity, 0), coalesce(s.trend, 0)
    FROM ({chosen}) AS chosen (item_id)
    LEFT JOIN item_vectors v ON v.version_id = %(version)s AND v.item_id = chosen.item_id
    LEFT JOIN item_signals s ON s.item_id = chosen.item_id
"""


class Candidate(NamedTuple):
    """An item and the parts that its score is the sum of.

    taste: by the factors. together: by what goes with the user's items. popularity: the lower, the
        more like it anyway. trend: the higher, the more like it now.
    """

    item_id: str
    taste: float
    together: float
    popularity: float
    trend: float
    is_trending: bool

    @property
    def score(self) -> float:
        return self.taste + self.together + self.popularity + self.trend


class Together:
    """The item-to-item part of one user's scores; all 0 where it has no share."""

    def __init__(self, version: LearnedVersion, own: OwnItems, embedding: Embedding) -> None:
        self._version, self._own = version, own
        self._scores: FloatArray = np.zeros(0, dtype=np.float32)
        self._scale = 0.0
        model = version.model
        if model.item_item is not None and model.parameters.score.item_item > 0:
            scores = model.item_item.scores(own.beside)
            weight = model.parameters.score.item_item * own_weight(embedding, model.parameters)
            self._scores = in_spreads(scores, model.touched)[0] * np.float32(weight)
            largest = int(np.abs(scores[0]).argmax())
            self._scale = float(self._scores[largest] / (scores[0][largest] or 1.0))

    @property
    def has_share(self) -> bool:
        return bool(len(self._scores))

    def of_all(self, item_ids: Sequence[str]) -> FloatArray:
        """(n,) float32: the part of each item's score; 0 for an item that the model does not hold."""
        found = np.zeros(len(item_ids), dtype=np.float32)
        if self.has_share:
            rows = np.array([self._version.rows.get(item_id, -1) for item_id in item_ids])
            found[rows >= 0] = self._scores[rows[rows >= 0]]
        return found

    def best(self, count: int) -> list[str]:
        order = np.argsort(-self._scores, kind="stable")[:count]
        return [self._version.item_ids[row] for row in order if self._scores[row] > 0]

    def contributions(self, item_ids: Sequence[str]) -> FloatArray:
        """(n_own, n_items): what each of the user's items adds to of_all() of these items."""
        found = np.zeros((len(self._own.item_ids), len(item_ids)))
        item_item = self._version.model.item_item
        if item_item is None or not self.has_share:
            return found
        places = {int(row): place for place, row in enumerate(item_item.items)}
        rows = self._version.rows
        columns = [places.get(rows.get(item_id, -1), -1) for item_id in item_ids]
        for number, (row, gain) in enumerate(
            zip(self._own.beside.columns, self._own.beside.gains, strict=True)
        ):
            if int(row) in places:
                weights = item_item.weights[places[int(row)]]
                found[number] = [weights[column] if column >= 0 else 0.0 for column in columns]
                found[number] *= gain * self._scale
        return found


def own_weight(embedding: Embedding, parameters: Parameters) -> float:
    """How much a user's own taste weighs against what everybody likes now."""
    return float(confidence(np.array([embedding.items_used]), parameters.score)[0])


def nearest(
    user_id: str,
    embedding: Embedding,
    version: LearnedVersion,
    together: Together,
    *,
    topic: str = "",
) -> list[Candidate]:
    """The user's best items that may be listed and were not seen, best first."""
    found = _find(
        ["nearest", "trending", "new", "allowed"], user_id, embedding, version.version_id,
        version.model.parameters, topic=topic, named=together.best(TRENDING), together=together,
        effort=version.search_effort,
    )  # fmt: skip
    return sorted(found, key=lambda each: -each.score)


def new(
    user_id: str, embedding: Embedding, version_id: int, parameters: Parameters, *, topic: str = ""
) -> list[Candidate]:
    """New items that the user has not seen, best first."""
    found = _find(["new"], user_id, embedding, version_id, parameters, topic=topic)
    return sorted(found, key=lambda each: -each.score)


def named(
    item_ids: Sequence[str],
    user_id: str,
    embedding: Embedding,
    version: LearnedVersion,
    together: Together,
) -> list[Candidate]:
    """These items, whether they may be listed or not, in any order."""
    return _find(
        ["any"], user_id, embedding, version.version_id, version.model.parameters,
        named=item_ids, together=together,
    )  # fmt: skip


def _find(
    kinds: Sequence[str],
    user_id: str,
    embedding: Embedding,
    version_id: int,
    parameters: Parameters,
    *,
    topic: str = "",
    named: Sequence[str] = (),
    together: Together | None = None,
    effort: int = 0,
) -> list[Candidate]:
    vector = [float(value) for value in embedding.vector]
    values: dict[str, Any] = {
        "user_id": user_id,
        "version": version_id,
        "topic": topic,
        "vector": str(vector),
        "search": str([*vector, 0.0]),
        "named": list(named),
        "nearest": NEAREST,
        "trending": TRENDING,
        "new": NEW,
        "new_for_days": NEW_FOR_DAYS,
    }
    statement = _WITH_PARTS.format(chosen=" UNION ".join(_CHOSEN[kind] for kind in kinds))
    with index_search(effort) if "nearest" in kinds else connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows = cursor.fetchall()
    return scored(rows, embedding, parameters, together)


@contextmanager
def index_search(effort: int = 0) -> Iterator[CursorWrapper]:
    """A cursor for which the index returns enough; by default it would stop after 40 rows.

    effort: the ef_search with which it finds enough of what is nearest, where that was measured.
    With iterative scans it goes on for as long as rows are filtered out; without them, which came
    with pgvector 0.8, it starts with as many as it ever can.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        if has_iterative_scans():
            cursor.execute(
                "SELECT set_config('hnsw.ef_search', %s, true), "
                "set_config('hnsw.iterative_scan', 'strict_order', true)",
                [str(min(max(NEAREST, effort), MOST_EF_SEARCH))],
            )
        else:
            cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(MOST_EF_SEARCH)])
        yield cursor


@functools.cache
def has_iterative_scans() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        (version,) = cursor.fetchone()
    major, minor = (int(number) for number in version.split(".")[:2])
    return (major, minor) >= (0, 8)


def scored(
    rows: Sequence[tuple[str, float, float, float]],
    embedding: Embedding,
    parameters: Parameters,
    together: Together | None = None,
) -> list[Candidate]:
    """rows: item id, product of the user's vector with the item's, popularity, trend."""
    if not rows:
        return []
    item_ids, products, popularity, counts = zip(*rows, strict=True)
    trend = np.array(counts)
    weights = parameters.score
    own = own_weight(embedding, parameters)
    popular_terms, trend_terms = catalogue_terms(np.array(popularity), trend, weights)
    parts = np.stack(
        [
            np.array(products) * (own * (1 - weights.item_item) / embedding.spread),
            together.of_all(item_ids) if together else np.zeros(len(rows)),
            popular_terms * (-weights.popularity * own),
            trend_terms * weights.trend,
        ],
        axis=1,
    )
    return [
        Candidate(item_id, taste, beside, popular, present, is_trending)
        for item_id, (taste, beside, popular, present), is_trending in zip(
            item_ids, parts.tolist(), (trend >= TRENDING_FROM).tolist(), strict=True
        )
    ]
