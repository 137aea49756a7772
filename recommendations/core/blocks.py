"""Rows of a sparse matrix as padded rectangles that fit the processor's cache."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.interactions import Interactions

# With 64 factors in float32 the gathered vectors of a block take 4 MB: few enough to stay in the
# cache, and enough work in each call of numpy for two threads not to wait for each other.
BLOCK_ENTRIES = 16_384


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Rows of about the same length, filled up with entries of weight 0.

    rows: (b,) the numbers of the rows.
    columns: (b, length) int32; weights, gains: (b, length) float32.
    """

    rows: IntArray
    columns: IntArray
    weights: FloatArray
    gains: FloatArray


def padded_blocks(matrix: Interactions, *, entries: int = BLOCK_ENTRIES) -> Iterator[Block]:
    """Cut the rows that have entries into blocks, shortest rows first.

    entries: about how many a block holds; a longer row makes a block of its own.
    """
    lengths = matrix.lengths
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    first = int(np.searchsorted(ordered, 1))
    while first < len(order):
        last = _block_end(ordered, first, entries)
        yield _pad(matrix, order[first:last], int(ordered[last - 1]))
        first = last


def _block_end(ordered: IntArray, first: int, entries: int) -> int:
    """Where a block that starts at first ends: as many rows as fit when each is as long as the last."""
    most = min(len(ordered), first + max(1, entries // int(ordered[first])))
    sizes = ordered[first:most] * np.arange(1, most - first + 1)
    # A row twice as long as the first would fill half of the block with padding.
    fits = (sizes <= entries) & (ordered[first:most] <= 2 * ordered[first])
    return first + max(1, int(np.count_nonzero(fits)))


def _pad(matrix: Interactions, rows: IntArray, length: int) -> Block:
    offsets = np.arange(length)
    entries = matrix.starts[rows, None] + offsets
    padding = offsets >= matrix.lengths[rows, None]
    padded = bool(padding.any())
    if padded:
        entries[padding] = 0
    weights, gains = matrix.weights[entries], matrix.gains[entries]
    if padded:
        weights[padding] = 0
        gains[padding] = 0
    return Block(rows=rows, columns=matrix.columns[entries], weights=weights, gains=gains)
