"""The index of vectors finds nearly all that an exact search does, whatever is filtered out."""

from datetime import timedelta

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from recommendations import candidates, versions
from recommendations.candidates import NEAREST, Together
from recommendations.core.arrays import BoolArray, FloatArray
from recommendations.core.ials import Penalty
from recommendations.core.model import Model
from recommendations.core.parameters import Parameters
from recommendations.core.ranking import score_spread
from recommendations.models import FACTORS, ContentItem, FactorVersion, ItemVector
from recommendations.own_actions import own_reader
from recommendations.readers import Embedding
from recommendations.versions import LearnedVersion
from tests.recommendations.shop import act, write_vectors

ITEMS = 3_000
QUERIES = 20
# Nobody likes anything here, so the order is that of taste alone.
PARAMETERS = Parameters()

pytestmark = pytest.mark.django_db


def clustered(count: int, *, seed: int) -> FloatArray:
    """(count, FACTORS) float32 with norms as different as those of trained factors."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, FACTORS))
    vectors = centres[random.integers(0, 40, count)]
    vectors = vectors + 0.8 * random.standard_normal((count, FACTORS))
    found: FloatArray = (vectors * random.lognormal(-3, 0.6, count)[:, None]).astype(np.float32)
    return found


@pytest.fixture
def _index_alone() -> None:
    """Have the planner use the index, which it leaves aside in so small a table."""
    with connection.cursor() as cursor:
        for setting in ("enable_seqscan", "enable_sort", "enable_bitmapscan", "enable_hashjoin"):
            cursor.execute(f"SET LOCAL {setting} = off")


def learned(vectors: FloatArray) -> LearnedVersion:
    item_ids = [f"item-{number:05}" for number in range(len(vectors))]
    zeros = np.zeros(len(vectors))
    model = Model(
        parameters=PARAMETERS,
        item_factors=vectors,
        item_vectors=vectors,
        touched=np.ones(len(vectors), dtype=bool),
        penalty=Penalty(unobserved=0.01, ridge=0.01),
        item_item=None,
        popularity=zeros,
        trend=zeros,
        trending=zeros,
    )
    version = FactorVersion.objects.create(
        status=FactorVersion.Status.ACTIVE,
        parameters=PARAMETERS.as_json(),
        arrays=versions.pack_model(model, item_ids),
    )
    ContentItem.objects.bulk_create(
        ContentItem(
            external_id=item_id, title=item_id, topics=[f"topic {number % 10}"],
            published_at=timezone.now() - timedelta(days=30),
        )
        for number, item_id in enumerate(item_ids)
    )  # fmt: skip
    write_vectors(version, item_ids, vectors)
    return versions.opened(version)


def nearest(version: LearnedVersion, query: FloatArray, *, topic: str = "") -> list[str]:
    embedding = Embedding(
        vector=query,
        items_used=10,
        spread=float(score_spread(query[None], version.model.item_factors)[0]),
        updated_at=timezone.now(),
    )
    together = Together(version, own_reader(version).own_items([]), embedding)
    found = candidates.nearest("me", embedding, version, together, topic=topic)
    return [candidate.item_id for candidate in found]


def recall(version: LearnedVersion, k: int, *, allowed: BoolArray | None = None) -> float:
    shares = []
    for query in clustered(QUERIES, seed=9):
        products = version.model.item_factors @ query
        if allowed is not None:
            products[~allowed] = -np.inf
        best = {version.item_ids[row] for row in np.argsort(-products)[:k]}
        topic = "topic 3" if allowed is not None else ""
        shares.append(len(best & set(nearest(version, query, topic=topic)[:k])) / k)
    return float(np.mean(shares))


@pytest.mark.usefixtures("_index_alone")
def test_index_finds_what_an_exact_search_finds() -> None:
    version = learned(clustered(ITEMS, seed=1))
    assert "item_vectors_nearest" in plan(version)
    assert recall(version, 20) >= 0.98
    assert recall(version, 100) >= 0.98


@pytest.mark.usefixtures("_index_alone")
def test_index_goes_on_where_nearly_everything_is_filtered_out() -> None:
    version = learned(clustered(ITEMS, seed=1))
    of_topic = np.arange(ITEMS) % 10 == 3
    assert recall(version, 20, allowed=of_topic) >= 0.98
    query = clustered(1, seed=4)[0]
    assert len(nearest(version, query, topic="topic 3")) == int(of_topic.sum())


@pytest.mark.usefixtures("_index_alone")
def test_vectors_of_another_version_take_no_places() -> None:
    version = learned(clustered(ITEMS, seed=1))
    other = FactorVersion.objects.create(status=FactorVersion.Status.RETIRED)
    write_vectors(other, version.item_ids, clustered(ITEMS, seed=1))
    found = nearest(version, clustered(1, seed=4)[0])
    assert len(found) == len(set(found)) == NEAREST
    assert ItemVector.objects.count() == 2 * ITEMS


@pytest.mark.usefixtures("_index_alone")
def test_seen_items_take_no_places() -> None:
    version = learned(clustered(ITEMS, seed=1))
    query = clustered(1, seed=4)[0]
    first = nearest(version, query)[:100]
    for item_id in first:
        act("me", item_id)
    found = nearest(version, query)
    assert not set(first) & set(found)
    assert len(found) == NEAREST


def plan(version: LearnedVersion) -> str:
    with candidates.index_search() as cursor:
        cursor.execute(
            "EXPLAIN SELECT item_id FROM item_vectors WHERE version_id = %s "
            "ORDER BY search <-> %s::vector LIMIT 10",
            [version.version_id, str([0.0] * (FACTORS + 1))],
        )
        return "\n".join(line for (line,) in cursor.fetchall())
