"""Vectors of users from their actions, against item factors that stand still."""

from collections.abc import Iterator

import numpy as np

from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.blocks import padded_blocks
from recommendations.core.ials import Penalty, RowSolver, solve_blocks
from recommendations.core.interactions import Interactions

# Steps from zero: the median error against the exact solution was 1e-5 to 2e-5 on real data.
FAST_STEPS = 6
# Bounds the memory of an exact block to 256 systems of k by k in float64.
_EXACT_ROWS = 256


class FoldIn:
    """The closed-form user vectors for one set of item factors.

    Whoever folds in many times keeps one of these: it prepares what all users have in common.
    """

    def __init__(
        self, item_factors: FloatArray, penalty: Penalty, *, column_sums: FloatArray | None = None
    ) -> None:
        """item_factors: (n_items, k), trained ones only: vectors made from text would change
        everybody's systems. column_sums: as for RowSolver."""
        self._item_factors = item_factors
        self._penalty = penalty
        self._solver = RowSolver(item_factors, penalty, column_sums=column_sums)

    def fast(self, rows: Interactions, *, steps: int = FAST_STEPS, workers: int = 1) -> FloatArray:
        """(n_rows, k) float32 by conjugate gradients from zero; a row without entries is 0.

        Good for lists; what is stored comes from exact(). Relative to a vector's length the
        difference is 1e-5 to 2e-5 in the median, and up to 2e-2 for users of unusual taste.
        """
        found = np.zeros((len(rows), self._item_factors.shape[1]), dtype=np.float32)
        blocks = padded_blocks(rows)
        solve_blocks(blocks, self._solver, None, found, steps=steps, workers=workers)
        turned_back: FloatArray = found @ self._solver.rotation.T
        return turned_back

    def exact(self, rows: Interactions) -> FloatArray:
        """(n_rows, k) float32, solved in float64: the same within 1e-6 whatever else is solved.

        This is what is stored: rebuilding every vector from the actions gives the same numbers.
        """
        found = np.zeros((len(rows), self._item_factors.shape[1]), dtype=np.float32)
        for numbers, solved in self.exact_blocks(rows):
            found[numbers] = solved
        return found

    def exact_blocks(self, rows: Interactions) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield (row numbers, their vectors) so that a caller can stop when its time is up."""
        vectors = self._item_factors.astype(np.float64)
        k = vectors.shape[1]
        gram = vectors.T @ vectors
        for block in padded_blocks(rows, entries=_EXACT_ROWS * k):
            for first in range(0, len(block.rows), _EXACT_ROWS):
                part = slice(first, first + _EXACT_ROWS)
                known = vectors[block.columns[part]]
                weights = block.weights[part].astype(np.float64)
                systems = _systems(gram, known, weights, self._penalty, self._solver.n_known)
                right = np.vecmat(block.gains[part].astype(np.float64), known)
                solved = np.linalg.solve(systems, right[..., None])[..., 0]
                yield block.rows[part], solved.astype(np.float32)


class Contributions:
    """What each of a user's items adds to the vector, which is linear in them."""

    def __init__(self, item_factors: FloatArray, penalty: Penalty) -> None:
        """item_factors: (n_items, k), those that users are folded in against."""
        self._item_factors = item_factors
        self._penalty = penalty
        vectors = item_factors.astype(np.float64)
        self._gram = vectors.T @ vectors
        self._n_known = int(np.count_nonzero(np.any(vectors, axis=1)))

    def of(self, row: Interactions) -> FloatArray:
        """(n, k) float64 for the n entries of the only row; their sum is its exact() vector."""
        known = self._item_factors[row.columns].astype(np.float64)
        weights = row.weights.astype(np.float64)
        (system,) = _systems(self._gram, known[None], weights[None], self._penalty, self._n_known)
        parts: FloatArray = np.linalg.solve(system, (row.gains[:, None] * known).T).T
        return parts


def _systems(
    gram: FloatArray, known: FloatArray, weights: FloatArray, penalty: Penalty, n_items: int
) -> FloatArray:
    """(b, k, k) float64: the left sides of the equations of b rows.

    known: (b, length, k) the factors of their items. weights: (b, length).
    """
    k = len(gram)
    frequency = weights.sum(axis=1) + penalty.unobserved * n_items
    systems: FloatArray = penalty.unobserved * gram
    systems = systems + np.swapaxes(known * weights[..., None], 1, 2) @ known
    systems[:, np.arange(k), np.arange(k)] += penalty.ridge * frequency[:, None]
    return systems
