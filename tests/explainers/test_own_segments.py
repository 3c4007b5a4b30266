"""Superpixels of the caller's own and colours to fill with: taken as given, everywhere alike."""

import json

import numpy as np
import pytest
from onnxplain.clients.python import ExplainError
from onnxplain.explainers import load
from onnxplain.graph_rewrites import InvalidArgument, get_method
from PIL import Image

from tests.commands import Ended
from tests.models import PREPROCESSING, tiny_cnn

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
RINGS = 7 + 5 * (np.abs(np.mgrid[:32, :32] - 15.5).max(axis=0) // 6).astype(np.int64)  # 7, 12, 17
OPTIONS = {
    "lime": {"n_samples": 30},
    "kernel_shap": {"n_samples": 30},
    "sensitivity": {"granularity": "segments"},
    "sp_lime": {"n_samples": 30},
    "k_lime": {"n_samples": 30},
    "lime_sup": {"n_samples": 30},
}


@pytest.fixture(scope="module")
def model():
    return load(tiny_cnn(), preprocessing=PREPROCESSING)


def test_every_method_of_segments_takes_those_of_the_caller():
    takers = {name for name in OPTIONS if get_method(name).defaults.get("segments", 0) is None}
    assert takers == set(OPTIONS)


@pytest.mark.parametrize(("method", "options"), OPTIONS.items())
def test_own_superpixels_are_numbered_from_zero_and_otherwise_kept(method, options, model):
    found = model.explain(PICTURE, method=method, segments=RINGS, **options)
    np.testing.assert_array_equal(found.segments, (RINGS - 7) // 5)
    assert found.segments.dtype == np.int32
    assert len(found.coefficients) == 3
    options = found.to_dict()["provenance"]["options"]
    assert json.loads(json.dumps(options))["segments"] == "int64 [32, 32]"


def test_images_of_a_set_share_the_cells_that_are_given(model):
    pictures = [PICTURE, PICTURE[::-1], PICTURE // 2]
    found = model.explain(pictures, method="sp_lime", segments=RINGS, n_samples=30)
    assert found[0].summary.axis == "cells"
    assert len(found[0].summary.importance) == 3
    found = model.explain(pictures, method="k_lime", segments=RINGS)
    means = [[one[ring == RINGS].mean(axis=0) / 255 for ring in (7, 12, 17)] for one in pictures]
    usual = np.mean(means, axis=0)
    weights = np.reshape(found[0].summary.everything.coefficients, (3, 3))
    for one, own in zip(found, means, strict=True):
        expected = (weights * (own - usual)).sum(axis=1)
        np.testing.assert_allclose(one.coefficients, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("segments", "more", "said"),
    [
        (RINGS[:20], {}, r"segments is \[20, 32\], the picture that the model sees \[32, 32\]"),
        (0 * RINGS, {}, "the same number everywhere"),
        (RINGS, {"segmenter": "slic"}, "either segments or segmenter=slic, not both"),
        (RINGS / 2, {}, "array .* of whole numbers"),
        (RINGS.tolist(), {}, "array .* of whole numbers"),
        (RINGS[0], {}, "array .* of whole numbers"),
    ],
)
def test_what_does_not_fit_is_refused(segments, more, said, model):
    with pytest.raises(InvalidArgument, match=said) as caught:
        model.explain(PICTURE, method="lime", segments=segments, **more)
    assert [one.subject for one in caught.value.violations] == ["segments"]


def test_a_label_map_is_read_from_files_and_sent(repository, client, server, tmp_path):
    photo, array = tmp_path / "photo.png", tmp_path / "rings.npy"
    Image.fromarray(PICTURE).save(photo)
    np.save(array, RINGS)
    grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
    Image.fromarray(RINGS.astype(np.uint8)).save(grey)
    shades = np.stack([RINGS * 0, RINGS * 9, 255 - RINGS * 9], axis=-1)
    Image.fromarray(shades.astype(np.uint8)).save(colour)
    expected = client.explain(photo, model="cnn", method="lime", n_samples=30, segments=RINGS)
    np.testing.assert_array_equal(expected.provenance.options["segments"], RINGS)
    local = [repository / "cnn" / "1" / "model.onnx", photo]
    local += ["--preprocessing", repository / "cnn" / "preprocessing.json"]
    options = ["--method", "lime", "--n-samples", 30, "--array", tmp_path / "a.npz"]
    for source in (local, ["cnn", photo, "--server", server]):
        for file in (array, grey, colour):
            ended = Ended(["explain", *source, *options, "--segments", file])
            assert ended.code == 0, ended.err
            with np.load(tmp_path / "a.npz") as arrays:
                found = dict(arrays)
            regions = {
                (int(a), int(b))
                for a, b in zip(found["segments"].flat, expected.segments.flat, strict=True)
            }
            assert len(regions) == 3
            if file != colour:  # whose regions have an order of their own
                np.testing.assert_array_equal(found["coefficients"], expected.coefficients)
    ended = Ended(["explain", *local, *options, "--segments", tmp_path / "none.npy"])
    assert (ended.code, "none.npy cannot be read" in ended.err) == (2, True)
    with pytest.raises(ExplainError) as caught:
        client.explain(photo, model="cnn", method="lime", segments=RINGS[:3])
    assert [one.subject for one in caught.value.violations] == ["method.lime.segments"]


@pytest.mark.parametrize("colour", ["RGB", "BGR"])
def test_a_colour_hides_superpixels_of_pictures_and_tensors_alike(colour):
    model = load(tiny_cnn(), preprocessing=PREPROCESSING | {"colour": colour})
    painted = np.where((RINGS == 17)[..., None], PICTURE, np.array([200, 30, 0], np.uint8))
    options = {"method": "kernel_shap", "segments": RINGS, "fill": "#C81e00", "target": 0}
    found = model.explain(PICTURE, **options)
    hidden = np.broadcast_to(np.array([200, 30, 0], np.uint8), PICTURE.shape)

    def score(picture):
        top = model.predict(np.ascontiguousarray(picture), top=5).top
        return next(one.probability for one in top if one.index == 0)

    assert found.measures["baseline_score"] == pytest.approx(score(hidden))
    alone = model.explain(painted.astype(np.uint8), **options)
    assert alone.coefficients[:2] == pytest.approx([0, 0], abs=1e-6)
    planes = PICTURE if colour == "RGB" else PICTURE[..., ::-1]
    tensor = (planes.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)
    of_tensor = model.explain(tensor=tensor, **options)
    np.testing.assert_allclose(of_tensor.coefficients, found.coefficients, atol=1e-6)


@pytest.mark.parametrize("fill", ["#12345", "red", "#1234567", "123456"])
def test_other_words_for_colours_are_refused(fill, model):
    with pytest.raises(InvalidArgument, match=r"not one of mean, .*, nor a colour as #rrggbb"):
        model.explain(PICTURE, method="lime", fill=fill)
