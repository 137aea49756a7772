"""Lists of active users, made before they are asked for: one matrix product a block."""

import time
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from django.utils import timezone

from recommendations import cold_start, lists, versions
from recommendations.candidates import Together, scored
from recommendations.catalogue import Catalogue, query_vector
from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.interactions import Interactions
from recommendations.core.ranking import hide, top_k
from recommendations.lists import LIST_LENGTH, CachedList, Listed
from recommendations.models import UserAction, UserEmbedding
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
    items = catalogue.with_terms(version.model.parameters)
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
    """The lists of one block of users. items: the catalogue's with_terms()."""
    made_at = time.time()
    people, own = _look_at(user_ids, version)
    hidden = _hidden([own[person.user_id] for person in people], catalogue)
    made = []
    for person, listed in zip(people, _best(people, catalogue, items, hidden), strict=True):
        entries = _entries(person, catalogue, listed[listed >= 0])
        kept = CachedList(version_id=version.version_id, made_at=made_at, entries=entries)
        made.append((person.user_id, kept))
    return made


def _best(
    people: Sequence[Person], catalogue: Catalogue, items: FloatArray, hidden: Interactions
) -> IntArray:
    """(n, LIST_LENGTH) the columns of everybody's best items, by one matrix product."""
    queries = np.array([query_vector(person) for person in people]).reshape(len(people), -1)
    if not len(people) or not items.size:
        return np.full((len(people), LIST_LENGTH), -1)
    scores = queries @ items.T
    for row, person in enumerate(people):
        if person.together.has_share:
            scores[row] += person.together.of_all(catalogue.item_ids)
    hide(scores, hidden)
    return top_k(scores, LIST_LENGTH)[0]


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
