"""What each of a user's items adds to the user's vector, which is linear in them."""

import numpy as np

from recommendations.core.arrays import FloatArray
from recommendations.core.ials import Penalty
from recommendations.core.interactions import Interactions


class Contributions:
    """Takes vectors apart for one set of item factors; it prepares what all users have in common."""

    def __init__(self, item_factors: FloatArray, penalty: Penalty) -> None:
        """item_factors: (n_items, k), those that users are folded in against."""
        self._item_factors = item_factors
        self._penalty = penalty
        vectors = item_factors.astype(np.float64)
        self._common = penalty.unobserved * (vectors.T @ vectors)
        # An item without a vector has no part in anybody's equations.
        known = np.count_nonzero(np.any(item_factors, axis=1))
        self._everywhere = penalty.unobserved * int(known)

    def of(self, row: Interactions) -> FloatArray:
        """(n, k) float64 for the n entries of the only row; their sum is FoldIn.exact() of it.

        The vector solves A x = Σ gain · y, where A is the same for all entries: each has its part.
        """
        known = self._item_factors[row.columns].astype(np.float64)
        weights = row.weights.astype(np.float64)
        system = self._common + (known * weights[:, None]).T @ known
        diagonal = np.arange(len(system))
        system[diagonal, diagonal] += self._penalty.ridge * (weights.sum() + self._everywhere)
        parts: FloatArray = np.linalg.solve(system, (row.gains[:, None] * known).T).T
        return parts
