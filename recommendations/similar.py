"""Items like an item: by the vectors of the active version, or else by its topics."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from django.db import connection

from recommendations.candidates import NEAREST, index_search
from recommendations.models import LISTABLE, ContentItem, FactorVersion, ItemVector

# The index finds the largest products, which favour items with many actions; their angles do not.
# For the conditions as a subquery see candidates.
_BY_VECTOR = f"""
    SELECT external_id, title, topics, 1 - found.angle FROM (
        SELECT v.item_id, v.vector <=> %(vector)s::vector AS angle FROM item_vectors v
        WHERE v.version_id = %(version)s AND v.item_id <> ALL(%(without)s::varchar[])
          AND (SELECT {LISTABLE} FROM content_items c WHERE c.external_id = v.item_id)
        ORDER BY v.search <-> %(search)s::vector LIMIT %(nearest)s
    ) AS found
    JOIN content_items ON external_id = found.item_id
    ORDER BY found.angle, external_id LIMIT %(limit)s
"""  # noqa: S608 - Nothing but the text above goes in.
_BY_TOPIC = f"""
    SELECT external_id, title, topics, shared::float8 / greatest(1, cardinality(%(topics)s::varchar[])) FROM (
        SELECT c.external_id, c.title, c.topics, coalesce(s.trending, 0) AS trending,
            (SELECT count(*) FROM unnest(c.topics) topic WHERE topic = ANY(%(topics)s::varchar[])) AS shared
        FROM content_items c LEFT JOIN item_signals s ON s.item_id = c.external_id
        WHERE c.topics && %(topics)s::varchar[] AND {LISTABLE} AND c.external_id <> ALL(%(without)s::varchar[])
    ) AS found
    ORDER BY shared DESC, trending DESC, external_id LIMIT %(limit)s
"""  # noqa: S608 - Nothing but the text above goes in.


@dataclass(frozen=True, kw_only=True)
class SimilarItem:
    """score: the cosine of two vectors, or the share of the item's topics."""

    item_id: str
    title: str
    topics: list[str]
    score: float


@dataclass(frozen=True, kw_only=True)
class SimilarItems:
    """source: what the likeness is of. version: None where no vector has a part in it."""

    item_id: str
    source: Literal["vectors", "topics"]
    version: int | None
    items: list[SimilarItem]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def similar(item_id: str, *, limit: int) -> SimilarItems | None:
    """The items most like this one; None for an item that nobody has told us of."""
    content = ContentItem.objects.filter(external_id=item_id).only("topics").first()
    vector = ItemVector.objects.filter(
        item_id=item_id, version__status=FactorVersion.Status.ACTIVE
    ).first()
    if vector is not None:
        items = _by_vector(vector, limit)
        return SimilarItems(
            item_id=item_id, source="vectors", version=vector.version_id, items=items
        )
    if content is None:
        return None
    items = _by_topic(content, item_id, limit)
    return SimilarItems(item_id=item_id, source="topics", version=None, items=items)


def _by_vector(vector: ItemVector, limit: int) -> list[SimilarItem]:
    values: dict[str, Any] = {
        "vector": str(vector.vector),
        "search": str([*vector.vector, 0.0]),
        "version": vector.version_id,
        "without": [vector.item_id],
        "nearest": max(NEAREST, limit),
        "limit": limit,
    }
    with index_search() as cursor:
        cursor.execute(_BY_VECTOR, values)
        return [_item(row) for row in cursor.fetchall()]


def _by_topic(content: ContentItem, item_id: str, limit: int) -> list[SimilarItem]:
    values: dict[str, Any] = {"topics": content.topics, "without": [item_id], "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(_BY_TOPIC, values)
        return [_item(row) for row in cursor.fetchall()]


def _item(row: tuple[str, str, list[str], float]) -> SimilarItem:
    item_id, title, topics, score = row
    return SimilarItem(item_id=item_id, title=title, topics=topics, score=round(score, 4))
