"""Occlusion: golden values, and a second implementation one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
from onnxplain.explainers import load
from onnxplain.explainers.methods import occlusion
from onnxplain.graph_rewrites import InvalidArgument

from tests.double import relative_error
from tests.goldens import GOLDEN, INDEX
from tests.models import PREPROCESSING, tiny_mlp
from tests.runs import PHOTO, FakeRun

NETWORKS = [
    pytest.param(name, network["models"][0], id=name) for name, network in INDEX["networks"].items()
]


@pytest.mark.parametrize(("name", "file"), NETWORKS)
@pytest.mark.parametrize(
    ("key", "patch", "stride"), [("occlusion__w8s4", 8, 4), ("occlusion__w7s5_baseline", 7, 5)]
)
def test_golden(name, file, key, patch, stride):
    network = INDEX["networks"][name]
    data = np.load(GOLDEN / network["data"])
    model = load(GOLDEN / file["file"])
    options = {"method": "occlusion", "score": "logit", "patch": patch, "stride": stride}
    if key.endswith("baseline"):
        options["baseline"] = data["baseline"]
    found = []
    for x, target in zip(data["x"], data["target"], strict=True):
        one = model.explain(tensor=x, target=int(target), **options)
        found.append(np.broadcast_to(one.heatmap, x.shape))
    assert relative_error(np.array(found), data[key]) < network["arrays"][key]["tolerance"]


def bright_corners(pictures):
    """Class 0 sees the top left corner, class 1 the bottom right one."""
    return np.stack(
        [pictures[:, :10, :10].mean((1, 2, 3)), pictures[:, -10:, -10:].mean((1, 2, 3))], axis=1
    )


def starts(side, patch, stride):
    """Where windows begin: the last is the first that reaches the border."""
    yield 0
    last = 0
    while last + patch < side and last + stride < side:
        last += stride
        yield last


@pytest.mark.parametrize(("patch", "stride"), [(6, 3), (5, 7), (1, 16), (48, 1), (100, 100)])
def test_each_pixel_is_the_mean_loss_of_the_windows_over_it(patch, stride):
    run = FakeRun(PHOTO[:40], bright_corners, targets=(1, 0))
    results = occlusion(run, patch=patch, stride=stride, baseline="black")
    height, width, _ = run.picture.shape
    losses = [[[] for _ in range(width)] for _ in range(height)]
    for top in starts(height, patch, stride):
        for left in starts(width, patch, stride):
            covered = run.picture.astype(float)
            covered[top : top + patch, left : left + patch] = 0
            loss = (
                bright_corners(run.picture[None].astype(float)) - bright_corners(covered[None])
            )[0]
            for row in range(top, min(top + patch, height)):
                for column in range(left, min(left + patch, width)):
                    losses[row][column].append(loss)
    expected = [[np.mean(cell, axis=0) if cell else (0, 0) for cell in row] for row in losses]
    for target, result in zip((1, 0), results, strict=True):
        np.testing.assert_allclose(
            result.heatmap, np.array(expected)[..., target], rtol=1e-5, atol=1e-5
        )


def test_the_covered_evidence_stands_out():
    (result,) = occlusion(FakeRun(PHOTO, bright_corners), baseline="black")
    assert result.heatmap[0, 0] > 0.9 * result.heatmap.max()
    assert result.heatmap[-1, -1] == 0
    assert result.native_heatmap.shape == (15, 15)  # windows of 6, 3 apart, on 48


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_the_batch_size_changes_nothing(batch_size):
    expected = occlusion(FakeRun(PHOTO, bright_corners))[0]
    run = FakeRun(PHOTO, bright_corners, batch_size=batch_size)
    np.testing.assert_array_equal(occlusion(run)[0].heatmap, expected.heatmap)
    assert max(run.batches) <= batch_size
    assert run.progress[-1].done == run.progress[-1].total == sum(run.batches) - 1


@pytest.mark.parametrize("colour", ["RGB", "BGR"])
def test_the_zero_of_a_picture_is_the_models_own(colour):
    mean = [0.1, 0.5, 0.6]
    preprocessing = PREPROCESSING | {"range": [0, 1], "mean": mean, "colour": colour}
    model = load(tiny_mlp(), preprocessing=preprocessing)
    options = {"method": "occlusion", "target": 1, "score": "logit"}
    from_image = model.explain(PHOTO, **options)
    x = model.preprocessing.normalise(from_image.picture[None])
    from_tensor = model.explain(tensor=x, **options)
    assert relative_error(from_image.heatmap, from_tensor.heatmap) < 1e-4


@pytest.mark.parametrize("baseline", ["zero", "black", "mean", "blur", "uniform"])
def test_every_baseline_covers(baseline):
    model = load(tiny_mlp(), preprocessing=PREPROCESSING)
    found = [
        model.explain(method="occlusion", target=1, baseline=baseline, seed=3, **given)
        for given in ({"image": PHOTO}, {"tensor": np.ones((3, 32, 32)) * [[[0.5]], [[1]], [[0]]]})
    ]
    assert np.isfinite([one.heatmap for one in found]).all()
    assert np.any(found[0].heatmap)
    again = model.explain(PHOTO, method="occlusion", target=1, baseline=baseline, seed=3)
    np.testing.assert_array_equal(again.heatmap, found[0].heatmap)


def test_too_many_windows_are_refused():
    run = FakeRun(np.zeros((2000, 2000, 1), np.uint8), bright_corners)
    with pytest.raises(InvalidArgument, match="raise stride") as caught:
        occlusion(run, patch=1, stride=1)
    assert caught.value.violations[0].subject == "stride"
