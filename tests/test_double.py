"""The corrections of the reference evaluator agree with onnxruntime."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.double import CORRECTED

WINDOWS = [
    {"pads": [1, 1, 1, 1]},
    {"pads": [1, 0, 0, 1], "strides": [2, 1]},
    {"strides": [2, 2], "ceil_mode": 1},
    {"pads": [1, 1, 1, 1], "strides": [2, 3], "ceil_mode": 1},
    {"dilations": [2, 1]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID", "strides": [2, 2]},
]
CASES = [
    ("Erf", 1, {}),
    ("Gelu", 1, {}),
    ("Gelu", 1, {"approximate": "tanh"}),
    *(("LRN", 1, {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 2.0}) for size in (1, 3, 5)),
    ("MeanVarianceNormalization", 1, {"axes": [1, 3]}),
    *(("MaxPool", 2, {"kernel_shape": [3, 2], **window}) for window in WINDOWS),
    *(
        ("AveragePool", 1, {"kernel_shape": [3, 2], "count_include_pad": counted, **window})
        for window in WINDOWS
        for counted in (0, 1)
    ),
]


@pytest.mark.parametrize(("op_type", "n_outputs", "attributes"), CASES)
def test_a_correction_gives_what_onnxruntime_gives(op_type, n_outputs, attributes):
    names = ["y", "indices"][:n_outputs]
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x"], names, **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6, 9, 8])],
        [
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in zip(names, (TensorProto.FLOAT, TensorProto.INT64), strict=False)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = np.maximum(np.random.default_rng(0).normal(size=(2, 6, 9, 8)), 0).astype(np.float32)
    expected = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    found = ReferenceEvaluator(model, new_ops=CORRECTED).run(None, {"x": x})
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("opset", [9, 15])
def test_batch_normalisation_uses_the_statistics_given_at_every_opset(opset):
    nodes = """
        <ir_version: 8, opset_import: ["" : %d]>
        g (float[2,3,4,4] x, float[3] s, float[3] b, float[3] m, float[3] v) => (float[2,3,4,4] y)
        { y = BatchNormalization <epsilon=0.01> (x, s, b, m, v) }
    """
    model = onnx.parser.parse_model(nodes % opset)
    random = np.random.default_rng(0)
    feeds = {name: random.uniform(1, 2, 3).astype(np.float32) for name in "sbmv"}
    feeds["x"] = random.normal(size=(2, 3, 4, 4)).astype(np.float32)
    (expected,) = ort.InferenceSession(model.SerializeToString()).run(None, feeds)
    (found,) = ReferenceEvaluator(model, new_ops=CORRECTED).run(None, feeds)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
