"""Implicit-feedback factorisation by alternating least squares.

Sources: Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (2008);
Rendle, Krichene, Zhang, Koren, "Revisiting the Performance of iALS on Item Recommendation
Benchmarks" (2021), for the regularisation by frequency; Takács, Pilászy, Tikk, "Applications of the
Conjugate Gradient Method for Implicit Feedback Collaborative Filtering" (2011), for the solver.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np

from recommendations.core.arrays import FloatArray
from recommendations.core.blocks import Block, PaddedBlocks
from recommendations.core.interactions import Interactions

# From the last sweep's vectors one step is enough: after eight sweeps the objective is within 0.3 %
# of that with six steps, after sixteen within 0.1 %.
WARM_STEPS = 1
# From zero it takes more.
COLD_STEPS = 6
_TINY = np.float32(1e-30)

#: How many steps of conjugate gradients rows with so many entries take.
Steps = Callable[[int], int]


def always(steps: int) -> Steps:
    """The same number for rows of any length."""
    return lambda length: steps


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """What the objective adds to the error on seen pairs.

    unobserved: the weight of every pair, seen or not, with preference 0.
    ridge: the weight of a row's squared length, times its frequency (sum of weights + unobserved
        times the number of columns).
    """

    unobserved: float
    ridge: float

    @classmethod
    def scaled(
        cls, interactions: Interactions, *, unobserved: float = 8.0, ridge: float = 3.0
    ) -> Self:
        """Values that survive a change of the data's size.

        unobserved, ridge: multiples of (mean weight of a user / items) and of
        1 / (mean weight of a user + unobserved weight of a user).
        """
        users = max(1, int(np.count_nonzero(interactions.lengths)))
        items = max(1, int(np.count_nonzero(interactions.column_sums())))
        per_user = float(interactions.weights.sum(dtype=np.float64)) / users
        if per_user <= 0:
            return cls(unobserved=1.0, ridge=1.0)
        weight = unobserved * per_user / items
        return cls(unobserved=weight, ridge=ridge / (per_user + weight * items))


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """The vectors of users and items, (n_users, k) and (n_items, k) float32."""

    users: FloatArray
    items: FloatArray

    @classmethod
    def random(cls, n_users: int, n_items: int, factors: int, *, seed: int = 0) -> Self:
        """A start for training; the same seed gives the same vectors."""
        random = np.random.default_rng(seed)
        scale = np.float32(0.1 / np.sqrt(factors))
        return cls(
            users=np.zeros((n_users, factors), dtype=np.float32),
            items=random.standard_normal((n_items, factors), dtype=np.float32) * scale,
        )


class RowSolver:
    """Solves the rows of one side against the fixed vectors of the other.

    A row's system is (a0 YᵀY + Σ w y yᵀ + ridge · frequency · I) x = Σ gain · y. In the eigenbasis of
    YᵀY all but the sum is diagonal, so a few steps of conjugate gradients, preconditioned with a
    diagonal, solve it and no row needs a k by k matrix.
    """

    def __init__(
        self, other: FloatArray, penalty: Penalty, *, column_sums: FloatArray | None = None
    ) -> None:
        """other: (n_columns, k) the fixed vectors.

        column_sums: (n_columns,) how much each weighs in the rows to be solved, for a preconditioner
        that expects a row's entries to be like all others. With it a single step goes farther; without
        it many do, because only a row's own entries then separate its system from the identity.
        """
        eigenvalues, rotation = np.linalg.eigh(_gram(other))
        self.rotation = rotation.astype(np.float32)
        self.vectors = np.ascontiguousarray(other @ self.rotation, dtype=np.float32)
        # What has no vector is in nobody's contest, so items may be added without moving any user.
        self.n_known = int(np.count_nonzero(np.vecdot(other, other)))
        self.dense = (penalty.unobserved * np.maximum(eigenvalues, 0)).astype(np.float32)
        self.penalty = penalty
        self.mean_squares = np.zeros_like(self.dense)
        if column_sums is not None:
            self.mean_squares = _mean_squares(self.vectors, column_sums)

    def solve(
        self, block: Block, start: FloatArray | None, steps: int, scratch: "Scratch"
    ) -> FloatArray:
        """(b, k) float32 the rows of a block.

        start: (b, k) where to start, or None for zero.
        """
        vectors = scratch.gather(self.vectors, block)
        sums = block.weights.sum(axis=1, keepdims=True)
        frequency = sums + np.float32(self.penalty.unobserved * self.n_known)
        diagonal = self.dense + np.float32(self.penalty.ridge) * frequency
        inverse = 1 / (diagonal + sums * self.mean_squares)
        if start is None:
            residual = np.vecmat(block.gains, vectors)
            solution = np.zeros_like(residual)
        else:
            solution = start @ self.rotation
            # The right side and what the start explains of it, in one pass over the vectors.
            missing = block.gains - block.weights * np.matvec(vectors, solution)
            residual = np.vecmat(missing, vectors)
            residual -= diagonal * solution
        _conjugate_gradients(vectors, block.weights, diagonal, inverse, solution, residual, steps)
        turned_back: FloatArray = solution @ self.rotation.T
        return turned_back


class Scratch:
    """Memory for gathered vectors, used again for each block; each thread needs its own."""

    def __init__(self) -> None:
        self._numbers = np.empty(0, dtype=np.float32)

    def gather(self, vectors: FloatArray, block: Block) -> FloatArray:
        """(b, length, k): the vectors of a block's columns."""
        shape = (*block.columns.shape, vectors.shape[1])
        size = block.columns.size * vectors.shape[1]
        if len(self._numbers) < size:
            self._numbers = np.empty(size, dtype=np.float32)
        out = self._numbers[:size].reshape(shape)
        # mode="clip" lets take write straight into out; every column is in range.
        return np.take(vectors, block.columns, axis=0, out=out, mode="clip")


