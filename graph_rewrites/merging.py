"""BatchNormalization merged into the linear layer before it; the outputs stay the same."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .builder import attribute, constant_array

__all__ = ["merge_batch_norms"]


def merge_batch_norms(graph: ir.Graph) -> list[str]:
    """Merge every BatchNormalization into the Conv, ConvTranspose or Gemm before it.

    Only where that layer feeds nothing else. The arithmetic is in double.

    Returns
    -------
    list of str
        The names of the nodes that are gone.
    """
    merged = []
    for node in list(graph):
        if node.op_type != "BatchNormalization" or node.domain != "" or node.inputs[0] is None:
            continue
        layer = node.inputs[0].producer()
        if layer is not None and _merge(graph, layer, node):
            merged.append(node.name or "")
    return merged


def _merge(graph: ir.Graph, layer: ir.Node, norm: ir.Node) -> bool:
    parameters = [constant_array(value) for value in norm.inputs[1:5]]
    weight = constant_array(layer.inputs[1]) if len(layer.inputs) > 1 else None
    alone = len(layer.outputs[0].uses()) == 1 and not layer.outputs[0].is_graph_output()
    if weight is None or not alone or any(array is None for array in parameters):
        return False
    axis = _output_axis(layer, weight)
    if axis is None:
        return False
    scale, shift, mean, variance = (np.asarray(array, np.float64) for array in parameters)
    slope = scale / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    bias_value = layer.inputs[2] if len(layer.inputs) > 2 else None
    bias = np.zeros(len(slope)) if bias_value is None else constant_array(bias_value)
    if bias is None:
        return False
    new_weight = _scaled(weight, slope, axis, attribute(layer, "group", 1))
    new_bias = (bias.reshape(-1) - mean) * slope + shift
    stem = layer.name or layer.outputs[0].name or "layer"
    inputs = [layer.inputs[0], _constant(graph, f"{stem}/merged_weight", new_weight, weight.dtype)]
    inputs.append(_constant(graph, f"{stem}/merged_bias", new_bias, weight.dtype))
    new = ir.Node("", layer.op_type, inputs, list(layer.attributes.values()), num_outputs=1)
    new.name = layer.name
    old = norm.outputs[0]
    new.outputs[0].name, new.outputs[0].type, new.outputs[0].shape = old.name, old.type, old.shape
    graph.insert_before(norm, new)
    ir.convenience.replace_all_uses_with(old, new.outputs[0], replace_graph_outputs=True)
    graph.remove(norm, safe=True)
    graph.remove(layer, safe=True)
    return True


def _output_axis(layer: ir.Node, weight: np.ndarray) -> int | None:
    """Return the weights' axis of the output channels; ``None`` for what cannot take a bias."""
    if layer.op_type == "Conv":
        return 0
    if layer.op_type == "ConvTranspose":
        return 1
    plain = attribute(layer, "alpha", 1.0) == 1.0 and attribute(layer, "beta", 1.0) == 1.0
    if layer.op_type == "Gemm" and plain and not attribute(layer, "transA", 0):
        return 0 if attribute(layer, "transB", 0) else 1
    return None


def _scaled(weight: np.ndarray, slope: np.ndarray, axis: int, group: int) -> np.ndarray:
    if axis == 1 and weight.ndim > 2 and group > 1:  # ConvTranspose: [C, M / group, ...]
        per_group = slope.reshape(group, 1, -1, *[1] * (weight.ndim - 2))
        apart = weight.reshape(group, -1, *weight.shape[1:])
        return np.asarray(apart * per_group).reshape(weight.shape)
    shape = [-1 if position == axis else 1 for position in range(weight.ndim)]
    return np.asarray(weight * slope.reshape(shape))


def _constant(graph: ir.Graph, name: str, array: np.ndarray, dtype: np.dtype) -> ir.Value:
    tensor = ir.tensor(array.astype(dtype), name=name)
    value = ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
    )
    graph.register_initializer(value)
    return value
