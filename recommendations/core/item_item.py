"""Items that go together: a linear model from items to items.

Where a catalogue is small or actions are few, it finds neighbours that factors blur.
Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (2019), EASE.
"""

from dataclasses import dataclass, replace

import numpy as np

from recommendations.core.arrays import BoolArray, FloatArray, IntArray
from recommendations.core.blocks import PaddedBlocks
from recommendations.core.interactions import Interactions

# The model takes I² memory and I³ time: 10,000 items are 400 MB and about 20 s on one core.
MOST_ITEMS = 10_000
_CHUNK_ROWS = 512
_DENSE_SHARE = 17
_PAIR_ENTRIES = 4_096
_GATHERED = 4_000_000
_LEAF = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemItem:
    """Weights from items to items, for the items that have most actions.

    items: (m,) ascending item numbers. weights: (m, m) float32, 0 on the diagonal; a user's scores are
    the own gains times the weights.
    """

    items: IntArray
    weights: FloatArray
    n_items: int

    def scores(self, rows: Interactions) -> FloatArray:
        """(n_rows, n_items) float32; 0 for items that the model does not hold."""
        held = _among(rows, self.items)
        found = np.zeros((len(rows), len(self.items)), dtype=np.float32)
        short = held.lengths * _DENSE_SHARE < len(self.items)
        entries = max(1, _GATHERED // max(1, len(self.items)))
        for block in PaddedBlocks(held.take(np.flatnonzero(short)), entries=entries):
            gathered = self.weights[block.columns]
            found[np.flatnonzero(short)[block.rows]] = np.vecmat(block.gains, gathered)
        found[~short] = held.take(np.flatnonzero(~short)).dense() @ self.weights
        if len(self.items) == self.n_items:
            return found
        everywhere = np.zeros((len(rows), self.n_items), dtype=np.float32)
        everywhere[:, self.items] = found
        return everywhere


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemGram:
    """How often items meet in one user: what all ridges have in common.

    items: (m,) ascending item numbers. gram: (m, m) float32, XᵀWX of whether a user liked an item and
    of row_shares.
    """

    items: IntArray
    gram: FloatArray
    n_items: int

    @classmethod
    def of(
        cls, interactions: Interactions, *, evenness: float = 0.0, most_items: int = MOST_ITEMS
    ) -> "ItemGram":
        """Add up the meetings of the most_items items that most users liked.

        evenness: 0 where every user's meetings count alike, more where long rows count less.
        """
        columns = interactions.columns[interactions.gains > 0]
        popularity = np.bincount(columns, minlength=interactions.n_columns)
        items = np.sort(np.argsort(-popularity, kind="stable")[:most_items])
        items = items[popularity[items] > 0]
        liked = _liked(_among(interactions, items))
        gram = _meetings(liked, row_shares(liked.lengths, evenness))
        return cls(items=items, gram=gram, n_items=interactions.n_columns)

    def solve(self, ridge: float) -> ItemItem:
        """The weights for one ridge (> 0), in closed form."""
        system = self.gram.copy()
        diagonal = np.arange(len(system))
        system[diagonal, diagonal] += np.float32(ridge)
        weights = inverse(system)
        weights /= -np.diag(weights).copy()
        weights[diagonal, diagonal] = 0
        return ItemItem(items=self.items, weights=weights, n_items=self.n_items)


def row_shares(lengths: IntArray, evenness: float) -> FloatArray:
    """(n_rows,) float32: what a meeting counts in rows with so many entries, n to the -evenness.

    A row of n entries has n² meetings, so those who took a bit of everything can drown all others.
    The shares leave the sum of the gram's diagonal as it was, and so what a ridge means.
    """
    shares = np.maximum(lengths, 1).astype(np.float64) ** -evenness
    shares *= lengths.sum() / max(1e-9, float((shares * lengths).sum()))
    return shares.astype(np.float32)


def _among(interactions: Interactions, items: IntArray) -> Interactions:
    """The same rows by chosen items, which are numbered anew in their order."""
    numbers = np.full(interactions.n_columns, -1)
    numbers[items] = np.arange(len(items))
    columns = numbers[interactions.columns]
    return _kept(replace(interactions, columns=columns, n_columns=len(items)), columns >= 0)


def _liked(interactions: Interactions) -> Interactions:
    """The same rows without what was only dismissed."""
    return _kept(interactions, interactions.gains > 0)


def _kept(interactions: Interactions, kept: BoolArray) -> Interactions:
    starts = np.concatenate([[0], np.cumsum(kept)])[interactions.starts]
    return replace(
        interactions,
        starts=starts,
        columns=interactions.columns[kept].astype(np.int32),
        weights=interactions.weights[kept],
        gains=interactions.gains[kept],
    )


def _meetings(liked: Interactions, shares: FloatArray) -> FloatArray:
    """(m, m) float32: the shares of the rows in which each pair of columns meets.

    liked: rows without dismissals. shares: (n_rows,).
    """
    gram = np.zeros((liked.n_columns,) * 2, dtype=np.float32)
    # A row of n entries has n² meetings to add one by one; as part of a dense product it costs m²
    # multiplications, each about three hundred times as fast.
    short = np.flatnonzero(liked.lengths * _DENSE_SHARE < liked.n_columns)
    for block in PaddedBlocks(liked.take(short), entries=_PAIR_ENTRIES):
        keys = block.columns[:, :, None].astype(np.int64) * liked.n_columns
        keys = keys + block.columns[:, None, :]
        liking = (block.gains > 0).astype(np.float32)
        both = liking[:, :, None] * liking[:, None, :] * shares[short[block.rows], None, None]
        np.add.at(gram.reshape(-1), keys.reshape(-1), both.reshape(-1))
    long = np.flatnonzero(liked.lengths * _DENSE_SHARE >= liked.n_columns)
    for first in range(0, len(long), _CHUNK_ROWS):
        rows = long[first : first + _CHUNK_ROWS]
        part = liked.take(rows).dense() > 0
        scaled = part * np.sqrt(shares[rows])[:, None]
        gram += scaled.T @ scaled
    return gram


def inverse(matrix: FloatArray) -> FloatArray:
    """The inverse of a symmetric positive definite matrix, of the same type.

    By halves and the Schur complement, so that nearly all the work is matrix products: at 6,000 rows
    four times as fast as numpy.linalg.inv, which solves for the identity.
    """
    if len(matrix) <= _LEAF:
        return np.linalg.inv(matrix)
    half = len(matrix) // 2
    upper, across, lower = matrix[:half, :half], matrix[:half, half:], matrix[half:, half:]
    upper_inverse = inverse(upper)
    carried = upper_inverse @ across
    complement = inverse(lower - across.T @ carried)
    corner = carried @ complement
    found = np.empty_like(matrix)
    found[:half, :half] = upper_inverse + corner @ carried.T
    found[:half, half:] = -corner
    found[half:, :half] = -corner.T
    found[half:, half:] = complement
    return found
