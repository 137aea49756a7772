"""How long one recommendation takes, and how much of the exact list the index finds.

.venv/bin/python bench/serving.py [--items 100000] [--users 2000] [--asked 500]

The vectors are made up, with the norms and the nearness of trained ones: items in clusters, a few
of them very popular, users who like two or three clusters.
"""

import argparse
import io
import logging
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench.figures import console, print_table
from bench.servers import board

CLUSTERS = 300
ACTIONS_OF_A_USER = 30
PLACES = 20
INDEX = "item_vectors_nearest"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--asked", type=int, default=500)
    given = parser.parse_args()
    with board(redis=True):
        logging.disable(logging.INFO)
        build(given.items, given.users)
        measure(given.items, min(given.asked, given.users))


# --- A shop ---------------------------------------------------------------------------------------


def build(items: int, users: int) -> None:
    """Write content, actions and a version of that many items and users."""
    from recommendations import signals

    random = np.random.default_rng(7)
    centres = random.standard_normal((CLUSTERS, 64)).astype(np.float32)
    cluster = random.integers(0, CLUSTERS, items)
    norms = random.lognormal(-1.5, 0.6, items).astype(np.float32)[:, None]
    noise = random.standard_normal((items, 64)).astype(np.float32)
    vectors = (centres[cluster] + 0.8 * noise) / np.sqrt(64 * 1.64) * norms
    liked = random.integers(0, CLUSTERS, (users, 3))
    write_content(items, cluster)
    write_actions(random, cluster, liked)
    signals.refresh()
    write_version(vectors.astype(np.float32), centres, liked)


def copy(statement: str, lines: Sequence[str]) -> None:
    from django.db import connection

    with connection.cursor() as cursor, cursor.copy(statement) as writing:
        writing.write("\n".join(lines) + "\n")


def write_content(items: int, cluster: Any) -> None:
    copy(
        "COPY content_items (external_id, title, text, topics, published_at, hidden, created_at, updated_at) "
        "FROM STDIN",
        [
            f"i{n}\tItem {n}\t\t{{t{cluster[n]}}}\t2026-01-01\tf\t2026-01-01\t2026-01-01"
            for n in range(items)
        ],
    )


def write_actions(random: Any, cluster: Any, liked: Any) -> None:
    from django.utils import timezone

    members = [np.flatnonzero(cluster == number) for number in range(CLUSTERS)]
    now = timezone.now()
    lines = []
    for user, own in enumerate(liked):
        pool = np.concatenate([members[number] for number in own])
        chosen = random.choice(pool, min(ACTIONS_OF_A_USER, len(pool)), replace=False)
        for place, item in enumerate(chosen):
            at = now - timedelta(hours=int(random.integers(1, 600)))
            lines.append(f"{user}-{place}\tu{user}\ti{item}\tview\t{at.isoformat()}")
    copy("COPY user_actions (action_id, user_id, item_id, action, occurred_at) FROM STDIN", lines)


