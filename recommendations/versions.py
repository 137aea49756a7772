"""Versions of what was learned: stored, read whole, switched at once."""

import functools
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recommendations.core.ials import Penalty
from recommendations.core.item_item import ItemItem
from recommendations.core.model import Model
from recommendations.core.parameters import Parameters
from recommendations.models import FactorVersion

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
    current = FactorVersion.objects.filter(status=FactorVersion.Status.ACTIVE)
    found = current.values_list("pk", flat=True).first()
    return _learned(found) if found else None


@functools.lru_cache(maxsize=1)
def _learned(version_id: int) -> LearnedVersion:
    return opened(FactorVersion.objects.exclude(arrays=None).get(pk=version_id))


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
        "column_sums": model.column_sums,
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
        at_s=0.0,
        model=Model(
            parameters=Parameters.from_json(version.parameters),
            item_factors=arrays["item_factors"],
            item_vectors=arrays["item_factors"],
            touched=arrays["touched"],
            penalty=Penalty(unobserved=unobserved, ridge=ridge),
            column_sums=arrays["column_sums"],
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
