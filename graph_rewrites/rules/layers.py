"""Linear layers taken apart: their output and their adjoint for modified inputs and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, dims, operand, rank
from onnxplain.graph_rewrites.engine import UnsupportedNodeError

from .convolution import Modify, convolution_adjoint, transposed_pads, window

__all__ = [
    "CONVOLUTIONS", "LINEAR", "Layer", "behind_norm", "bias_after", "is_layer", "is_mergeable",
    "layer_of",
]  # fmt: skip

CONVOLUTIONS = ("Conv", "ConvTranspose")
LINEAR = (*CONVOLUTIONS, "Gemm", "MatMul")


@dataclass(frozen=True)
class Layer:
    """A linear layer ``y = W x + b`` with constant weights.

    The bias is ``[M]``, or a map that varies with the place, broadcastable to ``y``.
    """

    op: Builder
    node: ir.Node
    x: ir.Value
    weight: ir.Value
    bias: ir.Value | None

    @property
    def y(self) -> ir.Value:
        """The output, with the bias."""
        after = bias_after(self.node)
        return self.node.outputs[0] if after is None else after.outputs[0]

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the input's shape, whatever its dynamic sizes."""
        sizes = dims(self.x)
        if sizes != dims(self.y) or None not in sizes[2:]:
            return sizes == dims(self.y)
        if self.node.op_type != "Conv":
            return False
        win = window(self.node, self._kernel)
        reaches = [d * (k - 1) for d, k in zip(win.dilations, win.kernel, strict=True)]
        pads = [a + b for a, b in zip(win.pads_begin, win.pads_end, strict=True)]
        return {*win.strides} == {1} and pads == reaches

    @property
    def _kernel(self) -> tuple[int, ...]:
        array = constant_array(self.weight)
        return () if array is None else array.shape[2:]

    def forward(
        self, x: ir.Value, weights: Modify, bias: Modify | None, plus: float = 0.0
    ) -> ir.Value:
        """Return ``weights(W) x + bias(b) + plus``, without a bias where it is ``None``."""
        op, operands = self.op, [x, weights(self.op, self.weight)]
        extra = None if bias is None or self.bias is None else bias(op, self.bias)
        inside = self.node.op_type != "MatMul" and (extra is None or not self._has_bias_map)
        if plus:
            extra = self._bias_of(plus) if extra is None else op.Add(extra, plus)
        if extra is not None and inside:
            operands.append(extra)
        attributes = {name: attribute(self.node, name) for name in self.node.attributes}
        y: ir.Value = getattr(op, self.node.op_type)(*operands, **attributes)
        return y if extra is None or inside else op.Add(y, extra)

    def _bias_of(self, number: float) -> ir.Value:
        array = np.asarray(constant_array(self.weight))
        if self.node.op_type == "ConvTranspose":
            count = array.shape[1] * attribute(self.node, "group", 1)
        elif self.node.op_type == "Conv" or attribute(self.node, "transB", 0):
            count = array.shape[0]
        else:
            count = array.shape[-1]
        return self.op.constant(np.full(count, number, array.dtype))

    @property
    def _has_bias_map(self) -> bool:
        return self.bias is not None and constant_array(self.bias) is None

    def adjoint(self, dy: ir.Value, weights: Modify) -> ir.Value:
        """Return ``weights(W)^T dy``, shaped like the input."""
        op, node = self.op, self.node
        if node.op_type == "Conv":
            if rank(self.x) is None or rank(self.y) is None:
                raise UnsupportedNodeError("the rank of its input is unknown")
            win = window(node, self._kernel)
            group = attribute(node, "group", 1)
            return convolution_adjoint(
                op, dy, self.weight, group, win, self.x, self.y, modify=weights
            )
        weight = weights(op, self.weight)
        if node.op_type == "ConvTranspose":
            names = [name for name in ("dilations", "group", "strides") if name in node.attributes]
            attributes = {name: attribute(node, name) for name in names}
            pads = transposed_pads(node, self._kernel)
            return op.Conv(dy, weight, pads=pads, **attributes)
        if node.op_type == "Gemm":
            return op.Gemm(dy, weight, transB=1 - attribute(node, "transB", 0))
        axes = list(range(len(dims(self.weight))))
        if len(axes) != 2:
            raise UnsupportedNodeError("its weights are no matrix")
        return op.MatMul(dy, op.Transpose(weight, perm=[1, 0]))


def is_layer(node: ir.Node) -> bool:
    """Return whether the node is one with weights, not a matrix product of two other kinds."""
    return node.op_type in CONVOLUTIONS or (
        node.op_type in LINEAR and constant_array(operand(node, 1)) is not None
    )


