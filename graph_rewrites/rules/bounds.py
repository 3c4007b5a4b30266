"""What is known of the image's values, brought to the first layer's input."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array
from onnxplain.graph_rewrites.engine import UnsupportedNodeError

__all__ = ["Bounds", "ImageBounds", "carried"]

_CARRIED = (
    "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "DepthToSpace",
    "DequantizeLinear", "Expand", "Flatten", "Gather", "Identity", "Pad", "QuantizeLinear", "Relu",
    "Reshape", "Slice", "SpaceToDepth", "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
_OF_SEVERAL = ("Add", "Concat", "Div", "Mul", "Sub")  # all inputs are data; else the first is

Bounds = tuple[ir.Value, ir.Value]
"""The smallest and the largest value of a layer's input, shaped like it."""


@dataclass(frozen=True)
class ImageBounds:
    """The bounds of the image's values, broadcastable to it, and the image itself."""

    pixels: ir.Value
    low: ir.Value
    high: ir.Value


def carried(op: Builder, image: ImageBounds, x: ir.Value) -> Bounds:
    """Return the bounds of ``x``, which is made of the image by moves, constants and the like."""
    if x is image.pixels:
        low, high = (_whole(op, image, end) for end in (image.low, image.high))
        return op.CastLike(low, x), op.CastLike(high, x)
    ends = _ends(op, image, x, {})
    return op.Min(*ends), op.Max(*ends)  # a negative factor turns them around


def _whole(op: Builder, image: ImageBounds, end: ir.Value) -> ir.Value:
    return op.Expand(op.CastLike(end, image.pixels), op.Shape(image.pixels))


def _ends(op: Builder, image: ImageBounds, x: ir.Value, known: dict[ir.Value, Bounds]) -> Bounds:
    """Return what becomes of the image's smallest and largest values on the way to ``x``."""
    if x is image.pixels:
        return _whole(op, image, image.low), _whole(op, image, image.high)
    if x in known:
        return known[x]
    node = x.producer()
    if node is None or not _is_carrying(node):
        raise UnsupportedNodeError(
            "the bounds of its input, for the rule zbox, do not follow from the image's: take "
            "another composite or input_domain"
        )
    n_data = len(node.inputs) if node.op_type in _OF_SEVERAL else 1
    attributes = {name: attribute(node, name) for name in node.attributes}
    given: list[tuple[ir.Value | None, ir.Value | None]] = [
        (value, value)
        if index >= n_data or value is None or constant_array(value) is not None
        else _ends(op, image, value, known)
        for index, value in enumerate(node.inputs)
    ]
    low, high = (
        getattr(op, node.op_type)(*each, **attributes) for each in zip(*given, strict=True)
    )
    known[x] = low, high
    return known[x]


def _is_carrying(node: ir.Node) -> bool:
    """Return whether every element that the node makes rises or falls with the image's."""
    if node.op_type == "LeakyRelu":
        return bool(attribute(node, "alpha", 0.01) >= 0)
    if node.op_type == "Resize":
        return bool(attribute(node, "mode", "nearest") != "cubic")
    if node.op_type in ("Add", "Div", "Mul", "Sub"):
        constants = [constant_array(value) is not None for value in node.inputs]
        return sum(constants) == 1 and (node.op_type != "Div" or constants[1])
    return node.domain == "" and node.op_type in _CARRIED
