"""Linear layers taken apart: their output and their adjoint for modified inputs and weights."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, dims, operand, rank
from onnxplain.graph_rewrites.engine import UnsupportedNodeError

from .convolution import Modify, convolution_adjoint, transposed_pads, window

__all__ = ["CONVOLUTIONS", "LINEAR", "Layer"]

CONVOLUTIONS = ("Conv", "ConvTranspose")
LINEAR = (*CONVOLUTIONS, "Gemm", "MatMul")


@dataclass(frozen=True)
class Layer:
    """A linear layer ``y = W x + b`` with constant weights."""

    op: Builder
    node: ir.Node

    def __post_init__(self) -> None:
        if constant_array(self.weight) is None:
            raise UnsupportedNodeError("its weights are computed from the input")
        if self.node.op_type == "Gemm" and (
            attribute(self.node, "transA", 0)
            or attribute(self.node, "alpha", 1.0) != 1.0
            or attribute(self.node, "beta", 1.0) != 1.0
        ):
            raise UnsupportedNodeError("its alpha or beta is not 1, or its input is transposed")

    @property
    def x(self) -> ir.Value:
        """The input."""
        return operand(self.node, 0)

    @property
    def y(self) -> ir.Value:
        """The output."""
        return self.node.outputs[0]

    @property
    def weight(self) -> ir.Value:
        """The weights."""
        return operand(self.node, 1)

    @property
    def bias(self) -> ir.Value | None:
        """The bias, if there is one."""
        return self.node.inputs[2] if len(self.node.inputs) > 2 else None

    @property
    def _kernel(self) -> tuple[int, ...]:
        array = constant_array(self.weight)
        return () if array is None else array.shape[2:]

    def forward(self, x: ir.Value, weights: Modify, bias: Modify | None) -> ir.Value:
        """Return ``weights(W) x + bias(b)``, without a bias where it is ``None``."""
        op, node = self.op, self.node
        operands = [x, weights(op, self.weight)]
        if bias is not None and self.bias is not None:
            operands.append(bias(op, self.bias))
        attributes = {name: attribute(node, name) for name in node.attributes}
        return getattr(op, node.op_type)(*operands, **attributes)  # type: ignore[no-any-return]

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
