"""What is known of the image's values, brought to the first layer's input."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array
from onnxplain.graph_rewrites.engine import UnsupportedNodeError

__all__ = ["Bounds", "ImageBounds", "carried"]

_CARRIED = (
    "Add", "BatchNormalization", "Cast", "Div", "Flatten", "Mul", "Pad", "Reshape", "Squeeze",
    "Sub", "Transpose", "Unsqueeze",
)  # fmt: skip

Bounds = tuple[ir.Value, ir.Value]
"""The smallest and the largest value of a layer's input, shaped like it."""


@dataclass(frozen=True)
class ImageBounds:
    """The bounds of the image's values, broadcastable to it, and the image itself."""

    pixels: ir.Value
    low: ir.Value
    high: ir.Value


def carried(op: Builder, image: ImageBounds, x: ir.Value) -> Bounds:
    """Return the bounds of ``x``, which is made of the image by moves and constants."""
    way: list[tuple[ir.Node, ir.Value]] = []
    at = x
    while at is not image.pixels:
        node = at.producer()
        varying = (
            [v for v in node.inputs if v is not None and constant_array(v) is None] if node else []
        )
        if node is None or node.op_type not in _CARRIED or len(varying) != 1:
            raise UnsupportedNodeError("the bounds of its input do not follow from the image's")
        way.append((node, varying[0]))
        at = varying[0]
    shape = op.Shape(image.pixels)
    ends = [op.Expand(op.CastLike(end, x), shape) for end in (image.low, image.high)]
    for node, source in reversed(way):
        attributes = {name: attribute(node, name) for name in node.attributes}
        ends = [
            getattr(op, node.op_type)(
                *[end if v is source else v for v in node.inputs], **attributes
            )
            for end in ends
        ]
    if not way:
        return ends[0], ends[1]
    return op.Min(*ends), op.Max(*ends)  # a negative factor turns them around
