"""Versions of what was learned: stored, read whole, switched at once."""

import functools
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from recommendations.core.arrays import FloatArray
from recommendations.core.ials import Penalty
from recommendations.core.item_item import ItemItem
from recommendations.core.model import Model
from recommendations.core.parameters import Parameters
from recommendations.models import FactorVersion, ItemVector, UserEmbedding

#: A request that began before a switch may still read the version before it for so long.
GRACE = timedelta(minutes=10)
#: For an index that nobody has measured.
MOST_EFFORT = 800


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedVersion:
    """Everything of one version that lists are made from, and nothing of any other.

    item_ids: by row; those that were learned, then those that have a vector from their text alone.
    rows: by item id.
    search_effort: the ef_search with which the index finds enough of this version's vectors.
    at_s: unix seconds of the last action that was learned from; popularity and trends are those of
        that moment.
    """

    version_id: int
    model: Model
    item_ids: list[str]
    rows: dict[str, int]
    search_effort: int
    at_s: float


def active() -> LearnedVersion | None:
    """The version that is switched on, or None before the first. Costs one small query."""
    for _ in range(2):
        current = FactorVersion.objects.filter(status=FactorVersion.Status.ACTIVE)
        found = current.values_list("pk", "text_items").first()
        if found is None:
            return None
        try:
            return _with_texts(*found)
        except FactorVersion.DoesNotExist:
            continue  # It was replaced and emptied between the two look-ups.
    return None


def active_learned() -> LearnedVersion | None:
    """The same without items that nobody has touched: what vectors of users are made from."""
    learned = active()
    return learned and _learned(learned.version_id)


@functools.lru_cache(maxsize=1)
def _learned(version_id: int) -> LearnedVersion:
    return opened(FactorVersion.objects.exclude(arrays=None).get(pk=version_id))


@functools.lru_cache(maxsize=1)
def _with_texts(version_id: int, text_items: int) -> LearnedVersion:
    """text_items: how many there are, so that more of them are read as soon as there are more."""
    learned = _learned(version_id)
    added = ItemVector.objects.filter(version=version_id, from_text=True).order_by("pk")
    names, vectors = [], []
    for item_id, vector in added.values_list("item_id", "vector").iterator():
        names.append(item_id)
        vectors.append(vector)
    return _extended(learned, names, np.array(vectors, dtype=np.float32)) if names else learned


def _extended(learned: LearnedVersion, names: Sequence[str], vectors: FloatArray) -> LearnedVersion:
    """The version with rows for items that nobody has touched."""
    model = learned.model
    item_ids = [*learned.item_ids, *names]
    nothing = np.zeros(len(names))
    item_item = model.item_item and replace(model.item_item, n_items=len(item_ids))
    return replace(
        learned,
        item_ids=item_ids,
        rows={item_id: row for row, item_id in enumerate(item_ids)},
        model=replace(
            model,
            item_factors=np.concatenate([model.item_factors, np.zeros_like(vectors)]),
            item_vectors=np.concatenate([model.item_vectors, vectors]),
            touched=np.concatenate([model.touched, nothing > 0]),
            item_item=item_item,
            popularity=np.concatenate([model.popularity, nothing]),
            trend=np.concatenate([model.trend, nothing]),
            trending=np.concatenate([model.trending, nothing]),
        ),
    )


# --- Arrays ---------------------------------------------------------------------------------------


