"""Sensitivity: the gradient where there is one, an answer where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxplain.explainers import load
from onnxplain.explainers.coarse_to_fine import coarse_to_fine
from onnxplain.graph_rewrites import InvalidArgument
from scipy.stats import spearmanr

from tests.double import relative_error
from tests.models import PREPROCESSING, tiny_mlp
from tests.runs import PHOTO, FakeRun

SMOOTH = Path(__file__).parent.parent / "golden" / "models" / "lenet_tanh.onnx"
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(3 * 8 * 8, 4)).astype(np.float32)


def small(nodes, *, dtype=TensorProto.FLOAT, **constants):
    """A model of 3 x 8 x 8 inputs and 4 classes, from ``image`` to ``scores``."""
    constants |= {"weights": WEIGHTS}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", dtype, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 4])],
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def linear(x, output="scores"):
    return [
        helper.make_node("Flatten", [x], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], [output]),
    ]


def explain(model, **options):
    return model.explain(method="sensitivity", **options)


@pytest.mark.parametrize(("difference", "tolerance"), [("central", 0.005), ("forward", 0.03)])
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_a_smooth_models_sensitivity_is_its_saliency(difference, tolerance, score):
    model = load(SMOOTH)
    x = RNG.normal(size=model.inputs[0].shape[1:]).astype(np.float32)
    given = {"tensor": x, "target": 1, "score": score}
    saliency = model.explain(method="saliency", **given)
    found = explain(model, difference=difference, **given)
    assert relative_error(found.attribution, saliency.attribution) < tolerance
    assert relative_error(found.heatmap, saliency.heatmap) < tolerance
    assert found.measures["noise_floor"] < 0.1 * found.heatmap.mean()
    passes = {"central": 2 * x.size, "forward": x.size + 1}[difference]
    assert found.provenance.evaluations == 1 + 8 + passes


@pytest.mark.parametrize("granularity", ["pixel_joint", "patch", "segments"])
def test_cells_have_the_mean_gradient_of_their_pixels(granularity):
    model = load(SMOOTH)
    x = RNG.normal(size=model.inputs[0].shape[1:]).astype(np.float32)
    given = {"tensor": x, "target": [2, 0]}
    gradients = [one.attribution.sum(axis=0) for one in model.explain(method="gradient", **given)]
    options = {"patch": 5, "segmenter": "grid", "n_segments": 9}
    for found, gradient in zip(
        explain(model, granularity=granularity, **options, **given), gradients, strict=True
    ):
        height, width = gradient.shape
        cells = {
            "pixel_joint": np.arange(height * width).reshape(height, width),
            "patch": np.arange(height)[:, None] // 5 * 100 + np.arange(width) // 5,
            "segments": found.segments,
        }[granularity]
        expected = np.zeros_like(gradient)
        for cell in np.unique(cells):
            expected[cells == cell] = np.abs(gradient[cells == cell].mean())
        assert relative_error(found.heatmap, expected) < 0.03
        assert found.attribution is None


def test_a_picture_is_moved_in_the_models_own_units():
    preprocessing = PREPROCESSING | {"range": [0, 1], "std": [0.2, 0.3, 0.4]}
    model = load(tiny_mlp(), preprocessing=preprocessing)
    found = explain(model, image=PHOTO, target=1)
    saliency = model.explain(PHOTO, method="saliency", target=1)
    assert relative_error(found.attribution, saliency.attribution) < 0.02
    spread = np.mean([1 / 0.2, 1 / 0.3, 1 / 0.4])
    assert found.measures["step"] == pytest.approx(1e-3 * spread, rel=1e-5)


@pytest.mark.parametrize("kind", ["int8", "where", "uint8"])
def test_models_without_derivatives_are_explained(kind):
    if kind == "int8":
        nodes = [
            helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
            *linear("x"),
        ]
        model = small(nodes, scale=np.float32(2 / 255), zero=np.int8(0))
        x = RNG.uniform(-0.9, 0.9, (3, 8, 8)).astype(np.float32)
    elif kind == "where":
        nodes = [
            helper.make_node("Greater", ["image", "edge"], ["high"]),
            helper.make_node("Where", ["high", "image", "edge"], ["x"]),
            *linear("x"),
        ]
        model = small(nodes, edge=np.float32(0))
        x = RNG.choice([-0.7, 0.6], (3, 8, 8)).astype(np.float32)
    else:
        nodes = [helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT), *linear("x")]
        model = small(nodes, dtype=TensorProto.UINT8)
        x = RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8)
        x[0, 0, :2] = 0, 255  # moved inwards only
    found = explain(load(model), tensor=x, target=3)
    expected = np.abs(WEIGHTS[:, 3]).reshape(3, 8, 8)
    if kind == "where":
        expected = expected * (x > 0)
    quantisation = 0.9 if kind == "int8" else 1e-3  # a step of 0.018 is 2 to 3 levels of 0.0078
    np.testing.assert_allclose(found.attribution, expected, rtol=quantisation, atol=1e-3)
    assert spearmanr(found.attribution.ravel(), expected.ravel())[0] > 0.9
    if kind != "where":
        assert found.measures["step"] >= (1 if kind == "uint8" else 0.01)


def test_noise_is_told_from_evidence():
    nodes = [*linear("image", "logits"), helper.make_node("Softmax", ["logits"], ["scores"])]
    model = load(small(nodes))
    x = RNG.normal(size=(3, 8, 8)).astype(np.float32) * 30  # saturates the softmax
    found = explain(model, tensor=x, score="probability", step=1e-6)
    assert [notice.code for notice in found.warnings] in (["BELOW_NOISE"], ["NO_EVIDENCE"])
    assert explain(model, tensor=x).warnings == ()


class Field:
    """Slopes of a known function, in place of `Differences`."""

    def __init__(self, gradient):
        self.gradient, self.cost, self.spent = gradient, 2, 0
        self.steps = np.full(gradient.shape[0], 0.1)

    def stream(self, moves):
        for elements, amounts in moves:
            self.spent += 2
            yield (amounts @ self.gradient[elements] / 0.1)[None]


@pytest.mark.parametrize("shape", [(32, 32, 3), (41, 72, 1)])
@pytest.mark.parametrize(("share", "correlation"), [(2, 0.9), (8, 0.6), (20, 0.3)])
def test_a_budget_is_kept_and_finds_where_the_gradient_is(shape, share, correlation):
    row, column, _ = np.indices(shape) / max(shape)
    field = np.exp(3 * np.sin(5 * row) * np.cos(7 * column))
    gradient = (field * RNG.choice([-1, 1], shape)).reshape(-1, 1)
    differences = Field(gradient)
    budget = 2 * gradient.size // share
    elements = np.arange(gradient.size).reshape(shape)
    run = FakeRun(PHOTO, None)
    found = coarse_to_fine(run, differences, elements, budget, np.random.default_rng(0))
    found = found.values[..., 0]
    assert found.shape == shape[:2]
    assert differences.spent <= budget
    assert budget - differences.spent < 64
    assert spearmanr(found.ravel(), field.mean(axis=-1).ravel())[0] > correlation


def test_a_budget_agrees_with_saliency_on_blocks():
    model = load(SMOOTH)
    x = RNG.normal(size=model.inputs[0].shape[1:]).astype(np.float32)
    saliency = model.explain(tensor=x, method="saliency", target=1).heatmap
    found = explain(model, tensor=x, target=1, budget=x.size // 2)
    assert found.provenance.evaluations <= 1 + 8 + x.size // 2
    blocks = [
        one.reshape(one.shape[0] // 4, 4, one.shape[1] // 4, 4).mean((1, 3)).ravel()
        for one in (saliency, found.heatmap)
    ]
    assert spearmanr(*blocks)[0] > 0.85


def test_a_budget_that_suffices_is_exact():
    model = load(tiny_mlp(size=8), preprocessing=PREPROCESSING | {"resize": {"size": [8, 8]}})
    exact = explain(model, image=PHOTO, target=0)
    within = explain(model, image=PHOTO, target=0, budget=2 * 3 * 8 * 8)
    np.testing.assert_array_equal(exact.attribution, within.attribution)


def test_a_budget_for_cells_is_refused():
    model = load(tiny_mlp(), preprocessing=PREPROCESSING)
    with pytest.raises(InvalidArgument) as caught:
        explain(model, image=PHOTO, granularity="patch", budget=100)
    assert caught.value.violations[0].subject == "budget"


def test_differences_survive_an_input_without_range():
    model = load(tiny_mlp())
    x = np.zeros((3, 32, 32), np.float32)
    found = explain(model, tensor=x, target=1, granularity="patch")
    assert np.isfinite(found.heatmap).all()
    assert np.any(found.heatmap)
