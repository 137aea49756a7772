"""Items that nobody has touched: vectors from the items whose texts are alike."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

import numpy as np

from recommendations.core.arrays import BoolArray, FloatArray, IntArray, group_sums
from recommendations.core.interactions import Interactions

N_FEATURES = 2**16
NEIGHBOURS = 20
# Keeps a vector short where no neighbour is near.
SHRINKAGE = 0.1
_WORD = re.compile(r"\w+")
_BLOCK_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class ItemText:
    """What an item says about itself."""

    text: str
    topics: Sequence[str] = ()


def tf_idf(texts: Sequence[ItemText]) -> Interactions:
    """Items by hashed words, pairs of neighbouring words and topics; each row of length 1.

    Sublinear counts (1 + ln n) times the logarithm of how rare a feature is. The hash is CRC-32, so the
    same text has the same features in every process. Two features may share a number, and at
    65,536 seldom do.
    """
    features = [_features(text) for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(own) for own in features])
    columns = np.array([feature for own in features for feature in own], dtype=np.int64)
    shape = (len(texts), N_FEATURES)
    counted = Interactions.from_pairs(rows, columns, np.ones(len(rows)), shape=shape, cap=np.inf)
    holding = np.bincount(counted.columns, minlength=N_FEATURES)
    rarity = np.log((1 + len(texts)) / (1 + holding)) + 1
    values = (1 + np.log(counted.weights)) * rarity[counted.columns]
    squares = group_sums(counted.row_numbers, values**2, len(texts))
    values = values / np.sqrt(squares)[counted.row_numbers]
    return Interactions.from_pairs(
        counted.row_numbers, counted.columns, values, shape=shape, cap=np.inf
    )


def _features(item: ItemText) -> list[int]:
    words = _WORD.findall(item.text.lower())
    named = words + [f"{one} {two}" for one, two in pairwise(words)]
    # A mark that no word has keeps the topic "music" apart from the word.
    named += [f"#{topic.strip().lower()}" for topic in item.topics]
    return [crc32(name.encode()) % N_FEATURES for name in named]


def neighbour_vectors(
    features: Interactions, item_factors: FloatArray, touched: BoolArray
) -> FloatArray:
    """(n_items, k) float32: the factors, and for untouched items those of the nearest by text.

    features: items by features, rows of length 1. item_factors: (n_items, k).
    touched: (n_items,) whose factors were learned; they stay as they are.
    A vector is the mean of its 20 neighbours', weighted by squared similarity, and shorter where
    they are far; without any neighbour it is 0.
    """
    found = item_factors.copy()
    known = np.flatnonzero(touched)
    untouched = np.flatnonzero(~touched)
    found[untouched] = 0
    if not len(known):
        return found
    for rows, similarities in _similarities(features, untouched, known):
        kept = min(NEIGHBOURS, len(known))
        nearest = np.argpartition(-similarities, kept - 1, axis=1)[:, :kept]
        squares = np.take_along_axis(similarities, nearest, axis=1) ** 2
        shares = squares / (squares.sum(axis=1, keepdims=True) + SHRINKAGE)
        found[rows] = np.vecmat(shares.astype(np.float32), item_factors[known[nearest]])
    return found


def _similarities(
    features: Interactions, rows: IntArray, known: IntArray
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield (some of the rows, their cosines with the known items), in blocks of bounded memory."""
    holders = features.take(known).transposed()
    step = max(1, _BLOCK_CELLS // len(known))
    for first in range(0, len(rows), step):
        part = rows[first : first + step]
        own = features.take(part)
        entries = holders.entries_of(own.columns)
        lengths = holders.lengths[own.columns]
        keys = np.repeat(own.row_numbers * len(known), lengths) + holders.columns[entries]
        products = np.repeat(own.weights, lengths) * holders.weights[entries]
        cosines = group_sums(keys, products, len(part) * len(known))
        yield part, cosines.reshape(len(part), len(known))
