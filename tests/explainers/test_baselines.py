"""Baselines: names, arrays in the units of the model's input, and the mean over several."""

from __future__ import annotations

import numpy as np
import pytest
from onnxplain.clients.python import ExplainError
from onnxplain.explainers import load
from onnxplain.graph_rewrites import InvalidArgument, provenance_of, rewrite
from PIL import Image

from tests.commands import Ended
from tests.models import PREPROCESSING, tiny_cnn
from tests.runs import PHOTO

METHODS = {
    "integrated_gradients": {"n_steps": 8},
    "deep_lift": {},
    "occlusion": {"patch": 8},
    "rise": {"n_samples": 40},
}


@pytest.fixture(scope="module", params=["RGB", "BGR"])
def model(request):
    return load(tiny_cnn(), preprocessing={**PREPROCESSING, "colour": request.param})


def black(model):
    """What the model is given for a black picture, as it broadcasts to its input."""
    return model.preprocessing.bounds()[0].reshape(3, 1, 1)


@pytest.mark.parametrize("method", METHODS)
def test_an_array_is_what_its_name_says(model, method):
    x = model.preprocessing.normalise(model.preprocessing.picture(PHOTO)[None])
    whole = np.broadcast_to(black(model), x.shape)
    for given in ({"image": PHOTO}, {"tensor": x}):
        options = METHODS[method] | {"method": method, "target": 1}
        expected = model.explain(**given, **options, baseline="black").heatmap
        for array in (black(model), whole, whole[0]):
            found = model.explain(**given, **options, baseline=array).heatmap
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_of_several_the_answer_is_the_mean(model, method):
    options = METHODS[method] | {"method": method, "target": 1}
    if method in ("integrated_gradients", "deep_lift"):
        options["reduction"] = "max_abs"
    given = ["black", np.full((3, 1, 1), 0.3), "uniform"]
    together = model.explain(PHOTO, **options, baseline=given)
    alone = [
        model.explain(PHOTO, **options, baseline=one, seed=seed) for seed, one in enumerate(given)
    ]
    mean = np.mean([one.heatmap for one in alone], axis=0)
    if together.attribution is not None:
        attribution = np.mean([one.attribution for one in alone], axis=0)
        np.testing.assert_allclose(together.attribution, attribution, rtol=1e-5, atol=1e-6)
        mean = np.abs(attribution).max(axis=0)
        residual = np.mean([one.residual for one in alone])
        assert together.residual == pytest.approx(residual, abs=1e-5)
    np.testing.assert_allclose(together.heatmap, mean, rtol=1e-5, atol=1e-6)
    assert together.provenance.evaluations == 1 + sum(
        one.provenance.evaluations - 1 for one in alone
    )
    assert together.to_dict()["provenance"]["options"]["baseline"] == [
        "black",
        "float64 [3, 1, 1]",
        "uniform",
    ]


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        (np.zeros((3, 5, 5)), r"\[3, 5, 5\] does not broadcast"),
        (np.full((3, 1, 1), np.nan), "finite"),
        (np.array("black"), "finite"),
        ("grey", "'grey' is not one of zero, black, mean, blur, uniform, nor a NumPy array"),
        (0.5, "nor a NumPy array"),
        ([], "empty"),
    ],
)
@pytest.mark.parametrize("method", ["deep_lift", "occlusion"])
def test_what_is_no_baseline_is_refused(method, baseline, words):
    model = load(tiny_cnn(), preprocessing=PREPROCESSING)
    with pytest.raises(InvalidArgument, match=words) as raised:
        model.explain(PHOTO, method=method, baseline=baseline)
    assert [violation.subject for violation in raised.value.violations] == ["baseline"]


def test_a_rewritten_model_says_what_its_baselines_were():
    given = ["zero", np.ones((3, 1, 1), np.float32)]
    note = provenance_of(rewrite(tiny_cnn(), "deep_lift", baseline=given))
    assert note["options"]["baseline"] == ["zero", "float32 [3, 1, 1]"]
    assert set(note["given"]) == {"baseline"}


def test_baselines_are_read_from_files_and_sent(repository, client, server, tmp_path):
    photo, file = tmp_path / "photo.png", tmp_path / "start.npy"
    Image.fromarray(PHOTO).save(photo)
    start = np.linspace(-1, 1, 3 * 32 * 32, dtype=np.float32).reshape(3, 32, 32)
    np.save(file, start)
    asked = {"method": "deep_lift", "baseline": ["black", start]}
    expected = client.explain(photo, model="cnn", **asked)
    name, sent = expected.provenance.options["baseline"]
    assert name == "black"
    np.testing.assert_array_equal(sent, start)
    local = [repository / "cnn" / "1" / "model.onnx", photo]
    local += ["--preprocessing", repository / "cnn" / "preprocessing.json"]
    options = ["--method", "deep_lift", "--array", tmp_path / "found.npy"]
    both = ["--baseline", "black", "--option", f"baseline={file}"]
    for source in (local, ["cnn", photo, "--server", server]):
        ended = Ended(["explain", *source, *options, *both])
        assert ended.code == 0, ended.err
        np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), expected.heatmap)
    ended = Ended(["explain", *local, *options, "--baseline", tmp_path / "none.npy"])
    assert (ended.code, "none.npy cannot be read" in ended.err) == (2, True)
    with pytest.raises(ExplainError) as caught:
        client.explain(photo, model="cnn", method="deep_lift", baseline=start[:, :3])
    assert [one.subject for one in caught.value.violations] == ["method.deep_lift.baseline"]
