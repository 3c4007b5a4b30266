"""A picture's cells, measured one after the other: in which order, and a map of some of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from .sampling import Floats, relative_error

__all__ = ["Cells"]

_FEWEST = 16  # cells measured before their error is estimated


class Cells:
    """Cells of a picture: pixels, patches or superpixels.

    Parameters
    ----------
    labels
        int32 ``[H, W]``, the cell of every pixel, 0 to K - 1.

    Attributes
    ----------
    order
        ``[K]``, in which to measure them: the first ones, however many, lie all over the picture,
        as in Bayer's matrix.
    """

    def __init__(self, labels: npt.NDArray[np.int32]) -> None:
        self.labels = labels
        self._first = np.unique(labels, return_index=True)[1]  # pixel of each cell
        row, column = (
            np.unique(axis, return_inverse=True)[1]
            for axis in np.unravel_index(self._first, labels.shape)
        )
        rank = np.zeros(len(self._first), np.int64)
        for bit in range(max(labels.shape).bit_length()):
            down, across = row >> bit & 1, column >> bit & 1
            rank = 4 * rank + 2 * (down ^ across) + down
        self.order = np.argsort(rank, kind="stable")

    def filled(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what all cells have, ``[K, ...]``, from the first ones in order, ``[N, ...]``.

        Those not measured have the value of the one that is nearest.
        """
        measured = self.order[: len(values)]
        place = np.full(len(self.order), -1)
        place[measured] = np.arange(len(values))
        missing = place[self.labels] < 0
        rows, columns = distance_transform_edt(missing, return_distances=False, return_indices=True)
        nearest = self.labels[rows, columns].ravel()[self._first]
        return np.asarray(values[place[nearest]])

    def relative_error(self, values: npt.NDArray[np.floating[Any]]) -> Floats:
        """Return the error ``[T]`` of the map of the first cells in order, ``[N, T]``.

        The latest quarter of them says how far such a map is from what is then measured.
        """
        n, n_before = len(values), len(values) - len(values) // 4
        if n == len(self.order):
            return np.zeros(values.shape[1])
        if n < _FEWEST:
            return np.full(values.shape[1], np.inf)
        expected = self.filled(values[:n_before])[self.order[n_before:n]]
        error = np.sqrt(np.square(values[n_before:] - expected).mean(axis=0))
        missing = 1 - n / len(self.order)
        return relative_error(error * np.sqrt(missing), values.std(axis=0))
