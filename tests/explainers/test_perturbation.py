"""Hiding a segment changes its pixels and no others."""

from __future__ import annotations

import numpy as np
import pytest
from onnxplain.explainers.perturbation import SegmentMasking, composite, segment_means
from onnxplain.explainers.segmentation import segment

from tests.runs import PHOTO

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_hiding_a_segment_changes_exactly_its_pixels(dtype, channels):
    segments, _ = segment(PHOTO, "slic", n_segments=12)
    picture = (RNG.normal(size=(*segments.shape, channels)) * 40 + 60).astype(dtype)
    fill = segment_means(picture, segments)
    n_segments = segments.max() + 1
    visibility = SegmentMasking(picture, fill, segments).visibility(~np.eye(n_segments, dtype=bool))
    pictures = composite(visibility[..., None], picture, fill)
    assert pictures.dtype == dtype
    for hidden, perturbed in enumerate(pictures):
        inside = segments == hidden
        expected = np.where(inside[..., None], fill, picture)
        np.testing.assert_array_equal(perturbed, expected)
        mean = picture[inside].mean(axis=0, dtype=np.float64).astype(dtype)
        np.testing.assert_allclose(fill[inside], np.tile(mean, (inside.sum(), 1)), rtol=1e-12)
