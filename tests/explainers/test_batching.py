"""The batch size is what a clock says, and stays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from onnxplain.explainers import batching, load
from onnxplain.explainers.batching import best_batch_size
from onnxplain.graph_rewrites import FailedPrecondition

from tests.models import PREPROCESSING, tiny_mlp
from tests.runs import PHOTO


class Clock:
    """A machine on which a batch takes as long as a formula says."""

    def __init__(self, seconds, too_large=1000):
        self.now, self.seconds, self.too_large, self.sizes = 0.0, seconds, too_large, []

    def run(self, size):
        if size >= self.too_large:
            raise FailedPrecondition("MODEL_RUN_FAILED", "no memory")
        self.sizes.append(size)
        self.now += self.seconds(size)

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize(
    ("clock", "largest", "expected"),
    [
        pytest.param(Clock(lambda n: 1e-3 * n), 64, 1, id="no gain"),
        pytest.param(Clock(lambda n: 1e-3 + 1e-4 * n), 64, 64, id="overhead"),
        pytest.param(Clock(lambda n: 1e-3 + 1e-4 * n), 20, 16, id="memory"),
        pytest.param(Clock(lambda n: 1e-3 * n ** (0.7 if n < 8 else 1.2)), 64, 4, id="cache"),
        pytest.param(Clock(lambda n: 1e-3 + 1e-4 * n, too_large=5), 64, 4, id="failing"),
        pytest.param(Clock(lambda n: 0.2 + 0.05 * n), 64, 1, id="slow"),
    ],
)
def test_the_batch_of_highest_throughput_is_found(monkeypatch, clock, largest, expected):
    monkeypatch.setattr(batching, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    assert best_batch_size(clock.run, largest) == expected
    assert clock.now < 1.5


def test_a_model_that_fails_on_one_row_says_so():
    with pytest.raises(FailedPrecondition, match="no memory"):
        best_batch_size(Clock(lambda n: n, too_large=1).run, 8)


def test_a_loaded_model_keeps_its_batch_size_and_so_its_answer():
    model = load(tiny_mlp(), preprocessing=PREPROCESSING)
    options = {"method": "rise", "target": 1, "n_samples": 40}
    first, again = (model.explain(PHOTO, **options) for _ in range(2))
    assert first.provenance.batch_size == again.provenance.batch_size
    np.testing.assert_array_equal(first.heatmap, again.heatmap)
    assert model.explain(PHOTO, batch_size=3, **options).provenance.batch_size == 3
