"""A picture cut into superpixels, numbered 0 to K - 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, Violation
from skimage import color, filters, segmentation

__all__ = ["Segments", "grid", "segment"]

Segments: TypeAlias = npt.NDArray[np.int32]
Picture: TypeAlias = npt.NDArray[np.uint8]

# scikit-image's own functions are not typed.
Algorithm: TypeAlias = Callable[..., npt.NDArray[Any]]
felzenszwalb: Algorithm = segmentation.felzenszwalb
quickshift: Algorithm = segmentation.quickshift
slic: Algorithm = segmentation.slic
sobel: Algorithm = filters.sobel
watershed: Algorithm = segmentation.watershed

_LARGE = 512 * 512
_FEW = 8
# Ties of quickshift are broken at random: as the reference implementation of LIME breaks them,
# and never by an explanation's seed, so that explanations of all seeds have the same segments.
_TIES = 42


def segment(
    picture: Picture,
    segmenter: str = "auto",
    *,
    n_segments: int = 50,
    given: npt.NDArray[Any] | None = None,
) -> tuple[Segments, str]:
    """Cut a picture into superpixels.

    Parameters
    ----------
    picture
        uint8 ``[H, W, 3]``.
    segmenter
        ``quickshift``, ``slic``, ``felzenszwalb``, ``watershed`` or ``grid``; or ``auto``:
        quickshift, slic above 512 x 512 pixels, a grid where that finds fewer than 8 superpixels.
    n_segments
        How many the grid, slic and watershed aim at.
    given
        A label map ``[H, W]`` of the caller's, to be numbered from 0; then there is no segmenter.

    Returns
    -------
    segments, segmenter
        int32 ``[H, W]`` labels, every one of 0 to K - 1 used, K >= 2; and what made them.

    Raises
    ------
    InvalidArgument
        ``TOO_FEW_SEGMENTS``: the picture is one superpixel. A segmenter that was named is never
        replaced by another. ``OPTION_OUT_OF_RANGE``: what is ``given`` does not fit.
    """
    if given is not None:
        return _own(picture, segmenter, given), "given"
    taken = segmenter
    if segmenter == "auto":
        taken = "slic" if picture.shape[0] * picture.shape[1] > _LARGE else "quickshift"
    segments = _relabelled(_SEGMENTERS[taken](picture, n_segments))
    if segmenter == "auto" and segments.max() + 1 < _FEW:
        taken, segments = "grid", grid(picture, n_segments)
    if segments.max() == 0:
        height, width, _ = picture.shape
        advice = "use segmenter grid" if taken != "grid" else "it is too small to be cut"
        message = f"{taken} sees one superpixel in this picture of {width} x {height}; {advice}"
        raise InvalidArgument(
            "TOO_FEW_SEGMENTS", message, violations=[Violation("segmenter", message)]
        )
    return segments, taken


def grid(picture: Picture, n_segments: int) -> Segments:
    """Cut into about ``n_segments`` equal rectangles, as square as the picture allows."""
    height, width = picture.shape[:2]
    rows = int(np.clip(round((n_segments * height / width) ** 0.5), 1, min(height, n_segments)))
    columns = int(np.clip(round(n_segments / rows), 1, width))
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return np.asarray(row[:, None] * columns + column, np.int32)


def _own(picture: Picture, segmenter: str, given: npt.NDArray[Any]) -> Segments:
    segments, message = _relabelled(given), ""
    if segmenter != "auto":
        message = f"give either segments or segmenter={segmenter}, not both"
    elif segments.shape != picture.shape[:2]:
        message = (
            f"segments is {list(segments.shape)}, the picture that the model sees "
            f"{list(picture.shape[:2])}: number the pixels after resize and crop"
        )
    elif segments.max() == 0:
        message = "segments has the same number everywhere; give at least two superpixels"
    if message:
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("segments", message)]
        )
    return segments


def _quickshift(picture: Picture, _: int) -> npt.NDArray[Any]:
    """With the parameters of the reference implementation of LIME."""
    return quickshift(picture, kernel_size=4, max_dist=200, ratio=0.2, rng=_TIES)


def _slic(picture: Picture, n_segments: int) -> npt.NDArray[Any]:
    return slic(picture, n_segments=n_segments, compactness=10, sigma=1)


def _felzenszwalb(picture: Picture, _: int) -> npt.NDArray[Any]:
    return felzenszwalb(picture, scale=100, sigma=0.5, min_size=50)


def _watershed(picture: Picture, n_segments: int) -> npt.NDArray[Any]:
    edges = sobel(color.rgb2gray(picture))
    return watershed(edges, markers=n_segments, compactness=0.001)


_SEGMENTERS: Mapping[str, Callable[[Picture, int], npt.NDArray[Any]]] = {
    "quickshift": _quickshift,
    "slic": _slic,
    "felzenszwalb": _felzenszwalb,
    "watershed": _watershed,
    "grid": grid,
}


def _relabelled(labels: npt.NDArray[Any]) -> Segments:
    """Return the labels numbered 0 to K - 1 in their own order."""
    _, inverse = np.unique(labels, return_inverse=True)
    return np.asarray(inverse.reshape(labels.shape), np.int32)
