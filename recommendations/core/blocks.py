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


class PaddedBlocks:
    """The rows that have entries, cut into blocks, shortest rows first.

    A block is made when it is asked for: whoever needs them again and again keeps a list of them.
    """

    def __init__(self, matrix: Interactions, *, entries: int = BLOCK_ENTRIES) -> None:
        """entries: about how many a block holds; a longer row makes a block of its own."""
        self._matrix = matrix
        self._order = np.argsort(matrix.lengths, kind="stable")
        lengths = matrix.lengths[self._order]
        self._lengths = lengths
        self._bounds = [int(np.searchsorted(lengths, 1))]
        while self._bounds[-1] < len(lengths):
            self._bounds.append(_block_end(lengths, self._bounds[-1], entries))

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, number: int) -> Block:
        part = slice(self._bounds[number], self._bounds[number + 1])
        return _pad(self._matrix, self._order[part], self._lengths[part])

    def __iter__(self) -> Iterator[Block]:
        return map(self.__getitem__, range(len(self)))


def _block_end(ordered: IntArray, first: int, entries: int) -> int:
    """Where a block that starts at first ends: as many rows as fit when each is as long as the last."""
    most = min(len(ordered), first + max(1, entries // int(ordered[first])))
    sizes = ordered[first:most] * np.arange(1, most - first + 1)
    # A row twice as long as the first would fill half of the block with padding.
    fits = (sizes <= entries) & (ordered[first:most] <= 2 * ordered[first])
    return first + max(1, int(np.count_nonzero(fits)))


def _pad(matrix: Interactions, rows: IntArray, lengths: IntArray) -> Block:
    """lengths: those of the rows, ascending."""
    offsets = np.arange(lengths[-1])
    entries = matrix.starts[rows, None] + offsets
    padding = offsets >= lengths[:, None]
    entries[padding] = 0
    weights, gains = matrix.weights[entries], matrix.gains[entries]
    weights[padding] = 0
    gains[padding] = 0
    return Block(rows=rows, columns=matrix.columns[entries], weights=weights, gains=gains)
