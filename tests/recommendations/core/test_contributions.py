import numpy as np

from recommendations.core.contributions import Contributions
from recommendations.core.fold_in import FoldIn
from recommendations.core.ials import Penalty
from recommendations.core.interactions import Interactions

PENALTY = Penalty(unobserved=0.3, ridge=0.02)


def test_contributions_of_the_items_add_up_to_the_vector() -> None:
    random = np.random.default_rng(3)
    factors = random.standard_normal((50, 8)).astype(np.float32)
    columns = np.array([3, 7, 20, 41])
    strengths = np.array([1.0, 2.0, -1.5, 0.4])
    row = Interactions.from_pairs(np.zeros(4, dtype=int), columns, strengths, shape=(1, 50))
    parts = Contributions(factors, PENALTY).of(row)
    assert parts.shape == (4, 8)
    np.testing.assert_allclose(parts.sum(axis=0), FoldIn(factors, PENALTY).exact(row)[0], rtol=1e-5)
    assert not parts[2].any()  # What was only dismissed adds nothing of its own.


def test_user_without_items_has_no_contributions() -> None:
    factors = np.ones((5, 3), dtype=np.float32)
    nothing = np.zeros(0, dtype=int)
    row = Interactions.from_pairs(nothing, nothing, np.zeros(0), shape=(1, 5))
    assert Contributions(factors, PENALTY).of(row).shape == (0, 3)
