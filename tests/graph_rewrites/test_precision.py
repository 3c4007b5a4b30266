"""Models in other precisions are explained as their float32 twin is, and stay what they are."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxplain.explainers import load
from onnxplain.explainers.verification import compare_forward, forward_difference
from onnxplain.graph_rewrites import canonise, read_model, rewrite

from tests.models import tiny_cnn

HALF, FLOAT, UINT8 = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.UINT8
TENSOR = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float16)
METHODS = ("saliency", "grad_cam", "cam", "guided_backprop", "linear_score", "recipro_cam")


def stored_as(model, elem_type):
    """The model with float weights, input and output of another type."""
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(dtype), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = elem_type
    return model


def rounded_to_half(model):
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            rounded = array.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return model


def with_uint8_input(model):
    """The model behind a Cast from pixels and a scale of 1/255."""
    model.graph.input[0].type.tensor_type.elem_type = UINT8
    first = model.graph.node[0]
    first.input[0] = "scaled"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 / 255), "scale"))
    before = [
        helper.make_node("Cast", ["image"], ["pixels"], to=FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
    ]
    nodes = [*before, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_half_model_is_explained_in_float32(method, softmax):
    half = load(stored_as(tiny_cnn(softmax=softmax), HALF))
    twin = load(rounded_to_half(tiny_cnn(softmax=softmax)))
    found, expected = (
        model.explain(tensor=TENSOR, method=method, target=1) for model in (half, twin)
    )
    assert found.heatmap.dtype == np.float32
    np.testing.assert_allclose(found.heatmap, expected.heatmap, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("softmax", [True, False])
def test_a_half_model_keeps_its_interface_and_its_scores(softmax):
    half = stored_as(tiny_cnn(softmax=softmax), HALF)
    canonical, rewritten = canonise(read_model(half)), rewrite(half, "saliency")
    feeds = {"image": TENSOR[None]}
    for changed, more in ((canonical, {}), (rewritten, {"target": np.array([1])})):
        onnx.checker.check_model(changed, full_check=True)
        assert changed.graph.input[0].type.tensor_type.elem_type == HALF
        assert changed.graph.output[0].type.tensor_type.elem_type == HALF
        assert max(forward_difference(half, changed, feeds | more).values()) < 5e-3


def test_pixels_as_integers_are_explained_as_real_numbers():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    as_float = tiny_cnn()
    found = load(with_uint8_input(tiny_cnn())).explain(tensor=pixels, method="gradient", target=2)
    expected = load(as_float).explain(tensor=pixels / 255, method="gradient", target=2)
    np.testing.assert_allclose(found.attribution, expected.attribution / 255, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
@pytest.mark.parametrize("head", [{"softmax": True}, {"softmax": False}])
def test_the_answer_says_how_far_single_precision_moves_the_scores(head, method):
    half = stored_as(tiny_cnn(**head), HALF)
    name = half.graph.output[0].name
    feeds = {"image": TENSOR[None]}
    before, after = (
        ort.InferenceSession(model.SerializeToString()).run([name], given)[0].astype(np.float64)
        for model, given in (
            (half, feeds),
            (rewrite(half, "saliency"), feeds | {"target": np.array([1])}),
        )
    )
    expected = np.linalg.norm(after - before) / np.linalg.norm(before)
    found = load(half).explain(tensor=TENSOR, method=method, target=1)
    assert found.measures["forward_difference"] == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert expected < 5e-3
    assert not found.warnings


SCORES = [1.0, 3.0, 3.0, -2.0]


@pytest.mark.parametrize(
    ("found", "quantised", "told"),
    [
        (SCORES, False, ""),
        ([1.0, 3.0, 3.01, -2.0], False, ""),  # of two equal classes either may be first
        ([1.0, 3.1, 3.0, -2.0], False, "differ by 0.021"),
        ([1.0, 3.1, 3.0, -2.0], True, ""),
        ([3.2, 3.0, 3.0, -2.0], True, "differ by 0.46 (relative L2) from the file's own, and"),
        ([1.0, 5.0, 3.0, -2.0], True, "differ by 0.42"),
    ],
)
def test_a_reader_is_told_when_other_scores_are_explained(found, quantised, told):
    expected = np.array([SCORES])
    difference, notices = compare_forward(np.array(found), expected, quantised=quantised)
    assert difference == pytest.approx(np.linalg.norm(np.subtract(found, SCORES)) / 23**0.5)
    assert [notice.code for notice in notices] == ["FORWARD_DIFFERS"] * bool(told)
    assert all(told in notice.message for notice in notices)
