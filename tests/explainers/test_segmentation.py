"""Labels are 0 to K - 1 whatever the picture; what cannot be cut is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxplain.explainers.segmentation import grid, segment
from onnxplain.graph_rewrites import InvalidArgument
from onnxplain.graph_rewrites.options import Segmenter
from skimage.data import chelsea

SEGMENTERS = Segmenter.__origin__.__args__
PHOTO = np.ascontiguousarray(chelsea()[:200, 100:340])


@pytest.mark.parametrize("segmenter", SEGMENTERS)
def test_every_label_from_0_is_used(segmenter):
    segments, taken = segment(PHOTO, segmenter)
    assert segments.shape == PHOTO.shape[:2]
    assert segments.dtype == np.int32
    assert np.unique(segments).tolist() == list(range(segments.max() + 1))
    assert 8 <= segments.max() + 1 <= 200
    assert taken == ("quickshift" if segmenter == "auto" else segmenter)


@pytest.mark.parametrize("segmenter", SEGMENTERS)
def test_the_same_picture_is_cut_the_same_way(segmenter):
    np.testing.assert_array_equal(segment(PHOTO, segmenter)[0], segment(PHOTO, segmenter)[0])


@pytest.mark.parametrize("segmenter", ["slic", "watershed", "grid"])
@pytest.mark.parametrize("n_segments", [50, 300])
def test_about_as_many_segments_as_asked_for(segmenter, n_segments):
    segments, _ = segment(PHOTO, segmenter, n_segments=n_segments)
    assert segments.max() + 1 == pytest.approx(n_segments, rel=0.35)


def test_large_pictures_are_cut_by_slic_unless_a_segmenter_is_named():
    large = np.tile(PHOTO, (3, 3, 1))
    assert segment(large)[1] == "slic"
    assert segment(large, "watershed")[1] == "watershed"


@pytest.mark.parametrize("shape", [(28, 28), (1, 9), (40, 3)])
def test_flat_and_small_pictures_get_a_grid(shape):
    segments, taken = segment(np.full((*shape, 3), 9, np.uint8))
    assert taken == "grid"
    assert segments.max() > 0


def test_a_named_segmenter_is_never_replaced():
    flat = np.full((32, 32, 3), 9, np.uint8)
    for segmenter in ("quickshift", "felzenszwalb"):
        with pytest.raises(InvalidArgument, match="use segmenter grid") as caught:
            segment(flat, segmenter)
        assert caught.value.reason == "TOO_FEW_SEGMENTS"
        assert caught.value.violations[0].subject == "segmenter"


def test_one_pixel_cannot_be_cut():
    with pytest.raises(InvalidArgument, match="too small to be cut"):
        segment(np.zeros((1, 1, 3), np.uint8))


@settings(max_examples=200, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), n_segments=st.integers(2, 400))
def test_a_grid_has_equal_rectangles(height, width, n_segments):
    segments = grid(np.zeros((height, width, 3), np.uint8), n_segments)
    rows, columns = (np.unique(segments, axis=axis) for axis in (1, 0))
    assert np.unique(segments).tolist() == list(range(segments.max() + 1))
    for edges in (
        np.unique(rows[:, 0], return_counts=True),
        np.unique(columns[0], return_counts=True),
    ):
        assert np.ptp(edges[1]) <= 1
    for label in (0, segments.max()):
        down, across = np.nonzero(segments == label)
        assert len(down) == (np.ptp(down) + 1) * (np.ptp(across) + 1)
    assert segments.max() + 1 <= 2 * n_segments
