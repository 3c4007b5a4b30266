"""LIME: the reference library's coefficients, from batches, whatever the input's type."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnxplain.explainers import Control, Progress
from onnxplain.explainers.methods import lime
from onnxplain.explainers.perturbation import SegmentHider, segment_means
from onnxplain.explainers.segmentation import segment
from onnxplain.explainers.surrogate import cosine_kernel, fit_surrogate
from onnxplain.graph_rewrites import Cancelled, InvalidArgument, get_method
from skimage.data import chelsea
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances

RNG = np.random.default_rng(0)
PHOTO = np.ascontiguousarray(chelsea()[20:260:5, 110:350:5])  # 48 x 48


class FakeRun:
    """A run whose model is a plain function of pictures in their own units."""

    def __init__(self, picture, model, *, targets=(0,), batch_size=7, from_tensor=False, seen=None):
        self.picture, self.model = picture, model
        self.targets, self.batch_size, self.from_tensor = targets, batch_size, from_tensor
        shown = picture if seen is None else seen
        self.segmentation_picture = np.broadcast_to(shown, (*shown.shape[:2], 3))
        self.progress: list[Progress] = []
        self.control = Control(self.progress.append)
        self.warnings: dict[str, str] = {}
        self.batches: list[int] = []

    def predict(self, pictures):
        assert pictures.dtype == self.picture.dtype
        assert pictures.shape[1:] == self.picture.shape
        self.batches.append(len(pictures))
        return self.model(pictures.astype(np.float64))

    def warn(self, code, message):
        self.warnings[code] = message


def quadrants(pictures):
    """Class 0 sees the top left, class 1 the bottom right, class 2 an interplay of both."""
    a, b = pictures[:, :24, :24].mean((1, 2, 3)), pictures[:, 24:, 24:].mean((1, 2, 3))
    return np.stack([a, b, a * b / 100], axis=1) / 255


def reference(picture, segments, masks, model, label, kernel_width=0.25):
    """The reference library's answer for our segments and masks."""
    with warnings.catch_warnings():  # it was written for an older NumPy and tqdm
        warnings.simplefilter("ignore")
        from lime.lime_image import LimeImageExplainer

        explainer = LimeImageExplainer(kernel_width=kernel_width, feature_selection="none")
        explainer.random_state = FixedMasks(masks)
        found = explainer.explain_instance(
            picture,
            lambda pictures: model(pictures.astype(np.float64)),
            labels=(label,),
            top_labels=None,
            num_samples=len(masks),
            segmentation_fn=lambda _: segments,
            random_seed=0,
        )
    coefficients = np.zeros(segments.max() + 1)
    for index, weight in found.local_exp[label]:
        coefficients[index] = weight
    return coefficients, found.intercept[label], found.score, found.local_pred[0]


class FixedMasks:
    """A random state that draws the masks it was given."""

    def __init__(self, masks):
        self.masks = masks

    def randint(self, low, high, size):
        assert (low, high, size) == (0, 2, self.masks.size)
        return self.masks.astype(int).ravel()


@pytest.mark.parametrize("kernel_width", [0.25, 1.0])
@pytest.mark.parametrize("segmenter", ["auto", "slic", "grid"])
def test_coefficients_equal_the_reference_library(segmenter, kernel_width):
    pictures = []

    def model(batch):
        pictures.append(batch)
        return quadrants(batch)

    run = FakeRun(PHOTO, model, targets=(2, 0))
    results = lime(run, n_samples=150, segmenter=segmenter, kernel_width=kernel_width, seed=3)
    segments = results[0].segments
    fill = segment_means(PHOTO, segments)
    differs = (fill != PHOTO).any(-1)
    seen = np.concatenate(pictures).astype(np.uint8)
    masks = np.stack(
        [
            ~((seen != PHOTO).any(-1) & (segments == index)).any((1, 2))
            for index in range(segments.max() + 1)
        ],
        axis=1,
    )
    assert all(differs[segments == index].any() for index in range(segments.max() + 1))
    for target, result in zip((2, 0), results, strict=True):
        expected = reference(PHOTO, segments, masks, quadrants, target, kernel_width)
        np.testing.assert_allclose(result.coefficients, expected[0], rtol=1e-8, atol=1e-10)
        found = [result.measures[name] for name in ("intercept", "r2", "local_prediction")]
        np.testing.assert_allclose(found, expected[1:], rtol=1e-8)


