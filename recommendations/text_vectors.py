"""Vectors of items that nobody has touched, from the touched ones whose texts are alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Left, Now

from recommendations import embeddings, item_index
from recommendations.core.arrays import FloatArray
from recommendations.core.text import ItemText, neighbour_vectors, tf_idf
from recommendations.models import ContentItem, FactorVersion, ItemVector
from recommendations.versions import LearnedVersion
from scheduling.run import Run

#: What an item is about is said by then.
MOST_LETTERS = 2_000
BLOCK_ITEMS = 5_000


@dataclass(frozen=True, kw_only=True)
class Added:
    """items: how many got a vector. finished: none is without one."""

    items: int
    finished: bool


def add_missing(learned: LearnedVersion, run: Run) -> Added:
    """Give a vector to every item that the version lacks, before anybody has acted on it."""
    added = 0
    known: tuple[list[ItemText], FloatArray] | None = None
    while missing := _texts(_missing(learned.version_id)[:BLOCK_ITEMS]):
        if run.time_left_s < embeddings.SPARE_S:
            return Added(items=added, finished=False)
        known = known or _learned_texts(learned)
        vectors = _vectors_of(list(missing.values()), *known)
        longest = item_index.longest_of(learned.model.item_factors)
        with transaction.atomic():
            item_index.store(
                learned.version_id, list(missing), vectors, longest=longest, from_text=True
            )
            # Tells readers that there are more items than those that they know.
            FactorVersion.objects.filter(pk=learned.version_id).update(
                text_items=F("text_items") + len(missing)
            )
        added += len(missing)
    return Added(items=added, finished=True)


def _vectors_of(
    new: Sequence[ItemText], known: Sequence[ItemText], factors: FloatArray
) -> FloatArray:
    """(n_new, k): the mean of the factors of each one's neighbours among the known."""
    blank = np.zeros((len(new), factors.shape[1]), dtype=factors.dtype)
    touched = np.arange(len(known) + len(new)) < len(known)
    found = neighbour_vectors(tf_idf([*known, *new]), np.concatenate([factors, blank]), touched)
    return found[len(known) :]


def _missing(version_id: int) -> QuerySet[ContentItem]:
    """Items without a vector in the version that may still be shown."""
    vectors = ItemVector.objects.filter(version=version_id, item_id=OuterRef("external_id"))
    current = Q(expires_at=None) | Q(expires_at__gt=Now())
    return ContentItem.objects.filter(current, ~Exists(vectors)).order_by("pk")


def _learned_texts(learned: LearnedVersion) -> tuple[list[ItemText], FloatArray]:
    """The texts and the factors of the items that were learned and have a text."""
    texts = _texts(ContentItem.objects.filter(external_id__in=learned.item_ids).order_by("pk"))
    rows = [learned.rows[item_id] for item_id in texts]
    return list(texts.values()), learned.model.item_factors[rows]


def _texts(items: QuerySet[ContentItem]) -> dict[str, ItemText]:
    rows = items.annotate(start=Left("text", MOST_LETTERS)).values_list(
        "external_id", "title", "start", "topics"
    )
    return {
        item_id: ItemText(text=f"{title} {start}", topics=topics)
        for item_id, title, start, topics in rows.iterator()
    }
