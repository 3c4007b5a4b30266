"""LIME: the reference library's coefficients, from batches, whatever the input's type."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnxplain.explainers import Progress, load
from onnxplain.explainers.methods import lime
from onnxplain.explainers.perturbation import segment_means
from onnxplain.graph_rewrites import Cancelled, InvalidArgument, get_method

from tests.models import PREPROCESSING, tiny_mlp
from tests.runs import PHOTO, FakeRun


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
        "tolerance": 0.0,
        "segmenter": "auto",
        "segments": None,
        "n_segments": 50,
        "fill": "mean",
        "kernel_width": 0.25,
        "feature_selection": "none",
        "n_features": 10,
        "score": "probability",
        "batch_size": None,
        "seed": 0,
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_models_of_any_batch_size_and_colour_are_explained(channels, batch):
    colour = "GRAY" if channels == 1 else "RGB"
    preprocessing = PREPROCESSING | {"colour": colour}
    options = {"method": "lime", "n_samples": 50, "segmenter": "grid", "target": [0, 3]}
    model = load(tiny_mlp(channels=channels, batch=batch), preprocessing=preprocessing)
    expected = load(tiny_mlp(channels=channels), preprocessing=preprocessing)
    for one, other in zip(
        model.explain(PHOTO, **options), expected.explain(PHOTO, **options), strict=True
    ):
        np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-3, atol=1e-6)
        assert one.heatmap.shape == one.segments.shape == (32, 32)
        assert one.provenance.evaluations == 51
        local = one.measures["intercept"] + one.coefficients.sum()
        assert local == pytest.approx(one.measures["local_prediction"])


def test_a_picture_and_its_tensor_are_explained_alike():
    model = load(tiny_mlp(), preprocessing=PREPROCESSING)
    options = {"method": "lime", "n_samples": 50, "segmenter": "slic", "target": 2}
    from_image = model.explain(PHOTO, **options)
    x = model.preprocessing.normalise(from_image.picture[None])
    from_tensor = model.explain(tensor=x, **options)
    np.testing.assert_array_equal(from_image.segments, from_tensor.segments)
    scale = np.abs(from_image.coefficients).max()  # fills of pictures are truncated to uint8
    np.testing.assert_allclose(from_image.coefficients, from_tensor.coefficients, atol=0.05 * scale)
    assert [notice.code for notice in from_tensor.warnings] == ["TENSOR_PERTURBED"]
    assert from_image.warnings == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("fill", ["mean", "black", "grey", "white", "blur", "noise"])
def test_hidden_superpixels_are_filled_as_asked(fill, dtype):
    pictures = []

    def model(batch):
        pictures.append(batch)
        return batch.mean((1, 2, 3))[:, None]

    run = FakeRun(PHOTO.astype(dtype), model, batch_size=50, seen=PHOTO)
    (result,) = lime(run, n_samples=50, segmenter="slic", fill=fill)
    seen = np.concatenate(pictures)
    hidden = (seen != PHOTO).any(-1)
    assert hidden[1:].mean() == pytest.approx(0.5, abs=0.05)
    expected = {"black": 0, "white": 255, "grey": 127.5}
    if fill in expected:
        assert np.abs(seen[hidden] - expected[fill]).max() <= 0.5
    elif fill == "mean":
        assert np.abs(seen[hidden] - PHOTO[None].repeat(50, 0)[hidden]).max() < 200
        np.testing.assert_array_equal(
            seen[1][hidden[1]], segment_means(run.picture, result.segments)[hidden[1]]
        )
    else:
        shares = [seen[n][hidden[n]].std() for n in range(1, 50)]
        assert (np.mean(shares) > 65) == (fill == "noise")
