"""Items that go together: a linear model from items to items.

Where a catalogue is small or actions are few, it finds neighbours that factors blur.
Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (2019), EASE.
"""

from dataclasses import dataclass

import numpy as np

from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.interactions import Interactions

# The model takes I² memory and I³ time: 8,000 items are 256 MB and about 20 s on one core.
MOST_ITEMS = 8_000
_CHUNK_ROWS = 512


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
        found = rows.dense()[:, self.items] @ self.weights
        if len(self.items) == self.n_items:
            return found
        everywhere = np.zeros((len(rows), self.n_items), dtype=np.float32)
        everywhere[:, self.items] = found
        return everywhere


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemGram:
    """How often items meet in one user: what all ridges have in common.

    items: (m,) ascending item numbers. gram: (m, m) float32, XᵀX of whether a user liked an item.
    """

    items: IntArray
    gram: FloatArray
    n_items: int

    @classmethod
    def of(cls, interactions: Interactions, *, most_items: int = MOST_ITEMS) -> "ItemGram":
        """Count the meetings of the most_items items that most users liked."""
        liked = interactions.gains > 0
        popularity = np.bincount(interactions.columns[liked], minlength=interactions.n_columns)
        items = np.sort(np.argsort(-popularity, kind="stable")[:most_items])
        items = items[popularity[items] > 0]
        gram = np.zeros((len(items),) * 2, dtype=np.float32)
        for first in range(0, len(interactions), _CHUNK_ROWS):
            rows = np.arange(first, min(first + _CHUNK_ROWS, len(interactions)))
            part = (interactions.take(rows).dense()[:, items] > 0).astype(np.float32)
            gram += part.T @ part
        return cls(items=items, gram=gram, n_items=interactions.n_columns)

    def solve(self, ridge: float) -> ItemItem:
        """The weights for one ridge (> 0), in closed form."""
        system = self.gram.copy()
        diagonal = np.arange(len(system))
        system[diagonal, diagonal] += np.float32(ridge)
        weights = np.linalg.inv(system)
        weights /= -np.diag(weights).copy()
        weights[diagonal, diagonal] = 0
        return ItemItem(items=self.items, weights=weights, n_items=self.n_items)
