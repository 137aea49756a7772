"""A sparse matrix of what is known about pairs: user by item, or item by user."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from recommendations.core.actions import Actions
from recommendations.core.arrays import BoolArray, FloatArray, IntArray, group_sums
from recommendations.core.weights import Recency, recency_weights

# A pair that was seen many times says little more than one that was seen three times.
PAIR_CAP = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Interactions:
    """Compressed sparse rows; in each row the columns ascend and none comes twice.

    starts: (n_rows + 1,) int64; row r owns the entries starts[r]:starts[r + 1].
    columns: (n,) int32.
    weights: (n,) float32 > 0, the confidence in a pair.
    gains: (n,) float32, confidence times preference: equal to the weight where a user only ever
        liked an item, 0 where the user only dismissed it, between them otherwise.
    """

    starts: IntArray
    columns: IntArray
    weights: FloatArray
    gains: FloatArray
    n_columns: int

    @classmethod
    def from_pairs(
        cls,
        rows: IntArray,
        columns: IntArray,
        strengths: FloatArray,
        *,
        shape: tuple[int, int],
        cap: float = PAIR_CAP,
    ) -> Self:
        """Add up what is known about each pair.

        rows, columns, strengths: (n,); a strength below 0 is a dismissal of that confidence.
        shape: (number of rows, number of columns).
        cap: the most that a pair's confidence may be.

        P parts liking and D parts dismissing make P(1-s)² + D(0-s)², which is (P+D)(P/(P+D) - s)²
        and a constant: so confidences and gains add up.
        """
        n_rows, n_columns = shape
        keys: IntArray = rows.astype(np.int64) * n_columns + columns
        keys, inverse = np.unique(keys, return_inverse=True)
        weights = group_sums(inverse, np.abs(strengths), len(keys))
        gains = group_sums(inverse, np.maximum(strengths, 0.0), len(keys))
        known = weights > 0
        keys, weights, gains = keys[known], weights[known], gains[known]
        shrink = np.minimum(1.0, cap / weights)
        starts = np.searchsorted(keys, np.arange(n_rows + 1, dtype=np.int64) * n_columns)
        return cls(
            starts=starts.astype(np.int64),
            columns=(keys % n_columns).astype(np.int32),
            weights=(weights * shrink).astype(np.float32),
            gains=(gains * shrink).astype(np.float32),
            n_columns=n_columns,
        )

    @classmethod
    def from_actions(cls, actions: Actions, recency: Recency, *, cap: float = PAIR_CAP) -> Self:
        """The users' rows: strengths of actions times their weights by recency."""
        return cls.from_pairs(
            actions.users,
            actions.items,
            actions.strengths * recency_weights(actions, recency),
            shape=(actions.n_users, actions.n_items),
            cap=cap,
        )

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> IntArray:
        """(n_rows,) how many entries each row has."""
        return np.diff(self.starts)

    @property
    def row_numbers(self) -> IntArray:
        """(n,) the row of each entry."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def row_sums(self) -> FloatArray:
        """(n_rows,) float64, the sum of each row's weights."""
        return group_sums(self.row_numbers, self.weights, len(self))

    def column_sums(self) -> FloatArray:
        """(n_columns,) float64, the sum of each column's weights."""
        return group_sums(self.columns, self.weights, self.n_columns)

    def transposed(self) -> Self:
        """The same entries with rows and columns exchanged."""
        order = np.argsort(self.columns, kind="stable")
        starts = np.zeros(self.n_columns + 1, dtype=np.int64)
        np.cumsum(np.bincount(self.columns, minlength=self.n_columns), out=starts[1:])
        return type(self)(
            starts=starts,
            columns=self.row_numbers[order].astype(np.int32),
            weights=self.weights[order],
            gains=self.gains[order],
            n_columns=len(self),
        )

    def entries_of(self, rows: IntArray) -> IntArray:
        """The numbers of the entries of some rows, row after row in the order given."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        offsets = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return np.repeat(self.starts[rows], lengths) + offsets

    def take(self, rows: IntArray) -> Self:
        """Some rows, in the order given; a row may be asked for twice."""
        entries = self.entries_of(rows)
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(self.lengths[rows], out=starts[1:])
        return type(self)(
            starts=starts,
            columns=self.columns[entries],
            weights=self.weights[entries],
            gains=self.gains[entries],
            n_columns=self.n_columns,
        )

    def dense(self) -> FloatArray:
        """(n_rows, n_columns) float32 of the gains; for a block of rows, not for a matrix."""
        filled = np.zeros((len(self), self.n_columns), dtype=np.float32)
        filled[self.row_numbers, self.columns] = self.gains
        return filled

    def contain(self, rows: IntArray, columns: IntArray) -> BoolArray:
        """(n,) whether each of the pairs (rows[k], columns[k]) has an entry."""
        keys = self.row_numbers * self.n_columns + self.columns
        wanted = rows.astype(np.int64) * self.n_columns + columns
        if not len(keys):
            return np.zeros(len(wanted), dtype=bool)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        same: BoolArray = keys[found] == wanted
        return same
