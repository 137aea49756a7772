import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommendations.core.blocks import PaddedBlocks
from recommendations.core.interactions import Interactions


@given(lengths=st.lists(st.integers(0, 20), min_size=1, max_size=30), entries=st.integers(1, 64))
def test_blocks_hold_every_row_once_and_pad_with_nothing(lengths: list[int], entries: int) -> None:
    rows = np.repeat(np.arange(len(lengths)), lengths)
    columns = np.concatenate([np.arange(length) for length in lengths]).astype(np.int64)
    matrix = Interactions.from_pairs(
        rows, columns, columns + 1.0, shape=(len(lengths), 21), cap=np.inf
    )
    blocks = list(PaddedBlocks(matrix, entries=entries))
    found = np.zeros((len(lengths), 21))
    for block in blocks:
        assert block.columns.size <= entries or len(block.rows) == 1
        np.add.at(found, (block.rows[:, None], block.columns), block.gains)
    assert np.array_equal(found, matrix.dense())
    solved = np.concatenate([block.rows for block in blocks]) if blocks else np.zeros(0)
    assert sorted(solved.tolist()) == np.flatnonzero(lengths).tolist()
