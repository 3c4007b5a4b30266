"""Factors and shifts per channel: merged into the linear layer before, gathered before the next.

BatchNormalization and what exporters make of it: Mul, Div, Add and Sub by constants that differ
between channels at most. The arithmetic is in double.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import attribute, constant_array, dims, operand, rank
from onnxplain.graph_rewrites.engine import label

from .surgery import Folded, become, constant

__all__ = ["gather_affine", "merge_affine"]

_TAKING = ("Conv", "ConvTranspose", "Gemm")  # layers that relevance lets take in what is before


class Affine(NamedTuple):
    """``y = slope x + shift``, float64 ``[C]`` or ``[1]`` each, along axis 1 of ``x``."""

    x: ir.Value
    slope: np.ndarray
    shift: np.ndarray


def merge_affine(graph: ir.Graph) -> list[Folded]:
    """Merge what follows a linear layer that feeds nothing else into it."""
    folded = []
    for node in list(graph):
        affine = _affine(node)
        layer = affine.x.producer() if affine is not None else None
        if affine is None or layer is None:
            continue
        done = Folded(label(node), label(layer))
        if _merge(graph, layer, node, affine):
            folded.append(done)
    return folded


def gather_affine(graph: ir.Graph) -> list[Folded]:
    """Make one BatchNormalization of what stands before linear layers, and before nothing else."""
    folded = []
    for node in reversed(list(graph)):
        chain: list[ir.Node | None] = []
        affine = _affine(node) if node.graph is graph else None  # one of a chain is gone already
        if affine is None or node.op_type == "BatchNormalization" or not _feeds_layers(node):
            continue
        slope, shift, x = np.ones(1), np.zeros(1), node.outputs[0]
        while affine is not None and (not chain or len(x.uses()) == 1):
            chain.append(x.producer())
            slope, shift, x = slope * affine.slope, slope * affine.shift + shift, affine.x
            before = x.producer()
            affine = None if before is None else _affine(before)
        channels = dims(x)[1]
        if channels is None:
            continue
        values = [np.broadcast_to(array, channels) for array in (slope, shift)]
        values += [np.zeros(channels), np.ones(channels)]
        dtype = np.dtype(np.float32) if x.dtype is None else x.dtype.numpy()
        inputs = [constant(graph, f"{label(node)}/gathered", array, dtype) for array in values]
        become(graph, node, "BatchNormalization", [x, *inputs], {"epsilon": 0.0})
        folded.append(Folded(" + ".join(label(n) for n in reversed(chain) if n), label(node)))
    return folded


def _feeds_layers(node: ir.Node) -> bool:
    y = node.outputs[0]
    users = [user for user, index in y.uses() if index == 0]
    every = len(users) == len(y.uses()) and not y.is_graph_output()
    return bool(users) and every and all(user.op_type in _TAKING for user in users)


def _affine(node: ir.Node) -> Affine | None:
    """Return what the node does to its input, ``None`` where that is not affine per channel."""
    if node.domain != "":
        return None
    if node.op_type == "BatchNormalization":
        return _normalisation(node)
    if node.op_type not in ("Add", "Div", "Mul", "Sub"):
        return None
    arrays = [constant_array(value) for value in node.inputs]
    if sum(array is None for array in arrays) != 1:
        return None
    index = 0 if arrays[0] is None else 1
    number = _per_channel(arrays[1 - index], operand(node, index))
    if number is None:
        return None
    one, nothing = np.ones(1), np.zeros(1)
    if node.op_type == "Mul":
        found = (number, nothing)
    elif node.op_type == "Add":
        found = (one, number)
    elif node.op_type == "Sub":
        found = (one, -number) if index == 0 else (-one, number)
    elif index == 0 and number.all():
        found = (1 / number, nothing)
    else:
        return None
    return Affine(operand(node, index), *found)


def _normalisation(node: ir.Node) -> Affine | None:
    parameters = [constant_array(value) for value in node.inputs[1:5]]
    if attribute(node, "training_mode", 0) or any(array is None for array in parameters):
        return None
    scale, shift, mean, variance = (np.asarray(array, np.float64) for array in parameters)
    slope = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return Affine(operand(node), slope, shift - mean * slope)


def _per_channel(array: np.ndarray | None, x: ir.Value) -> np.ndarray | None:
    """Return a constant operand as ``[C]`` or ``[1]``; ``None`` where it varies elsewhere."""
    n, sizes = rank(x), dims(x)
    if array is None or n is None or n < 2 or array.ndim > n or array.dtype.kind != "f":
        return None
    shape = (1,) * (n - array.ndim) + array.shape
    others = shape[:1] + shape[2:]
    if any(size != 1 for size in others) or (shape[1] != 1 and shape[1] != sizes[1]):
        return None
    return array.astype(np.float64).reshape(-1)


def _merge(graph: ir.Graph, layer: ir.Node, node: ir.Node, affine: Affine) -> bool:
    weight = constant_array(layer.inputs[1]) if len(layer.inputs) > 1 else None
    y = layer.outputs[0]
    if weight is None or len(y.uses()) != 1 or y.is_graph_output():
        return False
    axis = _output_axis(layer, weight)
    if axis is None:
        return False
    group = attribute(layer, "group", 1)
    count = weight.shape[axis] * (group if layer.op_type == "ConvTranspose" else 1)
    slope = np.broadcast_to(affine.slope, count)
    given = layer.inputs[2] if len(layer.inputs) > 2 else None
    bias = np.zeros(1) if given is None else constant_array(given)
    if bias is None or not (bias.size == 1 or bias.shape[-1] == bias.size == count):
        return False
    new_weight = _scaled(weight, slope, axis, group)
    new_bias = np.broadcast_to(bias.reshape(-1) * slope + affine.shift, count)
    stem = label(layer)
    inputs = [layer.inputs[0], constant(graph, f"{stem}/merged_weight", new_weight, weight.dtype)]
    inputs.append(constant(graph, f"{stem}/merged_bias", new_bias, weight.dtype))
    attributes = {name: attribute(layer, name) for name in layer.attributes}
    name = layer.name
    op_type = "Gemm" if layer.op_type == "MatMul" else layer.op_type
    become(graph, node, op_type, inputs, attributes)
    node.name = name
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
    matrices = layer.op_type == "MatMul" and weight.ndim == rank(layer.outputs[0]) == 2
    return 1 if matrices else None


def _scaled(weight: np.ndarray, slope: np.ndarray, axis: int, group: int) -> np.ndarray:
    if axis == 1 and weight.ndim > 2 and group > 1:  # ConvTranspose: [C, M / group, ...]
        per_group = slope.reshape(group, 1, -1, *[1] * (weight.ndim - 2))
        apart = weight.reshape(group, -1, *weight.shape[1:])
        return np.asarray(apart * per_group).reshape(weight.shape)
    shape = [-1 if position == axis else 1 for position in range(weight.ndim)]
    return np.asarray(weight * slope.reshape(shape))