@pytest.mark.parametrize(("n_samples", "n_segments"), [(40, 9), (9, 40), (5000, 3)])
def test_the_surrogate_is_scikit_learns_weighted_ridge(n_samples, n_segments):
    masks = RNG.random((n_samples, n_segments)) < 0.5
    masks[1] = False
    scores = RNG.normal(size=(n_samples, 2))
    weights = cosine_kernel(masks, 0.25)
    distances = pairwise_distances(masks.astype(float), np.ones((1, n_segments)), metric="cosine")
    np.testing.assert_allclose(weights, np.sqrt(np.exp(-(distances.ravel() ** 2) / 0.25**2)))
    ours = fit_surrogate(masks, scores, weights)
    theirs = Ridge(alpha=1).fit(masks, scores, sample_weight=weights)
    np.testing.assert_allclose(ours.coefficients, theirs.coef_.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.intercepts, theirs.intercept_, rtol=1e-9)
    np.testing.assert_allclose(ours.predict(masks), theirs.predict(masks), rtol=1e-9, atol=1e-12)
    for target in range(2):
        alone = Ridge(alpha=1).fit(masks, scores[:, target], sample_weight=weights)
        expected = alone.score(masks, scores[:, target], sample_weight=weights)
        assert ours.r2(masks, scores, weights)[target] == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_hiding_a_segment_changes_exactly_its_pixels(dtype, channels):
    segments, _ = segment(PHOTO, "slic", n_segments=12)
    picture = (RNG.normal(size=(*segments.shape, channels)) * 40 + 60).astype(dtype)
    fill = segment_means(picture, segments)
    n_segments = segments.max() + 1
    pictures = SegmentHider(picture, fill, segments).pictures(~np.eye(n_segments, dtype=bool))
    assert pictures.dtype == dtype
    for hidden, perturbed in enumerate(pictures):
        inside = segments == hidden
        expected = np.where(inside[..., None], fill, picture)
        np.testing.assert_array_equal(perturbed, expected)
        mean = picture[inside].mean(axis=0, dtype=np.float64).astype(dtype)
        np.testing.assert_allclose(fill[inside], np.tile(mean, (inside.sum(), 1)), rtol=1e-12)


def test_the_segment_a_class_looks_at_weighs_most():
    segments_of = FakeRun(PHOTO, lambda pictures: pictures[:, :12, :12].var((1, 2, 3))[:, None])
    (result,) = lime(segments_of, n_samples=300, segmenter="grid", n_segments=16)
    assert np.argmax(result.coefficients) == result.segments[0, 0] == 0
    assert result.measures["rank_correlation"] <= 1
    np.testing.assert_array_equal(
        result.heatmap, result.coefficients.astype(np.float32)[result.segments]
    )
    assert result.measures["local_prediction"] == pytest.approx(
        result.measures["intercept"] + result.coefficients.sum()
    )


@pytest.mark.parametrize("batch_size", [1, 64, 1000])
def test_the_batch_size_changes_nothing(batch_size):
    options = {"n_samples": 100, "seed": 5, "segmenter": "grid"}
    (expected,) = lime(FakeRun(PHOTO, quadrants), **options)
    run = FakeRun(PHOTO, quadrants, batch_size=batch_size)
    (result,) = lime(run, **options)
    assert max(run.batches) <= batch_size
    assert sum(run.batches) == 100
    np.testing.assert_array_equal(result.coefficients, expected.coefficients)
    assert result.measures == expected.measures


def test_seeds_decide_the_samples_but_not_the_segments():
    first, again, other = (
        lime(FakeRun(PHOTO, quadrants), n_samples=50, seed=seed)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.coefficients, again.coefficients)
    assert np.any(first.coefficients != other.coefficients)
    np.testing.assert_array_equal(first.segments, other.segments)


def test_targets_share_the_samples():
    run = FakeRun(PHOTO, quadrants, targets=(1, 0, 1))
    results = lime(run, n_samples=60)
    (alone,) = lime(FakeRun(PHOTO, quadrants, targets=(0,)), n_samples=60)
    assert sum(run.batches) == 60
    np.testing.assert_allclose(results[1].coefficients, alone.coefficients, rtol=1e-9)
    np.testing.assert_array_equal(results[0].coefficients, results[2].coefficients)


