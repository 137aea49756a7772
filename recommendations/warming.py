"""Lists of active users, made before they are asked for: one matrix product a block."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import numpy as np
from django.db import connection
from django.utils import timezone

from recommendations import cold_start, lists, versions
from recommendations.candidates import Together, own_weight, scored
from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.interactions import Interactions
from recommendations.core.ranking import item_vectors, rank_blocks
from recommendations.lists import LIST_LENGTH, CachedList, Listed
from recommendations.models import FACTORS, LISTABLE, UserAction, UserEmbedding
from recommendations.own_actions import Own, own_reader, read_own, seen
from recommendations.personal import Person, with_reasons
from recommendations.readers import Embedding
from recommendations.versions import LearnedVersion
from scheduling.errors import PayloadRefused
from scheduling.run import JobResult, Run

#: Who did something in so many days is likely to come back.
ACTIVE_FOR = timedelta(days=30)
BLOCK_USERS = 256
#: The scores of a block take at most so many cells of four bytes.
BLOCK_CELLS = 8_000_000
#: Kept free to write the block that is under way.
SPARE_S = 5.0

# vector_send is the vector as it goes over the wire: two 16-bit numbers, then the big-endian floats.
_CATALOGUE = f"""
    SELECT c.external_id, vector_send(v.vector), coalesce(s.popularity, 0), coalesce(s.trend, 0)
    FROM content_items c
    LEFT JOIN item_vectors v ON v.version_id = %s AND v.item_id = c.external_id
    LEFT JOIN item_signals s ON s.item_id = c.external_id
    WHERE {LISTABLE} ORDER BY c.id
"""
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


def warm(run: Run) -> JobResult:
    """Make the lists of active users. payload: {"after": user_id} goes on where a run ended."""
    started = time.monotonic()
    after = run.payload.get("after", "")
    if not isinstance(after, str):
        raise PayloadRefused('"after" must be the id of a user.')
    hits, misses = (0, 0) if after else lists.take_counts()
    if not after:
        cold_start.renew()
    version = versions.active()
    users, written, last = 0, 0, None
    if version is not None:
        users, written, last = _warm_all(version, run, after)
    counts = {
        "users": users,
        "lists": written,
        "milliseconds": round((time.monotonic() - started) * 1000),
        "hits": hits,
        "misses": misses,
        "hit_rate_percent": round(100 * hits / max(1, hits + misses)),
    }
    message = "No version has been learned yet" if version is None else "Lists made"
    continuation = None if last is None else {"after": last}
    return JobResult(message=message, counts=counts, continuation=continuation)


def _warm_all(version: LearnedVersion, run: Run, after: str) -> tuple[int, int, str | None]:
    """(users, lists written, the last user where the time did not suffice for all)."""
    waiting = active_users(version, after=after)
    catalogue = Catalogue.read(version.version_id)
    items = item_vectors(
        catalogue.vectors, catalogue.popularity, catalogue.trend, version.model.parameters.score
    )
    step = max(1, min(BLOCK_USERS, BLOCK_CELLS // max(1, len(catalogue.item_ids))))
    written = 0
    for first in range(0, len(waiting), step):
        if run.time_left_s < SPARE_S:
            return first, written, waiting[first - 1] if first else after
        block = waiting[first : first + step]
        written += lists.write_many(make_lists(block, version, catalogue, items))
        run.report(first + len(block), len(waiting))
    return len(waiting), written, None


def active_users(version: LearnedVersion, *, after: str = "") -> list[str]:
    """Who acted of late and gets a personal list, in the database's order of ids."""
    acted = UserAction.objects.filter(occurred_at__gte=timezone.now() - ACTIVE_FOR)
    embeddings = UserEmbedding.objects.filter(
        version=version.version_id,
        items_used__gte=version.model.parameters.personal_from,
        user_id__gt=after,
        user_id__in=acted.values("user_id"),
    )
    return list(embeddings.order_by("user_id").values_list("user_id", flat=True))