def write_version(vectors: Any, centres: Any, liked: Any) -> None:
    from django.db import connection

    from recommendations import versions
    from recommendations.core.ials import Penalty
    from recommendations.core.model import Model
    from recommendations.core.parameters import Parameters
    from recommendations.core.ranking import score_spread
    from recommendations.models import FactorVersion

    zeros = np.zeros(len(vectors))
    model = Model(
        parameters=Parameters(),
        item_factors=vectors,
        item_vectors=vectors,
        touched=np.ones(len(vectors), dtype=bool),
        penalty=Penalty(unobserved=0.001, ridge=0.003),
        item_item=None,
        popularity=zeros,
        trend=zeros,
        trending=zeros,
    )
    item_ids = [f"i{number}" for number in range(len(vectors))]
    version = FactorVersion.objects.create(
        status=FactorVersion.Status.ACTIVE,
        parameters=model.parameters.as_json(),
        arrays=versions.pack_model(model, item_ids),
    )
    squares = np.square(vectors).sum(axis=1)
    search = np.column_stack([vectors, np.sqrt(np.maximum(squares.max() - squares, 0))])
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX {INDEX}")
        copy(
            "COPY item_vectors (version_id, item_id, vector, search, from_text) FROM STDIN",
            [
                f"{version.pk}\t{item_ids[row]}\t{as_text(vectors[row])}\t{as_text(search[row])}\tf"
                # The longest first, as a version is stored: the graph then finds more of them.
                for row in np.argsort(-squares)
            ],
        )
        started = time.perf_counter()
        cursor.execute("SET maintenance_work_mem = '512MB'")
        cursor.execute(
            f"CREATE INDEX {INDEX} ON item_vectors USING hnsw (search vector_l2_ops) "
            "WITH (m = 16, ef_construction = 128)"
        )
        console.print(f"the index was built in {time.perf_counter() - started:.0f} s")
    users = centres[liked].mean(axis=1) / 8
    spreads = score_spread(users, vectors)
    copy(
        "COPY user_embeddings (user_id, version_id, vector, actions_used, items_used, spread) FROM STDIN",
        [
            f"u{n}\t{version.pk}\t{as_text(users[n])}\t{ACTIONS_OF_A_USER}\t{ACTIONS_OF_A_USER}\t{spreads[n]}"
            for n in range(len(users))
        ],
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def as_text(vector: Any) -> str:
    text = io.StringIO()
    np.savetxt(text, vector[None], fmt="%.6g", delimiter=",")
    return f"[{text.getvalue().strip()}]"


# --- Measuring ------------------------------------------------------------------------------------


def measure(items: int, asked: int) -> None:
    from recommendations import lists, serving
    from recommendations.serving import Wish

    users = [f"u{number}" for number in range(asked)]
    warmed = warm(items)
    exact = {user: lists.read(user) for user in users}

    def ask(user: str) -> None:
        serving.recommend(Wish(user_id=user, limit=PLACES))

    ask(users[0])
    from_cache = durations_ms(ask, users, before=lambda user: None)
    computed = durations_ms(ask, users, before=lists.forget)
    made = {user: lists.read(user) for user in users}
    print_table(
        f"One recommendation of {PLACES} among {items} items, in milliseconds",
        ["", "p50", "p99"],
        [
            ["kept list", *quantiles(from_cache)],
            ["made from the embedding", *quantiles(computed)],
            ["nearest by the index alone", *quantiles(durations_ms(by_index, users))],
        ],
    )
    print_table(
        "How much of the exact answer is found",
        ["", "first 20", "first 100"],
        [
            ["nearest by the index", f"{recall(users, 20):.4f}", f"{recall(users, 100):.4f}"],
            ["the list", *(f"{overlap(exact, made, k):.4f}" for k in (20, 100))],
        ],
    )
    console.print(f"warming: {warmed}")


def warm(items: int) -> str:
    from recommendations import warming
    from scheduling.run import Run

    run = Run(id=1, payload={}, deadline=time.monotonic() + 3600, report=lambda done, total: None)
    counts = warming.warm(run).counts
    took_s = counts["milliseconds"] / 1000
    return f"{counts['lists']} lists over {items} items in {took_s:.1f} s"


def durations_ms(
    work: Callable[[str], object],
    users: Sequence[str],
    before: Callable[[str], object] = lambda user: None,
) -> list[float]:
    found = []
    for user in users:
        before(user)
        started = time.perf_counter()
        work(user)
        found.append((time.perf_counter() - started) * 1000)
    return found


def quantiles(values: Sequence[float]) -> list[str]:
    return [f"{np.quantile(values, q):.2f}" for q in (0.5, 0.99)]


def by_index(user: str, k: int = PLACES) -> list[str]:
    """What the index says is nearest to the user, without any filter."""
    from recommendations.candidates import index_search
    from recommendations.readers import find_reader

    reader = find_reader(user)
    if reader.embedding is None:
        raise RuntimeError(f"{user} has no vector.")
    vector = [*(float(value) for value in reader.embedding.vector), 0.0]
    with index_search() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "SELECT item_id FROM item_vectors WHERE version_id = %s ORDER BY search <-> %s::vector LIMIT %s",
            [reader.version_id, str(vector), k],
        )
        return [row[0] for row in cursor.fetchall()]


def recall(users: Sequence[str], k: int) -> float:
    """The share of the k largest products that the index finds."""
    from recommendations import versions
    from recommendations.readers import find_reader

    version = versions.active()
    if version is None:
        raise RuntimeError("There is no version.")
    shares = []
    for user in users[:200]:
        embedding = find_reader(user).embedding
        if embedding is None:
            raise RuntimeError(f"{user} has no vector.")
        products = version.model.item_factors @ embedding.vector
        best = {version.item_ids[row] for row in np.argpartition(-products, k)[:k]}
        shares.append(len(best & set(by_index(user, k))) / k)
    return float(np.mean(shares))


def overlap(exact: dict[str, Any], made: dict[str, Any], k: int) -> float:
    """The share of the first k of the exact lists that the lists made one by one have too."""
    return float(
        np.mean(
            [
                len(first(exact[user], k) & first(made[user], k)) / k
                for user in exact
                if exact[user] and made[user]
            ]
        )
    )


def first(kept: Any, k: int) -> set[str]:
    return {entry.item_id for entry in kept.entries[:k]}


if __name__ == "__main__":
    main()