def test_a_tensor_is_perturbed_in_its_own_units():
    x = (PHOTO[..., :2].astype(np.float32) - 127) / 64
    run = FakeRun(x, lambda p: p.mean((1, 2, 3))[:, None], from_tensor=True, seen=PHOTO)
    (result,) = lime(run, n_samples=40, segmenter="slic")
    assert result.heatmap.shape == x.shape[:2]
    assert "TENSOR_PERTURBED" in run.warnings


def test_more_samples_spread_less():
    few, many = (
        lime(FakeRun(PHOTO, quadrants, targets=(2,)), n_samples=n, segmenter="grid")[0].measures
        for n in (60, 3000)
    )
    assert many["spread"] < few["spread"] / 2
    assert many["rank_correlation"] > few["rank_correlation"]


def test_spread_is_that_of_other_draws():
    drawn = [
        lime(FakeRun(PHOTO, quadrants, targets=(2,)), n_samples=400, segmenter="slic", seed=seed)[0]
        for seed in range(12)
    ]
    deviation = np.sqrt(np.var([one.coefficients for one in drawn], axis=0, ddof=1).mean())
    assert np.mean([one.measures["spread"] for one in drawn]) == pytest.approx(deviation, rel=0.3)


def test_progress_is_told_once_a_batch():
    run = FakeRun(PHOTO, quadrants, batch_size=20)
    lime(run, n_samples=50)
    assert run.progress == [Progress("samples", done, 50) for done in (0, 20, 40, 50)]


def test_cancelling_ends_it_within_a_batch():
    run = FakeRun(PHOTO, quadrants, batch_size=10)

    def model(pictures):
        if len(run.batches) == 3:
            run.control.cancel()
        return quadrants(pictures)

    run.model = model
    with pytest.raises(Cancelled):
        lime(run, n_samples=1000)
    assert len(run.batches) == 3


def test_an_unlinear_model_is_said_to_be_badly_explained():
    def checksum(pictures):
        return (pictures.sum((1, 2, 3)) % 7)[:, None]

    run = FakeRun(PHOTO, checksum, targets=(0,))
    (result,) = lime(run, n_samples=200, segmenter="slic")
    assert result.measures["r2"] < 0.4
    assert run.warnings.keys() == {"LOW_FIDELITY", "UNSTABLE_RANKING"}
    assert "class 0" in run.warnings["LOW_FIDELITY"]


def test_a_linear_model_is_explained_without_warnings():
    run = FakeRun(PHOTO, quadrants, targets=(0, 1))
    lime(run, n_samples=400, segmenter="slic")
    assert run.warnings == {}


@pytest.mark.parametrize("kernel_width", [1e-6, 0.01])
def test_a_kernel_that_sees_almost_nothing_warns(kernel_width):
    run = FakeRun(PHOTO, quadrants)
    (result,) = lime(run, n_samples=50, kernel_width=kernel_width)
    assert "FEW_SAMPLES" in run.warnings
    assert np.isfinite(result.coefficients).all()
    assert np.isfinite(list(result.measures.values())).all()


def test_a_constant_score_gives_zeros_and_finite_measures():
    (result,) = lime(
        FakeRun(PHOTO, lambda pictures: np.full((len(pictures), 1), 0.25)), n_samples=30
    )
    np.testing.assert_allclose(result.coefficients, 0, atol=1e-15)
    assert result.measures["intercept"] == pytest.approx(0.25)
    assert np.isfinite(list(result.measures.values())).all()


def test_a_flat_picture_gets_a_grid_and_says_so():
    run = FakeRun(
        np.full((28, 28, 1), 9, np.uint8), lambda pictures: pictures.mean((1, 2, 3))[:, None]
    )
    (result,) = lime(run, n_samples=30, n_segments=49)
    assert result.coefficients.shape == (49,)
    assert "GRID_SEGMENTS" in run.warnings


def test_more_masks_than_memory_are_refused():
    with pytest.raises(InvalidArgument, match="too many") as caught:
        lime(FakeRun(PHOTO, quadrants), n_samples=1_000_000, segmenter="grid", n_segments=2000)
    assert caught.value.violations[0].subject == "n_samples"


def test_the_declaration_says_what_lime_is():
    method = get_method("lime")
    assert method.run is lime
    assert not method.in_graph
    assert method.defaults == {
        "n_samples": 1000,
        "segmenter": "auto",
        "n_segments": 50,
        "kernel_width": 0.25,
        "score": "probability",
        "batch_size": None,
        "seed": 0,
    }