def bias_after(node: ir.Node) -> ir.Node | None:
    """Return the Add that gives a MatMul its bias, a number for each of the last axis."""
    y = node.outputs[0]
    if node.op_type != "MatMul" or len(y.uses()) != 1 or y.is_graph_output():
        return None
    ((user, _),) = y.uses()
    if user.op_type != "Add" or not is_layer(node):
        return None
    arrays = [array for value in user.inputs if (array := constant_array(value)) is not None]
    size = np.asarray(constant_array(operand(node, 1))).shape[-1]
    fits = len(arrays) == 1 and arrays[0].shape[-1:] == (size,) and arrays[0].size == size
    return user if fits and rank(user.outputs[0]) == rank(y) else None


def layer_of(op: Builder, node: ir.Node) -> Layer:
    """Return the node as a linear layer."""
    weight, bias = operand(node, 1), node.inputs[2] if len(node.inputs) > 2 else None
    after = bias_after(node)
    if after is not None:
        bias = next(value for value in after.inputs if constant_array(value) is not None)
    if constant_array(weight) is None:
        raise UnsupportedNodeError("its weights are computed from the input")
    if bias is not None and constant_array(bias) is None:
        raise UnsupportedNodeError("its bias is computed from the input")
    if node.op_type == "Gemm" and (
        attribute(node, "transA", 0)
        or attribute(node, "alpha", 1.0) != 1.0
        or attribute(node, "beta", 1.0) != 1.0
    ):
        raise UnsupportedNodeError("its alpha or beta is not 1, or its input is transposed")
    return Layer(op, node, operand(node), weight, bias)


def is_mergeable(norm: ir.Node) -> bool:
    """Return whether every user of a BatchNormalization is a layer that can take it in."""
    if norm.op_type != "BatchNormalization" or norm.outputs[0].is_graph_output():
        return False
    known = all(constant_array(value) is not None for value in norm.inputs[1:5])
    users = norm.outputs[0].uses()
    linear = all(
        user.op_type in LINEAR and index == 0 and constant_array(user.inputs[1]) is not None
        for user, index in users
    ) and (
        rank(norm.outputs[0]) == 2 or not any(user.op_type == "MatMul" for user, _ in users)
    )  # a MatMul takes the last axis, a normalisation lies along axis 1
    return known and linear and not attribute(norm, "training_mode", 0)


def behind_norm(op: Builder, node: ir.Node, norm: ir.Node) -> Layer:
    """Return the linear layer ``node`` with the BatchNormalization before it made part of it.

    ``W (s x + t) + b = (W s) x + (W t + b)``, where zeros that the layer pads with are no ``t``:
    the bias then varies with the place, and is computed by the layer itself.
    """
    layer = layer_of(op, node)
    scale, shift, mean, variance = (
        np.asarray(constant_array(value), np.float64) for value in norm.inputs[1:5]
    )
    slope = scale / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    offset = shift - mean * slope
    array = np.asarray(constant_array(layer.weight))
    weight = op.constant((array * _along_input(node, array, slope)).astype(array.dtype))
    if node.op_type in CONVOLUTIONS:
        spatial = [1] * (array.ndim - 2)
        constant = op.constant(offset.astype(array.dtype).reshape(1, -1, *spatial))
        sizes = [1, *dims(layer.x)[1:]]
        shape = op.Concat([1], op.Shape(layer.x, start=1), axis=0) if None in sizes else sizes
        bias = layer.forward(op.Expand(constant, shape), _itself, _itself)
        return Layer(op, node, operand(norm), weight, bias)
    total = offset @ (array.T if attribute(node, "transB", 0) else array)
    if layer.bias is not None:
        total = total + np.asarray(constant_array(layer.bias)).reshape(-1)
    return Layer(op, node, operand(norm), weight, op.constant(total.astype(array.dtype)))


def _itself(op: Builder, value: ir.Value) -> ir.Value:
    return value


def _along_input(node: ir.Node, weight: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return a factor per input channel, broadcastable to the weights."""
    spatial = [1] * (weight.ndim - 2)
    if node.op_type == "Conv":
        group = attribute(node, "group", 1)
        of_group = np.repeat(slope.reshape(group, 1, -1), weight.shape[0] // group, axis=1)
        return of_group.reshape(weight.shape[0], -1, *spatial)
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        return slope.reshape(1, -1)
    return slope.reshape(-1, 1, *spatial)