def make_lists(
    user_ids: Sequence[str], version: LearnedVersion, catalogue: Catalogue, items: FloatArray
) -> list[tuple[str, CachedList]]:
    """The lists of one block of users. items: item_vectors() of the catalogue."""
    made_at = time.time()
    people, own = _look_at(user_ids, version)
    hidden = _hidden([own[person.user_id] for person in people], catalogue)
    queries = np.stack([_query(person) for person in people]) if people else np.zeros((0, 1))
    made = []
    for rows, columns, _ in rank_blocks(
        queries, items, hidden, LIST_LENGTH, block_rows=max(1, len(people)),
        beside=_beside(people, catalogue),
    ):  # fmt: skip
        for person, listed in zip(people[rows], columns, strict=True):
            entries = _entries(person, catalogue, listed[listed >= 0])
            kept = CachedList(version_id=version.version_id, made_at=made_at, entries=entries)
            made.append((person.user_id, kept))
    return made


def _look_at(
    user_ids: Sequence[str], version: LearnedVersion
) -> tuple[list[Person], dict[str, list[Own]]]:
    """Everybody of a block in two queries; a user whose vector has gone meanwhile is left out."""
    own = read_own(user_ids)
    reader = own_reader(version)
    stored = UserEmbedding.objects.filter(version=version.version_id, user_id__in=user_ids)
    people = []
    for row in stored.order_by("user_id"):
        embedding = Embedding.of(row)
        items = reader.own_items(own[row.user_id])
        people.append(
            Person(
                user_id=row.user_id,
                embedding=embedding,
                version=version,
                own=items,
                together=Together(version, items, embedding),
            )
        )
    return people, own


def _query(person: Person) -> FloatArray:
    """(k + 2,) what the catalogue's vectors are multiplied with; see core.ranking."""
    weights = person.version.model.parameters.score
    own = own_weight(person.embedding, person.version.model.parameters)
    taste = person.embedding.vector * (own * (1 - weights.item_item) / person.embedding.spread)
    return np.concatenate([taste, [-weights.popularity * own, weights.trend]]).astype(np.float32)


def _hidden(own: Sequence[Sequence[Own]], catalogue: Catalogue) -> Interactions:
    """What each user has seen, as rows of the catalogue's columns."""
    pairs = [
        (row, catalogue.columns[item_id])
        for row, actions in enumerate(own)
        for item_id in seen(actions)
        if item_id in catalogue.columns
    ]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    shape = (len(own), len(catalogue.item_ids))
    return Interactions.from_pairs(rows, columns, np.ones(len(rows)), shape=shape)


def _beside(people: Sequence[Person], catalogue: Catalogue) -> FloatArray | None:
    """The item-to-item parts of a block, or None where they have no share."""
    if not any(person.together.has_share for person in people):
        return None
    return np.stack([person.together.of_all(catalogue.item_ids) for person in people])


def _entries(person: Person, catalogue: Catalogue, columns: IntArray) -> list[Listed]:
    vectors = catalogue.vectors[columns]
    products = vectors @ person.embedding.vector
    item_ids = [catalogue.item_ids[column] for column in columns]
    rows = zip(
        item_ids, products.tolist(), catalogue.popularity[columns].tolist(),
        catalogue.trend[columns].tolist(), strict=True,
    )  # fmt: skip
    found = scored(list(rows), person.embedding, person.version.model.parameters, person.together)
    return with_reasons(person, found, vectors)


def _vectors(sent: Sequence[bytes | None]) -> FloatArray:
    """(n, FACTORS) float32 of what vector_send made."""
    blank = bytes(_HEADER_BYTES + 4 * FACTORS)
    data = b"".join(blank if vector is None else bytes(vector) for vector in sent)
    lines = np.frombuffer(data, dtype=np.uint8).reshape(len(sent), -1)
    floats = np.ascontiguousarray(lines[:, _HEADER_BYTES:]).view(">f4")
    return floats.astype(np.float32)
