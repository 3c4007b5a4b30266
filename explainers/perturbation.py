"""A picture seen through masks: each is a few numbers, and says how much of every pixel is seen."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import MaskForm

from .segmentation import Segments

__all__ = ["Masking", "ProductMasking", "SegmentMasking", "composite", "segment_means"]

Array = npt.NDArray[Any]


class Masking(Protocol):
    """What a picture's masks are made of.

    Attributes
    ----------
    shown, hidden
        ``[H, W, C]`` of one unit: what is seen where a mask is 1, and where it is 0.
    form
        See `prepend_masking`.
    """

    shown: Array
    hidden: Array
    form: MaskForm

    def visibility(self, *masks: Array) -> Array:
        """Return how much of every pixel masks show, ``[B, H, W]``: bool, or 0 to 1 as float32.

        The arrays are what makes the masks, each ``[B, ...]``.
        """
        ...

    def feeds(self, *masks: Array) -> dict[str, Array]:
        """Return the arrays as a model with masks takes them, by role."""
        ...

    def shared(self) -> dict[str, Array]:
        """Return what is the same for all masks, by role."""
        ...


class SegmentMasking:
    """Masks of one array, bool ``[B, K]``: which segments are shown.

    Parameters
    ----------
    shown, hidden
        See `Masking`.
    segments
        Labels 0 to K - 1, ``[H, W]``.
    """

    form: MaskForm = "segments"

    def __init__(self, shown: Array, hidden: Array, segments: Segments) -> None:
        self.shown, self.hidden = shown, hidden
        self.segments = segments

    def visibility(self, *masks: Array) -> Array:
        """Return bool ``[B, H, W]``."""
        (shown,) = masks
        return np.take(shown, self.segments, axis=1)

    def feeds(self, *masks: Array) -> dict[str, Array]:
        """See `Masking`."""
        (shown,) = masks
        return {"masks": shown.T}

    def shared(self) -> dict[str, Array]:
        """See `Masking`."""
        return {"segments": self.segments[None].astype(np.int64)}


class ProductMasking:
    """Masks that are products ``rows @ cells @ columns``, float32.

    The arrays are ``[B, H, n]``, ``[B, n, m]`` and ``[B, m, W]``: a grid enlarged, or a window.
    """

    form: MaskForm = "product"

    def __init__(self, shown: Array, hidden: Array) -> None:
        self.shown, self.hidden = shown, hidden

    def visibility(self, *masks: Array) -> Array:
        """Return float32 ``[B, H, W]``."""
        rows, cells, columns = masks
        return np.asarray(rows @ cells @ columns, np.float32)

    def feeds(self, *masks: Array) -> dict[str, Array]:
        """See `Masking`."""
        return dict(zip(("rows", "cells", "columns"), (one[:, None] for one in masks), strict=True))

    def shared(self) -> dict[str, Array]:
        """See `Masking`."""
        return {}


def composite(visibility: Array, shown: Array, hidden: Array) -> Array:
    """Return ``shown`` where ``visibility`` is 1, ``hidden`` where it is 0, blends in between.

    All broadcast to the result, which is of the type of ``shown``; integers are rounded.
    """
    if visibility.dtype == np.bool_:
        return np.where(visibility, shown, hidden).astype(shown.dtype, copy=False)
    exact = np.float64 if shown.dtype == np.float64 else np.float32
    visibility = visibility.astype(exact, copy=False)
    blend: Array = visibility * shown.astype(exact)
    blend += (1 - visibility) * hidden.astype(exact)
    if np.issubdtype(shown.dtype, np.integer):
        np.floor(blend + exact(0.5), out=blend)
    return blend.astype(shown.dtype, copy=False)


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
