"""Operators on quantised tensors, written as the float operators between Dequantize and Quantize.

That is how ONNX and onnxruntime define them, so the outputs stay the same up to the rounding of
ties. What then is differentiated is the float operator; rounding itself passes gradients on
unchanged (straight-through, Bengio et al. 2013), see the rule of QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from .builder import attribute, constant_array

__all__ = ["decode_quantised"]

_MICROSOFT = "com.microsoft"

# What only moves or picks values: exact on the dequantised tensor, in the same scale.
_MOVES = frozenset({
    "Expand", "Flatten", "Gather", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose",
    "Unsqueeze",
})  # fmt: skip

_Quantised = tuple[ir.Value, ir.Value, ir.Value | None]
"""A quantised tensor with its scale and zero point."""


def decode_quantised(model: ir.Model) -> None:
    """Replace QLinearConv, QLinearAdd, QGemm and their like, and moves of quantised tensors."""
    graph = model.graph
    for node in list(graph):
        decode = _DECODERS.get((node.domain, node.op_type))
        if decode is not None:
            decode(_Emitter(graph, node))
        elif node.domain == "" and node.op_type in _MOVES and len(node.outputs) == 1:
            source = node.inputs[0].producer() if node.inputs[0] is not None else None
            if source is not None and source.op_type == "QuantizeLinear":
                _Emitter(graph, node).move(source)
    for node in list(graph):
        if node.op_type == "DequantizeLinear" and node.domain == "":
            _fold(graph, node)


def _fold(graph: ir.Graph, node: ir.Node) -> None:
    """Replace dequantised constants, the weights, by their values."""
    data, scale, zero = (constant_array(_optional(node, index)) for index in range(3))
    if data is None or scale is None or attribute(node, "block_size", 0):
        return
    axis = attribute(node, "axis", 1)
    shape = [-1 if i == axis % max(data.ndim, 1) else 1 for i in range(data.ndim)]
    per_axis = shape if scale.ndim == 1 and scale.size > 1 else []
    centred = data.astype(np.int32)
    if zero is not None:
        centred = centred - zero.astype(np.int32).reshape(per_axis)
    values = centred.astype(scale.dtype) * scale.reshape(per_axis)
    name = node.outputs[0].name or ""
    tensor = ir.tensor(values, name=f"{name}/folded")
    constant = ir.Value(
        name=tensor.name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(values.shape),
        const_value=tensor,
    )
    graph.register_initializer(constant)
    node.outputs[0].replace_all_uses_with(constant)
    graph.remove(node, safe=True)


class _Emitter:
    """Puts nodes before ``node`` and lets their result take its place."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph, self.node = graph, node

    def emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Value:
        node = ir.Node("", op_type, inputs, attributes, num_outputs=1)
        node.name = f"{self.node.name or self.node.op_type}/{op_type}"
        self._graph.insert_before(self.node, node)
        return node.outputs[0]

    def operand(self, first: int) -> ir.Value:
        """Return the dequantised operand whose tensor, scale and zero point begin at ``first``."""
        return self.emit("DequantizeLinear", _triple(self.node, first))

    def finish(self, value: ir.Value, scale: ir.Value | None, zero: ir.Value | None) -> None:
        """Quantise ``value`` in the place of the node's output."""
        if scale is None:
            raise ValueError(f"{self.node.op_type} {self.node.name!r} has no output scale")
        old = self.node.outputs[0]
        new = self.emit("QuantizeLinear", [value, scale, zero])
        new.name, new.type, new.shape = old.name, old.type, old.shape
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        self._graph.remove(self.node, safe=True)

    def move(self, source: ir.Node) -> None:
        """Do the same to the dequantised tensor, and quantise it as ``source`` did."""
        scale = source.inputs[1], _optional(source, 2)
        data = self.emit("DequantizeLinear", [self.node.inputs[0], *scale])
        attributes = list(self.node.attributes.values())
        moved = self.emit(self.node.op_type, [data, *self.node.inputs[1:]], attributes)
        self.finish(moved, *scale)

    def attributes(self, *without: str) -> list[ir.Attr]:
        return [item for name, item in self.node.attributes.items() if name not in without]


