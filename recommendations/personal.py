"""One user's own list, made from the vector that the active version has of the user."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommendations import candidates
from recommendations.candidates import Candidate, Together, own_weight
from recommendations.core.arrays import FloatArray
from recommendations.lists import LIST_LENGTH, Kind, Listed
from recommendations.models import FACTORS, ItemVector
from recommendations.own_actions import OwnItems, own_reader, read_own
from recommendations.readers import Embedding
from recommendations.versions import LearnedVersion


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """A user as one version sees them."""

    user_id: str
    embedding: Embedding
    version: LearnedVersion
    own: OwnItems
    together: Together

    def contributions(self, item_ids: Sequence[str], vectors: FloatArray) -> FloatArray:
        """(n_own, n_items): what each own item adds to the taste of each item; see Candidate.

        vectors: (n_items, k) of the items. The sum over the own items is taste + together, exact but
            for the rounding of the stored vector.
        """
        parameters = self.version.model.parameters
        scale = own_weight(self.embedding, parameters) * (1 - parameters.score.item_item)
        by_factors = self.own.parts @ vectors.T * (scale / self.embedding.spread)
        found: FloatArray = by_factors + self.together.contributions(item_ids)
        return found


def look_at(user_id: str, embedding: Embedding, version: LearnedVersion) -> Person:
    """Read what the user did, in one query."""
    own = own_reader(version).own_items(read_own([user_id])[user_id])
    return Person(
        user_id=user_id,
        embedding=embedding,
        version=version,
        own=own,
        together=Together(version, own, embedding),
    )


def make_list(person: Person, *, topic: str = "") -> list[Listed]:
    """The user's best items with the reason of each; empty where the version has just been emptied."""
    found = candidates.nearest(
        person.user_id, person.embedding, person.version, person.together, topic=topic
    )[:LIST_LENGTH]
    item_ids = [candidate.item_id for candidate in found]
    return with_reasons(person, found, vectors_of(person.version, item_ids))


def with_reasons(person: Person, found: Sequence[Candidate], vectors: FloatArray) -> list[Listed]:
    """found: with their vectors. An item's reason is the own item that adds most to its taste.

    Taste is the reason only where it speaks for the item; what else is listed is there because of
    the trend.
    """
    shares = person.contributions([candidate.item_id for candidate in found], vectors)
    return [_listed(person, candidate, shares[:, column]) for column, candidate in enumerate(found)]


def _listed(person: Person, candidate: Candidate, shares: FloatArray) -> Listed:
    if len(shares) and candidate.taste + candidate.together > 0 and shares.max() > 0:
        best = int(shares.argmax())
        own = person.own
        return Listed(
            candidate.item_id, candidate.score, "because", own.item_ids[best], own.actions[best]
        )
    kind: Kind = "trending" if candidate.is_trending else "popular"
    return Listed(candidate.item_id, candidate.score, kind)


def vectors_of(version: LearnedVersion, item_ids: Sequence[str]) -> FloatArray:
    """(n, k) float32: the items' vectors in this version; 0 for an item that has none."""
    found = np.zeros((len(item_ids), FACTORS), dtype=np.float32)
    rows = [version.rows.get(item_id, -1) for item_id in item_ids]
    for place, row in enumerate(rows):
        if row >= 0:
            found[place] = version.model.item_vectors[row]
    # An item that came since this process read the version has a vector made from its text.
    added = {item_id: place for place, item_id in enumerate(item_ids) if rows[place] < 0}
    if added:
        stored = ItemVector.objects.filter(version=version.version_id, item_id__in=added)
        for item_id, vector in stored.values_list("item_id", "vector"):
            found[added[item_id]] = vector
    return found
