"""A file made for one image runs several at once where that gives what each gives alone."""

import numpy as np
import pytest
from onnx import helper
from onnxplain.explainers import load

from tests.models import classifier

TENSOR = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
METHODS = {
    "gradient": {},
    "lrp": {},
    "integrated_gradients": {"n_steps": 4, "batch_size": 4},
    "rise": {"n_samples": 30, "batch_size": 4},
}


def fixed(*nodes, n_features=4 * 8 * 8, ir_version=None, **weights):
    """A model for one image: from convolution ``a`` through ``nodes`` to features, to scores."""
    random = np.random.default_rng(1)
    own = {"w": random.normal(size=(4, 3, 3, 3)), "fc": random.normal(size=(n_features, 5))}
    first = [
        helper.make_node("Conv", ["image", "w"], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["z"], ["a"]),
    ]
    last = [helper.make_node("MatMul", ["features", "fc"], ["logits"])]
    model = classifier([*first, *nodes, *last], own | weights, size=8)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    if ir_version:
        model.ir_version = ir_version
        model.opset_import[0].version = 8
        for tensor in model.graph.initializer:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(info)
    return model


def node(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs.split(), [output], **attributes)


FLAT = node("Reshape", "a flat", "features")
SEVERAL = {
    "reshape": fixed(FLAT, flat=np.array([1, 256])),
    "of ir version 3": fixed(FLAT, flat=np.array([1, -1]), ir_version=3),
    "constant in a node": fixed(
        node("Constant", "", "flat", value_ints=[1, 256]), node("Reshape", "a flat", "features")
    ),
    "shuffle": fixed(
        node("Reshape", "a groups", "grouped"),
        node("Transpose", "grouped", "mixed", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "mixed flat", "features"),
        groups=np.array([1, 2, 2, 8, 8]),
        flat=np.array([1, 256]),
    ),
    "resize": fixed(
        helper.make_node("Resize", ["a", "", "", "sizes"], ["r"]),
        node("Flatten", "r", "features"),
        sizes=np.array([1, 4, 4, 4]),
        n_features=64,
    ),
}
ONE = {
    "a row is written into the file": fixed(
        node("Concat", "a token", "longer", axis=2),
        node("Reshape", "longer flat", "features"),
        token=np.ones((1, 4, 1, 8)),
        flat=np.array([1, 288]),
        n_features=288,
    ),
    "rows are mixed": fixed(
        node("ReduceMean", "a first", "mean", keepdims=1),
        node("Sub", "a mean", "b"),
        node("Mul", "mean half", "c"),
        node("Add", "b c", "d"),
        node("Reshape", "d flat", "features"),
        first=np.array([0]),
        half=np.array(0.5),
        flat=np.array([1, 256]),
    ),
    "the first row is taken": fixed(
        node("Gather", "a zero", "row", axis=0),
        node("Reshape", "row flat", "features"),
        zero=np.array([0]),
        flat=np.array([1, 256]),
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*SEVERAL, *ONE])
def test_rows_are_explained_as_each_alone(name, method):
    model = load(SEVERAL[name] if name in SEVERAL else ONE[name])
    options = {"method": method, "target": 1, **METHODS[method]}
    found = model.explain(tensor=TENSOR, **options)
    for row, together in zip(TENSOR, found, strict=True):
        alone = model.explain(tensor=row, **options)
        np.testing.assert_allclose(together.heatmap, alone.heatmap, rtol=1e-4, atol=1e-6)
        assert alone.heatmap.any()
        if "batch_size" in options:
            assert together.provenance.batch_size == (4 if name in SEVERAL else 1)
        assert "BATCH" not in " ".join(notice.code for notice in together.warnings)
