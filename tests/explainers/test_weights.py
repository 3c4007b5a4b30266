"""Weights reach onnxruntime beside the model, whatever their types, and are the same."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnxplain.explainers.control import Control
from onnxplain.explainers.session import CPU, Session
from onnxplain.explainers.weights import detach_weights
from onnxplain.graph_rewrites import FailedPrecondition

TYPES = [
    np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.uint8, np.int32, np.int64,
    np.bool_,
]  # fmt: skip
SIZE = 4096


def model(ir_version=10, opset=21):
    """A model that gives its weights as they are, one output for each type."""
    graph = helper.make_graph([], "weights", [], [])
    graph.input.add().CopyFrom(helper.make_tensor_value_info("x", 1, []))
    random = np.random.default_rng(0)
    for index, dtype in enumerate(TYPES):
        array = random.integers(0, 2 if dtype is np.bool_ else 100, SIZE).astype(dtype)
        tensor = numpy_helper.from_array(array, f"w{index}")
        graph.initializer.append(tensor)
        graph.node.append(helper.make_node("Cast", [f"w{index}"], [f"y{index}"], to=1))
        graph.output.append(helper.make_tensor_value_info(f"y{index}", 1, [SIZE]))
    graph.initializer.append(helper.make_tensor("listed", 1, [SIZE], np.ones(SIZE)))
    graph.initializer.append(numpy_helper.from_array(np.ones(SIZE, np.float32), "unused"))
    graph.node.append(helper.make_node("Add", ["listed", "x"], ["listed_y"]))
    graph.output.append(helper.make_tensor_value_info("listed_y", 1, [SIZE]))
    if ir_version < 4:  # these list their weights as inputs
        for tensor in graph.initializer:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


@pytest.mark.parametrize(("ir_version", "opset"), [(10, 21), (3, 13)])
def test_a_session_computes_with_the_models_weights(ir_version, opset):
    given = model(ir_version, opset)
    before = given.SerializeToString()
    names = [value.name for value in given.graph.output]
    x = {"x": np.array(2, np.float32)}
    expected = ort.InferenceSession(before).run(names, x)
    for found, right in zip(Session(given, CPU, 1).run(x, names, Control()), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    assert given.SerializeToString() == before


def test_what_is_serialised_does_not_grow_with_the_weights():
    given = model()
    bare, weights = detach_weights(given)
    left = onnx.load_from_string(bare)
    assert len(bare) < 20_000 + SIZE * (4 + 4)  # numbers in a list, and unused
    assert sum(value.tensor_size_in_bytes() for value in weights.values()) == SIZE * (
        4 + 8 + 2 + 2 + 3 + 4 + 8
    )
    assert len(left.graph.initializer) == len(given.graph.initializer)


def test_weights_that_do_not_fill_their_shape_are_refused_as_a_model_that_does_not_run():
    given = model()
    given.graph.initializer[0].dims[0] = SIZE + 1
    with pytest.raises(FailedPrecondition) as refused:
        Session(given, CPU, 1)
    assert refused.value.reason == "MODEL_NOT_RUNNABLE"
