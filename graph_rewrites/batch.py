"""Batches: a file made for one image, made to take any number at once."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
from onnx_ir.passes import common as passes

from .builder import constant_array, dims
from .patterns.surgery import constant

__all__ = ["free_batch"]

_WEIGHTS_ARE_NO_INPUTS = 4  # the IR version since which they need not be
_SIZES = {"Reshape": 1, "Resize": 3}  # where an operator is told the sizes of its output


def free_batch(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return a model whose file says one image a batch with that number left open.

    What a Reshape or a Resize is told of it is read from its input instead. Whether the rows leave
    each other alone then must be tried: sizes may be baked in elsewhere.

    Parameters
    ----------
    model
        A model with all its weights, as `read_model` returns it; it is not changed.

    Returns
    -------
    onnx.ModelProto or None
        ``None`` where the batch is not 1, or there is what is not looked into: further inputs,
        control flow.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    sizes = [size.dim_value for value in inputs for size in value.type.tensor_type.shape.dim[:1]]
    if len(inputs) != 1 or sizes != [1]:
        return None
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        freed = ir.from_proto(model)
        freed.ir_version = max(freed.ir_version, _WEIGHTS_ARE_NO_INPUTS)
        passes.RemoveInitializersFromInputsPass()(freed)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(freed)
        passes.ShapeInferencePass()(freed)
    except (RuntimeError, ValueError, TypeError):  # the inliner's and the checker's errors
        return None
    graph = freed.graph
    if any(_has_graph(node) for node in graph):
        return None
    varying = set(graph.inputs)
    for node in list(graph):
        if not varying.isdisjoint(node.inputs):
            varying |= {*node.outputs}
            _read_batch(graph, node)
    for value in varying:
        if not (value.is_graph_input() or value.is_graph_output()):
            value.shape = None
        elif dims(value)[:1] == (1,):
            value.shape = ir.Shape(["batch", *list(value.shape or ())[1:]])
    return ir.to_proto(freed)


def _has_graph(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(given.type in kinds for given in node.attributes.values())


def _read_batch(graph: ir.Graph, node: ir.Node) -> None:
    """Let a node that is told sizes, the batch's 1 among them, take that one from its input."""
    index = _SIZES.get(node.op_type)
    if index is None or len(node.inputs) <= index or node.domain != "":
        return
    x, told = node.inputs[0], constant_array(node.inputs[index])
    if x is None or told is None or told[:1].tolist() != [1]:
        return
    if dims(x)[:1] != (1,) and (dims(x)[:1] not in ((), (None,)) or -1 in told):
        return  # of an unknown first size, the others must say that it is 1
    name = f"{node.outputs[0].name}/sizes"
    if node.op_type == "Reshape":
        sizes = constant(graph, name, np.array([0, *told[1:]]), told.dtype)
        node.attributes.pop("allowzero", None)
    else:
        rest = constant(graph, f"{name}/rest", told[1:], told.dtype)
        first = constant(graph, f"{name}/first", np.array([0]), np.dtype(np.int64))
        shape = ir.node("Shape", [x])
        batch = ir.node("Gather", [shape.outputs[0], first], {"axis": 0})
        whole = ir.node("Concat", [batch.outputs[0], rest], {"axis": 0})
        for made, suffix in ((shape, "/shape"), (batch, "/batch"), (whole, "")):
            made.name = made.outputs[0].name = name + suffix
            graph.insert_before(node, made)
        sizes = whole.outputs[0]
    node.replace_input_with(index, sizes)