def _triple(node: ir.Node, first: int) -> _Quantised:
    data, scale = node.inputs[first], node.inputs[first + 1]
    if data is None or scale is None:
        raise ValueError(f"{node.op_type} {node.name!r} lacks an operand")
    return data, scale, _optional(node, first + 2)


def _optional(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _conv(emitter: _Emitter) -> None:
    """QLinearConv: the bias is int32, in the scale of input times weight."""
    node = emitter.node
    weight_scale = node.inputs[4]
    weight = _along_first_axis(emitter, _triple(node, 3))
    operands = [emitter.operand(0), weight]
    if (bias := _optional(node, 8)) is not None:
        step = emitter.emit("Mul", [node.inputs[1], weight_scale])
        as_float = emitter.emit("Cast", [bias], [ir.AttrInt64("to", int(ir.DataType.FLOAT))])
        operands.append(emitter.emit("Mul", [as_float, step]))
    emitter.finish(emitter.emit("Conv", operands, emitter.attributes()), *node.inputs[6:8])


def _along_first_axis(emitter: _Emitter, weight: _Quantised) -> ir.Value:
    """Dequantise weights whose scale is a number or one for each output channel."""
    return emitter.emit("DequantizeLinear", weight, [ir.AttrInt64("axis", 0)])


def _matmul(emitter: _Emitter) -> None:
    product = emitter.emit("MatMul", [emitter.operand(0), emitter.operand(3)])
    emitter.finish(product, *emitter.node.inputs[6:8])


def _gemm(emitter: _Emitter) -> None:
    """QGemm: the bias is int32, in the scale of A times B; B may have a scale per column."""
    node = emitter.node
    transposed = "transB" in node.attributes and node.attributes["transB"].as_int() == 1
    axis = ir.AttrInt64("axis", 0 if transposed else 1)
    b = emitter.emit("DequantizeLinear", _triple(node, 3), [axis])
    operands = [emitter.operand(0), b]
    if (bias := _optional(node, 6)) is not None:
        step = emitter.emit("Mul", [node.inputs[1], node.inputs[4]])
        as_float = emitter.emit("Cast", [bias], [ir.AttrInt64("to", int(ir.DataType.FLOAT))])
        operands.append(emitter.emit("Mul", [as_float, step]))
    result = emitter.emit("Gemm", operands, emitter.attributes())
    emitter.finish(result, node.inputs[7], _optional(node, 8))


def _binary(op_type: str) -> Callable[[_Emitter], None]:
    def decode(emitter: _Emitter) -> None:
        result = emitter.emit(op_type, [emitter.operand(0), emitter.operand(3)])
        emitter.finish(result, emitter.node.inputs[6], _optional(emitter.node, 7))

    return decode


def _unary(op_type: str, *dropped: str) -> Callable[[_Emitter], None]:
    def decode(emitter: _Emitter) -> None:
        result = emitter.emit(op_type, [emitter.operand(0)], emitter.attributes(*dropped))
        emitter.finish(result, emitter.node.inputs[3], _optional(emitter.node, 4))

    return decode


def _concat(emitter: _Emitter) -> None:
    """QLinearConcat: output scale and zero point first, then a triple for each part."""
    node = emitter.node
    parts = [emitter.operand(first) for first in range(2, len(node.inputs), 3)]
    emitter.finish(emitter.emit("Concat", parts, emitter.attributes()), *node.inputs[:2])


_DECODERS: dict[tuple[str, str], Callable[[_Emitter], None]] = {
    ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    (_MICROSOFT, "QGemm"): _gemm,
    (_MICROSOFT, "QLinearAdd"): _binary("Add"),
    (_MICROSOFT, "QLinearMul"): _binary("Mul"),
    (_MICROSOFT, "QLinearConcat"): _concat,
    (_MICROSOFT, "QLinearAveragePool"): _unary("AveragePool", "channels_last"),
    (_MICROSOFT, "QLinearGlobalAveragePool"): _unary("GlobalAveragePool", "channels_last"),
    (_MICROSOFT, "QLinearLeakyRelu"): _unary("LeakyRelu"),
    (_MICROSOFT, "QLinearSigmoid"): _unary("Sigmoid"),
    (_MICROSOFT, "QLinearSoftmax"): _unary("Softmax", "opset"),
}
