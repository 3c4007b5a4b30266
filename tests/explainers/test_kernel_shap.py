"""KernelSHAP: exact Shapley values where all coalitions fit, near them otherwise."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from onnxplain.explainers import Progress
from onnxplain.explainers.methods import kernel_shap
from onnxplain.explainers.shapley import choose_coalitions, fit_shapley
from onnxplain.graph_rewrites import InvalidArgument

from tests.runs import PHOTO, FakeRun


def game(seed, n_players):
    """A score with interplay between players, of masks [N, K]."""
    random = np.random.default_rng(seed)
    single, pairs = random.normal(size=n_players), random.normal(size=(n_players, n_players))

    def value(masks):
        m = masks.astype(float)
        return np.tanh(m @ single / 3 + np.einsum("ni,ij,nj->n", m, pairs, m) / 9) + 0.7

    return value


def shapley(value, n_players):
    """The definition: what each player adds, over all orders of joining."""
    totals = np.zeros(n_players)
    for order in permutations(range(n_players)):
        masks = np.zeros((n_players + 1, n_players), bool)
        for step, player in enumerate(order):
            masks[step + 1 :, player] = True
        totals[list(order)] += np.diff(value(masks))
    return totals / factorial(n_players)


def estimate(value, coalitions, n_players):
    ends = value(np.array([[False] * n_players, [True] * n_players]))
    gains = (value(coalitions.masks) - ends[0])[:, None]
    return fit_shapley(coalitions.masks, gains, coalitions.weights, ends[1:] - ends[0])[:, 0]


@pytest.mark.parametrize("n_players", [2, 3, 4, 7])
def test_all_coalitions_give_the_exact_values(n_players):
    value = game(n_players, n_players)
    coalitions = choose_coalitions(n_players, 2**n_players - 2, np.random.default_rng(0))
    assert len(np.unique(coalitions.masks, axis=0)) == len(coalitions.masks) == 2**n_players - 2
    assert coalitions.n_drawn == 0
    expected = shapley(value, n_players)
    np.testing.assert_allclose(estimate(value, coalitions, n_players), expected, atol=1e-10)


def test_eight_superpixels_have_their_exact_values():
    segments = (np.arange(48) // 6)[None].repeat(6, axis=0)
    value = game(3, 8)
    picture = (100 + 10 * (np.indices((6, 48)).sum(0) % 2))[..., None].astype(np.uint8)

    def model(pictures):
        masks = [(pictures[:, segments == k, 0].std(axis=1) > 1) for k in range(8)]
        return value(np.stack(masks, axis=1))[:, None]

    run = FakeRun(picture, model)
    (result,) = kernel_shap(run, segmenter="grid", n_segments=8, fill="grey")
    np.testing.assert_array_equal(result.segments, segments)
    np.testing.assert_allclose(result.coefficients, shapley(value, 8), atol=1e-9)
    assert sum(run.batches) == 2**8
    assert run.progress[-1] == Progress("samples", 256, 256)
    assert result.measures["spread"] == 0
    assert result.measures["baseline_score"] == pytest.approx(value(np.zeros((1, 8)))[0])
    assert abs(result.residual) < 1e-12


@pytest.mark.parametrize(("n_players", "n_samples"), [(8, 100), (12, 400), (30, 500), (51, 1001)])
def test_sampled_coalitions_come_in_pairs_and_weigh_as_the_kernel_says(n_players, n_samples):
    coalitions = choose_coalitions(n_players, n_samples, np.random.default_rng(1))
    masks, weights = coalitions.masks, coalitions.weights
    assert n_samples - 1 <= len(masks) <= n_samples
    assert len(np.unique(masks, axis=0)) == len(masks)
    assert weights.sum() == pytest.approx(1)
    drawn = masks[len(masks) - coalitions.n_drawn :]
    np.testing.assert_array_equal(drawn[::2], ~drawn[1::2])
    size = masks.sum(axis=1)
    kernel = np.array([1 / (s * (n_players - s)) for s in range(1, n_players)])
    for whole in np.unique(size[: len(masks) - coalitions.n_drawn]):
        assert weights[size == whole].sum() == pytest.approx(kernel[whole - 1] / kernel.sum())


def test_samples_come_near_the_exact_values_and_nearer_with_more():
    value, exact = game(5, 7), shapley(game(5, 7), 7)
    errors = [
        np.mean(
            [
                np.abs(
                    estimate(value, choose_coalitions(7, n, np.random.default_rng(s)), 7) - exact
                ).max()
                for s in range(20)
            ]
        )
        for n in (20, 50, 110)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("n_samples", [2, 5, 20])
def test_too_few_samples_still_add_up_and_are_said_to_be_few(n_samples):
    run = FakeRun(PHOTO, lambda pictures: pictures.mean((1, 2, 3))[:, None])
    (result,) = kernel_shap(run, n_samples=n_samples, segmenter="grid")
    assert abs(result.residual) < 1e-9
    assert np.isfinite(result.coefficients).all()
    assert "FEW_SAMPLES" in run.warnings


def test_a_linear_score_has_its_own_terms_as_values():
    (result,) = kernel_shap(
        FakeRun(PHOTO, lambda pictures: pictures.mean((1, 2, 3))[:, None]),
        segmenter="slic",
        n_samples=200,
        fill="black",
    )
    terms = [
        PHOTO[result.segments == k].sum() / PHOTO.size for k in range(len(result.coefficients))
    ]
    np.testing.assert_allclose(result.coefficients, terms, rtol=1e-6)
    assert result.measures["spread"] < 1e-6
    np.testing.assert_array_equal(
        result.heatmap, result.coefficients.astype(np.float32)[result.segments]
    )


def corners(pictures):
    a, b = pictures[:, :12, :12].std((1, 2, 3)), pictures[:, 20:, 20:].std((1, 2, 3))
    return np.stack([a, a * b / 50, b], axis=1)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_the_batch_size_changes_nothing(batch_size):
    options = {"n_samples": 60, "segmenter": "grid"}
    expected = kernel_shap(FakeRun(PHOTO, corners, targets=(2, 1)), **options)
    found = kernel_shap(FakeRun(PHOTO, corners, targets=(2, 1), batch_size=batch_size), **options)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.coefficients, other.coefficients)
        assert one.measures == other.measures


def test_the_spread_is_that_of_other_draws():
    options = {"n_samples": 300, "segmenter": "grid", "n_segments": 25}
    found = [
        kernel_shap(FakeRun(PHOTO, corners, targets=(1,)), seed=seed, **options)[0]
        for seed in range(10)
    ]
    deviation = np.sqrt(np.var([one.coefficients for one in found], axis=0, ddof=1).mean())
    assert np.mean([one.measures["spread"] for one in found]) == pytest.approx(deviation, rel=0.35)


def test_more_masks_than_memory_are_refused():
    with pytest.raises(InvalidArgument, match="too many") as caught:
        kernel_shap(FakeRun(PHOTO, corners), n_samples=1_000_000, segmenter="grid", n_segments=400)
    assert caught.value.violations[0].subject == "n_samples"
