"""Methods of forward passes see the same in a model however it takes its picture."""

import functools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxplain.explainers import load
from onnxplain.graph_rewrites import Access, list_methods

METHODS = [method.name for method in list_methods() if method.access is Access.FORWARD]
OPTIONS = {
    "sensitivity": {"granularity": "patch", "patch": 4, "step": 4 / 255, "score": "logit"},
    "occlusion": {"patch": 4, "baseline": "black"},
    "rise": {"n_samples": 40, "baseline": "black"},
}
SIZES = {"small": (8, 12), "wide": (24, 40)}
RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.normal(size=(6, 3, 3, 3)).astype(np.float32)
HEAD = 0.2 * RANDOM.normal(size=(1, 6)).astype(np.float32)


@functools.cache
def model(size, *, grey=False, nhwc=False, uint8=False, sigmoid=False):
    """Return a model of one function, of two classes or the second alone, and its preprocessing."""
    height, width = SIZES[size]
    channels = 1 if grey else 3
    weights = WEIGHTS.sum(axis=1, keepdims=True) if grey else WEIGHTS
    head = HEAD if sigmoid else np.concatenate([0 * HEAD, HEAD])
    x, nodes = "image", []

    def add(op_type, *inputs, **attributes):
        nonlocal x
        nodes.append(helper.make_node(op_type, [x, *inputs], [f"t{len(nodes)}"], **attributes))
        x = nodes[-1].output[0]

    if uint8:  # the preprocessing is part of the graph
        add("Cast", to=TensorProto.FLOAT)
        add("Div", "half")
        add("Sub", "one")
    if nhwc:
        add("Transpose", perm=[0, 3, 1, 2])
    add("Conv", "weights", pads=[1, 1, 1, 1])
    add("Relu")
    add("GlobalAveragePool")
    add("Flatten")
    add("Gemm", "head", transB=1)
    add("Sigmoid") if sigmoid else add("Softmax", axis=1)
    shape = [height, width, channels] if nhwc else [channels, height, width]
    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    constants = {"weights": weights, "head": head, "half": 127.5, "one": 1}
    graph = helper.make_graph(
        nodes,
        "same",
        [helper.make_tensor_value_info("image", kind, ["N", *shape])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", len(head)])],
        [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    preprocessing = {
        "layout": "NHWC" if nhwc else "NCHW",
        "colour": "GRAY" if grey else "RGB",
        "range": [0, 255] if uint8 else [-1, 1],
        "dtype": "uint8" if uint8 else "float32",
    }
    return load(made, preprocessing=preprocessing)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["grey", "nhwc", "uint8", "sigmoid", "nhwc uint8 sigmoid"])
@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_the_plain_model(method, form, size):
    height, width = SIZES[size]
    rows, columns = np.mgrid[:height, :width]
    values = 120 + 80 * np.sin(rows / 3) * np.cos(columns / 5) + RANDOM.integers(0, 20, rows.shape)
    picture = values.astype(np.uint8)[..., None].repeat(1 if form == "grey" else 3, axis=-1)
    if form != "grey":
        picture = picture // np.array([1, 2, 3], np.uint8)
    forms = dict.fromkeys(form.split(), True)
    options = OPTIONS.get(method, {"n_samples": 40, "fill": "black"})
    found = model(size, **forms).explain(
        picture, method=method, target=0 if "sigmoid" in forms else 1, **options
    )
    as_rgb = np.broadcast_to(picture, (height, width, 3))
    plain = model(size).explain(as_rgb, method=method, target=1, **options)
    assert found.heatmap.shape == (height, width)
    assert found.heatmap.any()
    expected, tolerance = plain.heatmap, 2e-3
    if "uint8" in forms and method == "sensitivity":
        expected = expected / 127.5  # per level
    if "uint8" in forms and method == "rise":
        tolerance = 2e-2  # half-hidden pixels are rounded to levels
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(found.heatmap, expected, rtol=0, atol=atol)
    if found.segments is not None:
        assert set(found.segments.flat) == set(range(len(found.coefficients)))
