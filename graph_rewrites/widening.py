"""Half precision computed in single: derivatives in float16 overflow and vanish."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["widen_halves"]

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_SINGLE = ir.DataType.FLOAT
_TYPE_ATTRIBUTES = ("to", "dtype")


def widen_halves(model: ir.Model) -> None:
    """Turn every float16 and bfloat16 tensor of the graph into float32, its weights exactly.

    The model's inputs and outputs keep their types.
    """
    graph = model.graph
    if not any(value.dtype in _HALF for value in _values(graph)):
        return
    for initializer in graph.initializers.values():
        tensor = initializer.const_value
        if tensor is not None and tensor.dtype in _HALF:
            wide = np.asarray(tensor.numpy()).astype(np.float32)
            initializer.const_value = ir.tensor(wide, name=initializer.name)
    for node in graph:
        _widen_attributes(node)
    ends = {value: value.dtype for value in graph.outputs if value.dtype in _HALF}
    for value in _values(graph):
        if value.dtype in _HALF and not value.is_graph_input():
            value.type = ir.TensorType(_SINGLE)
    for value in graph.inputs:
        if value.dtype in _HALF:
            _cast_input(graph, value)
    for index, value in enumerate(graph.outputs):
        if value in ends:
            graph.outputs[index] = _cast_output(graph, value, ends[value] or _SINGLE)


def _values(graph: ir.Graph) -> list[ir.Value]:
    of_nodes = [output for node in graph for output in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *of_nodes]


def _widen_attributes(node: ir.Node) -> None:
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in _HALF:
            wide = np.asarray(attribute.value.numpy()).astype(np.float32)
            node.attributes[name] = ir.AttrTensor(name, ir.tensor(wide))
        elif name in _TYPE_ATTRIBUTES and attribute.value in [int(half) for half in _HALF]:
            node.attributes[name] = ir.AttrInt64(name, int(_SINGLE))


def _cast_input(graph: ir.Graph, value: ir.Value) -> None:
    cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(_SINGLE))], num_outputs=1)
    wide = cast.outputs[0]
    wide.name, wide.shape, wide.type = f"{value.name}/wide", value.shape, ir.TensorType(_SINGLE)
    value.replace_all_uses_with(wide)
    cast.replace_input_with(0, value)
    graph.insert_before(graph[0], cast)


def _cast_output(graph: ir.Graph, value: ir.Value, half: ir.DataType) -> ir.Value:
    """Return a new output of the old name and type; the wide value is renamed."""
    name = value.name
    value.name = f"{name}/wide"
    cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(half))], num_outputs=1)
    narrow = cast.outputs[0]
    narrow.name, narrow.shape, narrow.type = name, value.shape, ir.TensorType(half)
    graph.append(cast)
    return narrow
