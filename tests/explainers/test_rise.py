"""RISE: a naive loop over the same masks, its limit, and when it stops."""

from __future__ import annotations

import numpy as np
import pytest
from onnxplain.explainers import load
from onnxplain.explainers.methods import rise
from onnxplain.explainers.methods.rise import _Grids
from onnxplain.explainers.perturbation import ProductMasking

from tests.models import PREPROCESSING, tiny_mlp
from tests.runs import PHOTO, FakeRun


def patches(pictures):
    """Class 0 sees a patch at the top left, class 1 one at the bottom, class 2 noise."""
    a, b = pictures[:, 5:15, 5:15].mean((1, 2, 3)), pictures[:, 30:40, 20:30].mean((1, 2, 3))
    return np.stack([a, b, pictures.sum((1, 2, 3)) * 1e3 % 7], axis=1)


def masks(random, shape, n_cells, keep):
    """Masks ``[H, W]`` without end."""
    grids, masking = _Grids(shape, n_cells), ProductMasking(None, None)
    while True:
        yield from masking.visibility(*grids.factors(*grids.draw(random, 1, keep)))


@pytest.mark.parametrize("baseline", ["black", "mean"])
@pytest.mark.parametrize("n_samples", [2, 9, 40])
def test_the_map_is_that_of_a_naive_loop(baseline, n_samples):
    photo = PHOTO[:42]
    run = FakeRun(photo, patches, targets=(1, 0))
    results = rise(run, n_samples=n_samples, n_cells=5, baseline=baseline, seed=4)
    drawn = masks(np.random.default_rng(4), photo.shape[:2], 5, 0.5)
    base = photo.mean((0, 1)) if baseline == "mean" else np.zeros(3)
    weighted, seen = np.zeros((3, *photo.shape[:2])), np.zeros(photo.shape[:2])
    for _ in range(n_samples):
        mask = next(drawn).astype(np.float64)
        picture = base + mask[..., None] * (photo - base)
        for target, score in enumerate(patches(picture[None])[0]):
            weighted[target] += score * mask
        seen += mask
    expected = np.where(seen > 0, weighted / np.maximum(seen, 1e-9), 0)
    for target, result in zip((1, 0), results, strict=True):
        np.testing.assert_allclose(result.heatmap, expected[target], rtol=1e-4, atol=1e-4)
    assert sum(run.batches) == n_samples


@pytest.mark.parametrize(("shape", "n_cells"), [((224, 224), 7), ((30, 47), 7), ((5, 3), 7)])
def test_masks_are_smooth_and_cover_all_pixels_alike(shape, n_cells):
    endless = masks(np.random.default_rng(0), shape, n_cells, 0.3)
    drawn = np.stack([next(endless) for _ in range(800)])
    assert drawn.shape[1:] == shape
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    np.testing.assert_allclose(drawn.mean(axis=0), 0.3, atol=0.08)
    if min(shape) > 2 * n_cells:
        assert np.abs(np.diff(drawn, axis=1)).max() <= 1.01 * n_cells / (shape[0] - n_cells)


def test_the_patch_a_class_sees_stands_out():
    (result,) = rise(FakeRun(PHOTO, patches, targets=(1,)), n_samples=1500)
    row, column = np.unravel_index(np.argmax(result.heatmap), result.heatmap.shape)
    assert 28 <= row <= 42
    assert 18 <= column <= 32


@pytest.mark.parametrize("batch_size", [1, 64])
def test_the_batch_size_changes_nothing(batch_size):
    (expected,) = rise(FakeRun(PHOTO, patches), n_samples=101)
    run = FakeRun(PHOTO, patches, batch_size=batch_size)
    (result,) = rise(run, n_samples=101)
    assert max(run.batches) == batch_size
    np.testing.assert_allclose(result.heatmap, expected.heatmap, rtol=1e-6)
    assert result.measures["relative_error"] == pytest.approx(
        expected.measures["relative_error"], rel=1e-6
    )


def test_the_error_estimate_is_the_distance_between_independent_maps():
    found = [rise(FakeRun(PHOTO, patches), n_samples=400, seed=seed)[0] for seed in range(6)]
    maps = np.stack([one.heatmap for one in found])
    shapes = maps - maps.mean(axis=(1, 2), keepdims=True)
    deviation = np.sqrt(np.var(shapes, axis=0, ddof=1).mean()) / shapes.std(axis=(1, 2)).mean()
    estimated = np.mean([one.measures["relative_error"] for one in found])
    assert estimated == pytest.approx(deviation, rel=0.3)


def test_it_ends_when_all_maps_are_as_precise_as_asked():
    run = FakeRun(PHOTO, patches, targets=(0, 1))
    results = rise(run, n_samples=100_000, tolerance=0.3)
    n_samples = sum(run.batches)
    assert 200 <= n_samples < 20_000
    assert all(one.measures["n_samples"] == n_samples for one in results)
    assert all(one.measures["relative_error"] < 0.3 for one in results)
    assert run.warnings == {}


def test_a_map_of_noise_is_said_to_be_one():
    run = FakeRun(PHOTO, patches, targets=(2,))
    rise(run, n_samples=60)
    assert run.warnings.keys() == {"NOISY_MAP"}


def test_a_constant_score_gives_a_constant_map():
    run = FakeRun(PHOTO, lambda pictures: np.full((len(pictures), 1), 0.25))
    (result,) = rise(run, n_samples=300)
    np.testing.assert_allclose(result.heatmap, 0.25, rtol=1e-6)
    assert np.isfinite(list(result.measures.values())).all()


def test_a_picture_and_its_tensor_have_one_map():
    model = load(tiny_mlp(), preprocessing=PREPROCESSING)
    options = {"method": "rise", "target": 1, "n_samples": 40}
    from_image = model.explain(PHOTO, **options)
    from_tensor = model.explain(
        tensor=model.preprocessing.normalise(from_image.picture[None]), **options
    )
    np.testing.assert_allclose(from_image.heatmap, from_tensor.heatmap, rtol=1e-4)
    assert from_image.provenance.evaluations == 41