def _conjugate_gradients(
    vectors: FloatArray,
    weights: FloatArray,
    diagonal: FloatArray,
    inverse: FloatArray,
    solution: FloatArray,
    residual: FloatArray,
    steps: int,
) -> None:
    """Improve (b, k) solutions of b systems at once, in place, as is the residual.

    A system is its diagonal, of (b, k), and the sum of w y yᵀ over its vectors, of (b, length, k), with
    their weights, of (b, length). inverse: (b, k) the preconditioner.
    """
    direction = inverse * residual
    power = np.vecdot(residual, direction)
    for step in range(steps):
        products = np.matvec(vectors, direction)
        weighted = weights * products
        image = diagonal * direction
        # Without the vectors again, which the last step has no other need of.
        curvature = np.vecdot(weighted, products) + np.vecdot(image, direction)
        # A row that is solved already has no direction left.
        length = (power / np.maximum(curvature, _TINY))[:, None]
        solution += length * direction
        if step == steps - 1:
            break
        image += np.vecmat(weighted, vectors)
        image *= length
        residual -= image
        scaled = inverse * residual
        next_power = np.vecdot(residual, scaled)
        direction *= (next_power / np.maximum(power, _TINY))[:, None]
        direction += scaled
        power = next_power


def _gram(vectors: FloatArray) -> FloatArray:
    """VᵀV in float64 of float32 vectors, block by block."""
    total = np.zeros((vectors.shape[1],) * 2)
    for first in range(0, len(vectors), 4096):
        part = vectors[first : first + 4096]
        total += part.T @ part
    return total


def _mean_squares(vectors: FloatArray, weights: FloatArray) -> FloatArray:
    """(k,) the mean square of each coordinate, weighted."""
    share = (weights / max(weights.sum(), 1e-9)).astype(np.float32)
    means: FloatArray = share @ np.square(vectors)
    return means


def half_sweep(
    blocks: PaddedBlocks | list[Block],
    solver: RowSolver,
    rows: FloatArray,
    *,
    steps: Steps,
    warm: bool,
    workers: int = 1,
) -> FloatArray:
    """Solve all rows of one side; rows without entries become 0.

    rows: (n, k) their last vectors; warm: whether to start from them. Returns (n, k) float32.
    workers: threads; numpy lets go of the interpreter's lock inside each call.
    """
    found = np.zeros_like(rows)
    numbers = iter(range(len(blocks)))

    def work(_: int) -> None:
        scratch = Scratch()
        # Each worker takes the next number; what a number stands for is made outside of any lock.
        for number in numbers:
            block = blocks[number]
            start = rows[block.rows] if warm else None
            count = steps(block.columns.shape[1])
            found[block.rows] = solver.solve(block, start, count, scratch)

    if workers == 1:
        work(0)
        return found
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return found


def train(
    interactions: Interactions,
    penalty: Penalty,
    start: Factors,
    *,
    steps: int = WARM_STEPS,
    workers: int = 1,
) -> Iterator[Factors]:
    """Yield the factors after each sweep over users and items, for as long as they are asked for.

    interactions: users by items. start: random factors, or the last ones. steps: of conjugate
    gradients for each row. workers: threads.
    """
    by_user = list(PaddedBlocks(interactions))
    by_item = list(PaddedBlocks(interactions.transposed()))
    item_sums, user_sums = interactions.column_sums(), interactions.row_sums()
    users, items = start.users, start.items
    warm = bool(np.any(users))
    while True:
        solver = RowSolver(items, penalty, column_sums=item_sums)
        first = steps if warm else COLD_STEPS
        users = half_sweep(by_user, solver, users, steps=always(first), warm=warm, workers=workers)
        solver = RowSolver(users, penalty, column_sums=user_sums)
        items = half_sweep(by_item, solver, items, steps=always(steps), warm=True, workers=workers)
        warm = True
        yield Factors(users=users, items=items)