def pack(**arrays: Any) -> bytes:
    """Arrays as one NumPy archive. The factors are noise to a compressor, so it is not compressed."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def unpack(archive: bytes | memoryview | None) -> dict[str, Any]:
    """The arrays by name; none without an archive."""
    if archive is None:
        return {}
    # Pickled objects, which could run code, are refused by NumPy's default.
    with np.load(io.BytesIO(archive)) as arrays:
        return {name: arrays[name] for name in arrays.files}


def names_as_array(names: Sequence[str]) -> np.typing.NDArray[np.uint8]:
    """Texts as JSON in bytes: NumPy's own arrays of text take the longest one's room for each."""
    return np.frombuffer(json.dumps(list(names)).encode(), dtype=np.uint8)


def names_from_array(array: np.typing.NDArray[np.uint8]) -> list[str]:
    names: list[str] = json.loads(array.tobytes())
    return names


def pack_model(model: Model, item_ids: Sequence[str]) -> bytes:
    arrays = {
        "item_ids": names_as_array(item_ids),
        "item_factors": model.item_factors,
        "touched": model.touched,
        "penalty": np.array([model.penalty.unobserved, model.penalty.ridge]),
        "popularity": model.popularity,
        "trend": model.trend,
        "trending": model.trending,
    }
    if model.item_item is not None:
        arrays["item_item_items"] = model.item_item.items
        # Half precision moves a score by less than a thousandth, and halves the largest array.
        arrays["item_item_weights"] = model.item_item.weights.astype(np.float16)
    return pack(**arrays)


def opened(version: FactorVersion) -> LearnedVersion:
    """A version whose training is over, with the items that it has learned."""
    arrays = unpack(version.arrays)
    item_ids = names_from_array(arrays["item_ids"])
    unobserved, ridge = arrays["penalty"].tolist()
    return LearnedVersion(
        version_id=version.pk,
        item_ids=item_ids,
        rows={item_id: row for row, item_id in enumerate(item_ids)},
        search_effort=version.figures.get("index", {}).get("effort", MOST_EFFORT),
        at_s=version.learned_until.timestamp() if version.learned_until else 0.0,
        model=Model(
            parameters=Parameters.from_json(version.parameters),
            item_factors=arrays["item_factors"],
            item_vectors=arrays["item_factors"],
            touched=arrays["touched"],
            penalty=Penalty(unobserved=unobserved, ridge=ridge),
            item_item=_item_item(arrays, len(item_ids)),
            popularity=arrays["popularity"],
            trend=arrays["trend"],
            trending=arrays["trending"],
        ),
    )


def _item_item(arrays: Mapping[str, Any], n_items: int) -> ItemItem | None:
    if "item_item_items" not in arrays:
        return None
    weights = arrays["item_item_weights"].astype(np.float32)
    return ItemItem(items=arrays["item_item_items"], weights=weights, n_items=n_items)


def renumber(values: FloatArray, rows: Mapping[str, int], item_ids: Sequence[str]) -> FloatArray:
    """Rows of one version in the order of other item ids; zeros for items that it does not know."""
    found = np.zeros((len(item_ids), *values.shape[1:]), dtype=values.dtype)
    known = [(place, rows[item_id]) for place, item_id in enumerate(item_ids) if item_id in rows]
    places, sources = np.array(known, dtype=np.int64).reshape(-1, 2).T
    found[places] = values[sources]
    return found


# --- Switching ------------------------------------------------------------------------------------


def switch_on(version: FactorVersion) -> None:
    """Make this the version that everybody reads, in one transaction with the end of the last one."""
    now = timezone.now()
    with transaction.atomic():
        FactorVersion.objects.filter(status=FactorVersion.Status.ACTIVE).update(
            status=FactorVersion.Status.RETIRED
        )
        version.status = FactorVersion.Status.ACTIVE
        version.stage = FactorVersion.Stage.DONE
        version.switched_at = now
        version.save()


def reject(version: FactorVersion, reason: str) -> None:
    """End the training of a version that is not switched on, and say why."""
    version.status = FactorVersion.Status.REJECTED
    version.reason = reason
    version.save()


def clear_old(now: datetime) -> None:
    """Delete what belongs to versions that nobody reads any more. Their figures stay."""
    read_recently = FactorVersion.objects.filter(
        status=FactorVersion.Status.ACTIVE, switched_at__gt=now - GRACE
    )
    if read_recently.exists():
        return
    over = Q(status__in=[FactorVersion.Status.RETIRED, FactorVersion.Status.REJECTED])
    emptied = FactorVersion.objects.filter(over).exclude(arrays=None)
    for version in emptied.only("pk"):
        UserEmbedding.objects.filter(version=version).delete()
        ItemVector.objects.filter(version=version).delete()
        FactorVersion.objects.filter(pk=version.pk).update(arrays=None)
