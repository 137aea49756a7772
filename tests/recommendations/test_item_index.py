import numpy as np
import pytest

from recommendations import item_index
from recommendations.models import FACTORS, FactorVersion, ItemVector, UserEmbedding
from tests.recommendations.tastes import run_of

pytestmark = pytest.mark.django_db(transaction=True)


def add_version(items: int = 400, users: int = 20) -> FactorVersion:
    """A version with made-up vectors whose lengths differ much."""
    random = np.random.default_rng(0)
    version = FactorVersion.objects.create(status=FactorVersion.Status.RETIRED)
    lengths = random.lognormal(0, 1, (items, 1))
    vectors = random.standard_normal((items, FACTORS)) / FACTORS**0.5 * lengths
    names = [f"item {number}" for number in range(items)]
    item_index.store(
        version.pk, names, vectors.astype(np.float32), longest=item_index.longest_of(vectors)
    )
    UserEmbedding.objects.bulk_create(
        UserEmbedding(
            user_id=str(number), version=version, vector=random.standard_normal(FACTORS),
            actions_used=1, items_used=1, spread=1,
        )
        for number in range(users)
    )  # fmt: skip
    return version


def test_vectors_are_stored_as_they_are() -> None:
    version = add_version(items=5)
    stored = ItemVector.objects.get(version=version, item_id="item 3")
    assert np.asarray(stored.search)[:-1] == pytest.approx(np.asarray(stored.vector))
    assert not stored.from_text


def test_one_more_coordinate_makes_all_as_long_as_the_longest() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    found = item_index.equally_long(vectors, item_index.longest_of(vectors))
    assert np.linalg.norm(found, axis=1) == pytest.approx([5, 5, 5])
    assert np.array_equal(found[:, :2], vectors)


def test_the_index_finds_the_largest_products() -> None:
    version = add_version()
    found = item_index.make_good(version.pk, run_of())
    assert found.recall >= item_index.LEAST_RECALL
    assert found.effort in item_index.EFFORTS


def test_another_version_beside_it_takes_nothing_away() -> None:
    first, second = add_version(), add_version()
    for version in (first, second):
        assert item_index.recall(version.pk, effort=400) >= item_index.LEAST_RECALL


def test_an_index_that_finds_the_wrong_ones_is_built_again_a_few_times() -> None:
    version = add_version()
    random = np.random.default_rng(1)
    for stored in ItemVector.objects.all():
        ItemVector.objects.filter(pk=stored.pk).update(search=random.standard_normal(FACTORS + 1))
    found = item_index.make_good(version.pk, run_of())
    assert found.rebuilds == 2
    assert found.recall < 0.5


def test_without_users_or_items_nothing_is_missed() -> None:
    assert item_index.recall(FactorVersion.objects.create().pk, effort=100) == 1.0
