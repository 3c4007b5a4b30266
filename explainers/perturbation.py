"""Pictures with some of their segments hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .segmentation import Segments

__all__ = ["SegmentHider", "segment_means"]

Array = npt.NDArray[Any]


def segment_means(picture: Array, segments: Segments) -> Array:
    """Return the picture ``[H, W, C]`` with every segment filled by its mean, in the same dtype.

    Integers are truncated, as the reference implementation of LIME does.
    """
    labels = segments.ravel()
    sizes = np.bincount(labels)
    pixels = picture.reshape(len(labels), -1).astype(np.float64)
    sums = np.stack([np.bincount(labels, channel) for channel in pixels.T], axis=1)
    means: Array = (sums / sizes[:, None]).astype(picture.dtype)
    return means[labels].reshape(picture.shape)


class SegmentHider:
    """Shows chosen segments of a picture, the others hidden behind a fill.

    Parameters
    ----------
    picture, fill
        ``[H, W, C]`` of one dtype.
    segments
        Labels 0 to K - 1, ``[H, W]``.

    Notes
    -----
    With ``m`` all ones where shown and all zeros where hidden, bit by bit
    ``((picture ^ fill) & m) ^ fill`` is the picture where shown and the fill where hidden: exact
    for every dtype, and several times faster than choosing.
    """

    def __init__(self, picture: Array, fill: Array, segments: Segments) -> None:
        self._shape, self._dtype = picture.shape, picture.dtype
        self._bits = np.dtype(f"u{picture.dtype.itemsize}")
        self._fill = np.ascontiguousarray(fill).view(self._bits).ravel()
        self._difference = np.ascontiguousarray(picture).view(self._bits).ravel() ^ self._fill
        self._labels = np.repeat(segments.ravel(), picture.shape[-1]).astype(np.intp)

    def pictures(self, shown: npt.NDArray[np.bool_]) -> Array:
        """Return the pictures ``[B, H, W, C]`` of which ``shown`` ``[B, K]`` says what is seen."""
        ones = np.where(shown, self._bits.type(np.iinfo(self._bits).max), self._bits.type(0))
        pixels = np.take(ones, self._labels, axis=1)
        pixels &= self._difference
        pixels ^= self._fill
        return pixels.view(self._dtype).reshape(-1, *self._shape)
