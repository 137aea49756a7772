"""How fast users and items are learned, lists are made, and one of them is served.

python bench/recommend.py [--users 50000] [--items 20000] [--actions 3000000] [--factors 64] [--rounds 5]

Learning and ranking are compared with the library `implicit`, a requirement of this benchmark alone;
docs/benchmarks.md says how to install it. Both work on the same matrix with the same cores: two threads
each, and BLAS with one thread in each of them. Then bench/serving.py measures single recommendations,
with the project's own Python.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# implicit asks for this, and numpy reads it when it is imported.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402 - after the number of threads is set

from bench.figures import console, interleaved, print_table, spread  # noqa: E402 - found only now
from recommendations.core.arrays import FloatArray  # noqa: E402
from recommendations.core.fold_in import FoldIn  # noqa: E402
from recommendations.core.ials import Factors, Penalty, train  # noqa: E402
from recommendations.core.interactions import Interactions  # noqa: E402
from recommendations.core.ranking import BLOCK_ROWS, rank_blocks  # noqa: E402

TOP = 100
# How many users are ranked in one measurement; the rate does not depend on it.
SAMPLE = 10_000

Measurement = Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--actions", type=int, default=3_000_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    matrix = made_up(given.users, given.items, given.actions)
    console.print(
        f"{len(matrix):,} users, {matrix.n_columns:,} items, {len(matrix.columns):,} pairs"
    )
    workers = os.cpu_count() or 1
    factors = trained(matrix, given.factors, workers)
    measurements = {
        **training(matrix, factors, workers),
        **folding_in(matrix, factors),
        **ranking(matrix, factors, workers),
    }
    report(interleaved(measurements, given.rounds))
    subprocess.run([PROJECT / ".venv/bin/python", PROJECT / "bench/serving.py"], check=True)


def made_up(n_users: int, n_items: int, n_actions: int) -> Interactions:
    """Users and items whose numbers of actions differ as in life, and nothing else."""
    random = np.random.default_rng(0)
    activity = random.lognormal(0, 1, n_users)
    popularity = 1 / np.arange(1, n_items + 1) ** 0.8
    return Interactions.from_pairs(
        random.choice(n_users, n_actions, p=activity / activity.sum()),
        random.choice(n_items, n_actions, p=popularity / popularity.sum()),
        np.ones(n_actions),
        shape=(n_users, n_items),
    )


def trained(matrix: Interactions, factors: int, workers: int) -> Factors:
    """Factors after a few sweeps, from which every measurement starts."""
    start = Factors.random(len(matrix), matrix.n_columns, factors)
    sweeps = train(matrix, Penalty.scaled(matrix), start, workers=workers)
    for _ in range(3):
        start = next(sweeps)
    return start


def took_s(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# --- What is measured -----------------------------------------------------------------------------


def training(matrix: Interactions, factors: Factors, workers: int) -> dict[str, Measurement]:
    """Seconds for one sweep over users and items."""
    sweeps = train(matrix, Penalty.scaled(matrix), factors, workers=workers)
    next(sweeps)
    return {
        "sweep": lambda: took_s(lambda: next(sweeps)),
        "sweep, implicit": implicit_sweep(matrix, factors),
    }


def implicit_sweep(matrix: Interactions, factors: Factors) -> Measurement:
    model, users_by_items = implicit_model(factors), sparse(matrix)

    def measure() -> float:
        found: list[float] = []
        # Its own clock: what it does once for all sweeps is not counted.
        model.fit(users_by_items, show_progress=False, callback=lambda _, s, __: found.append(s))
        return found[0]

    return measure


def folding_in(matrix: Interactions, factors: Factors) -> dict[str, Measurement]:
    """Seconds for the vectors of all users against factors that stand still."""
    users, rows = np.arange(len(matrix)), matrix
    fold_in = FoldIn(factors.items, Penalty.scaled(matrix))
    model, theirs = implicit_model(factors), sparse(rows)
    return {
        "fold-in": lambda: took_s(lambda: fold_in.fast(rows, workers=os.cpu_count() or 1)),
        "fold-in, implicit": lambda: took_s(lambda: model.recalculate_user(users, theirs)),
    }


def ranking(matrix: Interactions, factors: Factors, workers: int) -> dict[str, Measurement]:
    """Seconds for the exact best of some users without what they have seen."""
    users = np.arange(min(SAMPLE, len(matrix)))
    rows = matrix.take(users)
    queries = factors.users[users]
    model, theirs = implicit_model(factors), sparse(rows)
    return {
        "top 100": lambda: took_s(
            lambda: list(rank_blocks(queries, factors.items, rows, TOP, workers=workers))
        ),
        "top 100, implicit": lambda: took_s(
            lambda: model.recommend(users, theirs, N=TOP, filter_already_liked_items=True)
        ),
        "matrix product": lambda: took_s(lambda: products(queries, factors.items, workers)),
    }


def products(queries: FloatArray, items: FloatArray, workers: int) -> None:
    """The scores and nothing else: no list can be made in less."""
    from concurrent.futures import ThreadPoolExecutor

    across = np.ascontiguousarray(items.T)
    firsts = range(0, len(queries), BLOCK_ROWS)

    def part(worker: int) -> None:
        out = np.empty((BLOCK_ROWS, across.shape[1]), dtype=np.float32)
        for first in firsts[worker::workers]:
            block = queries[first : first + BLOCK_ROWS]
            np.matmul(block, across, out=out[: len(block)])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(part, range(workers)))


# --- implicit -------------------------------------------------------------------------------------


def implicit_model(factors: Factors) -> Any:
    """A model of implicit with copies of our factors, one sweep at a time."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError:
        sys.exit("This benchmark compares with implicit: pip install implicit rich 'numpy==2.4.*'")
    model = AlternatingLeastSquares(factors=factors.items.shape[1], iterations=1)
    model.user_factors, model.item_factors = factors.users.copy(), factors.items.copy()
    return model


def sparse(matrix: Interactions) -> Any:
    from scipy.sparse import csr_matrix

    shape = (len(matrix), matrix.n_columns)
    return csr_matrix((matrix.weights, matrix.columns, matrix.starts), shape=shape)


# --- Telling --------------------------------------------------------------------------------------

COMPARISONS = (
    ("sweep", "sweep, implicit", "2"),
    ("fold-in", "fold-in, implicit", "4"),
    ("top 100", "top 100, implicit", "1.6"),
    ("top 100", "matrix product", "0.5"),
)


def report(seconds: dict[str, list[float]]) -> None:
    """Print what each took, and the ratios round by round beside what they have to be."""
    print_table(
        "Seconds", ["", "median (range)"], [[name, spread(s)] for name, s in seconds.items()]
    )
    print_table(
        "How many times as fast",
        ["", "median (range)", "at least"],
        [
            [f"{ours} : {other}", spread(ratios(seconds[other], seconds[ours])), least]
            for ours, other, least in COMPARISONS
        ],
    )


def ratios(theirs: list[float], ours: list[float]) -> list[float]:
    """One for each round, whose two measurements the machine's other work treats alike."""
    return [other / own for other, own in zip(theirs, ours, strict=True)]


if __name__ == "__main__":
    main()
