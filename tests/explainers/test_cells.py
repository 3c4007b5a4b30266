"""Cells measured one after the other: all over the picture from the start, gaps filled nearby."""

from __future__ import annotations

import numpy as np
import pytest
from onnxplain.explainers.cells import Cells

PIXELS = np.arange(16 * 16, dtype=np.int32).reshape(16, 16)
RNG = np.random.default_rng(0)
LABELS = {
    "pixels": PIXELS,
    "patches": (np.arange(20)[:, None] // 3 * 9 + np.arange(26) // 3).astype(np.int32),
    "superpixels": np.unique(np.sort(RNG.integers(0, 12, (9, 14)), axis=1), return_inverse=True)[1]
    .reshape(9, 14)
    .astype(np.int32),
}


@pytest.mark.parametrize("count", [1, 4, 16, 64, 256])
def test_the_first_pixels_lie_all_over_the_picture(count):
    rows, columns = np.unravel_index(Cells(PIXELS).order[:count], (16, 16))
    side = int(16 / count**0.5)
    assert len(np.unique(rows // side * 16 + columns // side)) == count


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("share", [0.02, 0.3, 1])
def test_a_cell_not_measured_has_the_value_of_one_that_is_nearest(labels, share):
    cells = Cells(labels)
    assert sorted(cells.order) == list(range(labels.max() + 1))
    n = max(1, int(share * len(cells.order)))
    values = RNG.normal(size=(n, 2))
    found = cells.filled(values)
    measured = dict(zip(cells.order[:n].tolist(), values, strict=True))
    places = np.argwhere(np.isin(labels, list(measured)))
    for cell, value in enumerate(found):
        row, column = np.argwhere(labels == cell)[0]
        distances = np.hypot(*(places - (row, column)).T)
        nearest = {labels[tuple(one)] for one in places[distances == distances.min()]}
        assert any(np.array_equal(value, measured[one]) for one in nearest)
        assert cell not in measured or np.array_equal(value, measured[cell])


def test_the_error_is_nothing_in_the_end_and_not_known_at_first():
    cells = Cells(PIXELS)
    values = np.sin(cells.order / 40)[:, None]
    assert cells.relative_error(values) == 0
    assert np.isinf(cells.relative_error(values[:15]))
    constant = np.ones((100, 1))
    assert cells.relative_error(constant) == 0
