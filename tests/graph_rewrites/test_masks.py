import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnxplain.graph_rewrites.builder import Builder
from onnxplain.graph_rewrites.rules.masks import above, below

from tests.double import evaluate

TINY, HUGE = np.finfo(np.float32).tiny, np.finfo(np.float32).max


def masks(bound, n):
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([n]))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 21}, name="masks")
    op = Builder(graph)
    for name, mask in (("above", above), ("below", below)):
        made = mask(op, x, bound)
        made.name, made.shape, made.type = name, x.shape, x.type
        graph.outputs.append(made)
    return ir.to_proto(ir.Model(graph, ir_version=10))


@pytest.mark.parametrize("number", [0, 1, 3, 6, 20, 1e-3, 1e-20, 1e30, -1, -6, -1e-3, -1e30])
def test_masks_are_comparisons(number):
    bound = np.float32(number)
    x = np.float32([bound, 0, TINY, -TINY, 1e-30, 0.5, -0.5, 5.5, -5.5, 1e10, -1e10, HUGE, -HUGE])
    if number:
        near = [np.nextafter(bound, np.float32(end)) for end in (-np.inf, np.inf)]
        x = np.append(x, np.float32(near))
    model = masks(float(bound), len(x))
    in_single = ort.InferenceSession(model.SerializeToString()).run(["above", "below"], {"x": x})
    in_double = evaluate(model, {"x": x})
    for index, (name, expected) in enumerate((("above", x > bound), ("below", x < bound))):
        np.testing.assert_array_equal(in_single[index], expected)
        np.testing.assert_array_equal(in_double[name], expected)
