import numpy as np
import pytest

from recommendations.core.text import ItemText, neighbour_vectors, tf_idf

TEXTS = [
    ItemText(text="red enamel teapot", topics=["kitchen"]),
    ItemText(text="blue enamel teapot", topics=["kitchen"]),
    ItemText(text="garden gnome", topics=["garden"]),
    ItemText(text="Green ENAMEL teapot", topics=["Kitchen"]),
    ItemText(text="zzz"),
    ItemText(text=""),
]
TOUCHED = np.array([True, True, True, False, False, False])
FACTORS = np.array([[1, 0], [1, 0.2], [0, 1], [0, 0], [0, 0], [0, 0]], dtype=np.float32)


def test_rows_have_the_length_one_unless_there_is_no_text() -> None:
    features = tf_idf(TEXTS)
    lengths = [np.linalg.norm(features.take(np.array([row])).weights) for row in range(6)]
    assert lengths == pytest.approx([1, 1, 1, 1, 1, 0])


def test_the_same_text_has_the_same_features() -> None:
    one, other = tf_idf(TEXTS), tf_idf(TEXTS)
    assert np.array_equal(one.columns, other.columns)


def test_an_untouched_item_is_like_those_with_a_similar_text() -> None:
    vectors = neighbour_vectors(tf_idf(TEXTS), FACTORS, TOUCHED)
    assert vectors[3, 0] > 0.4
    assert vectors[3, 1] < 0.3 * vectors[3, 0]


def test_touched_items_keep_their_factors() -> None:
    vectors = neighbour_vectors(tf_idf(TEXTS), FACTORS, TOUCHED)
    assert np.array_equal(vectors[:3], FACTORS[:3])


def test_an_item_like_no_other_has_no_vector() -> None:
    vectors = neighbour_vectors(tf_idf(TEXTS), FACTORS, TOUCHED)
    assert not vectors[4:].any()


def test_where_nothing_was_touched_nothing_has_a_vector() -> None:
    assert not neighbour_vectors(tf_idf(TEXTS), FACTORS, np.zeros(6, dtype=bool)).any()


def test_no_items_have_no_features() -> None:
    assert len(tf_idf([])) == 0
