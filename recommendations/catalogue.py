"""Everything that may be listed, as arrays: for many users at once, or for the exact rank of an item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from django.db import connection

from recommendations.candidates import own_weight
from recommendations.core.arrays import FloatArray
from recommendations.core.parameters import Parameters
from recommendations.core.ranking import item_vectors
from recommendations.models import FACTORS, LISTABLE
from recommendations.personal import Person

# vector_send is the vector as it goes over the wire: two 16-bit numbers, then the big-endian floats.
_CATALOGUE = f"""
    SELECT c.external_id, vector_send(v.vector), coalesce(s.popularity, 0), coalesce(s.trend, 0)
    FROM content_items c
    LEFT JOIN item_vectors v ON v.version_id = %s AND v.item_id = c.external_id
    LEFT JOIN item_signals s ON s.item_id = c.external_id
    WHERE {LISTABLE} ORDER BY c.id
"""  # noqa: S608 - Nothing but the text above goes in.
_HEADER_BYTES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
    """Everything that may be listed now. vectors: (n, FACTORS), 0 for an item without one."""

    item_ids: list[str]
    columns: dict[str, int]
    vectors: FloatArray
    popularity: FloatArray
    trend: FloatArray

    @classmethod
    def read(cls, version_id: int) -> Self:
        with connection.cursor() as cursor:
            cursor.execute(_CATALOGUE, [version_id])
            rows = cursor.fetchall()
        item_ids = [row[0] for row in rows]
        return cls(
            item_ids=item_ids,
            columns={item_id: column for column, item_id in enumerate(item_ids)},
            vectors=_vectors([row[1] for row in rows]),
            popularity=np.array([row[2] for row in rows], dtype=np.float64),
            trend=np.array([row[3] for row in rows], dtype=np.float64),
        )

    def with_terms(self, parameters: Parameters) -> FloatArray:
        """(n, FACTORS + 2): what query_vector() is multiplied with."""
        return item_vectors(self.vectors, self.popularity, self.trend, parameters.score)


def query_vector(person: Person) -> FloatArray:
    """(k + 2,) what the catalogue's vectors are multiplied with; see core.ranking."""
    weights = person.version.model.parameters.score
    own = own_weight(person.embedding, person.version.model.parameters)
    taste = person.embedding.vector * (own * (1 - weights.item_item) / person.embedding.spread)
    return np.concatenate([taste, [-weights.popularity * own, weights.trend]]).astype(np.float32)


def _vectors(sent: Sequence[bytes | None]) -> FloatArray:
    """(n, FACTORS) float32 of what vector_send made."""
    blank = bytes(_HEADER_BYTES + 4 * FACTORS)
    data = b"".join(blank if vector is None else bytes(vector) for vector in sent)
    lines = np.frombuffer(data, dtype=np.uint8).reshape(len(sent), -1)
    floats = np.ascontiguousarray(lines[:, _HEADER_BYTES:]).view(">f4")
    return floats.astype(np.float32)
