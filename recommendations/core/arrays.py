"""The names of the array types that the package's signatures use, and sums by group."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.floating]
IntArray: TypeAlias = npt.NDArray[np.integer]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


def group_sums(groups: IntArray, values: FloatArray | BoolArray, n_groups: int) -> FloatArray:
    """(n_groups,) float64, the sum of the values of each group; 0 for a group without any.

    groups: (n,) group numbers in [0, n_groups). values: (n,).
    """
    sums: FloatArray = np.bincount(groups, weights=values, minlength=n_groups).astype(np.float64)
    return sums
