"""Zeros put around a convolution's input by a node of their own, made the convolution's pads."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import (
    attribute,
    constant_array,
    constant_ints,
    operand,
    rank,
)
from onnxplain.graph_rewrites.engine import label

from .surgery import Folded, become

__all__ = ["fold_padding"]


def fold_padding(graph: ir.Graph) -> list[Folded]:
    """Fold Pad into every Conv behind it that pads with zeros too."""
    folded = []
    for node in list(graph):
        pad = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if node.op_type != "Conv" or pad is None or pad.op_type != "Pad":
            continue
        added = _zeros(pad)
        if added is None or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            continue
        own = [0] * len(added)
        if attribute(node, "auto_pad", "NOTSET") == "NOTSET":
            own = attribute(node, "pads", own)
        attributes = {name: attribute(node, name) for name in node.attributes}
        attributes.pop("auto_pad", None)
        attributes["pads"] = [a + b for a, b in zip(own, added, strict=True)]
        folded.append(Folded(label(pad), label(node)))
        become(graph, node, "Conv", [operand(pad), *node.inputs[1:]], attributes)
    return folded


def _zeros(pad: ir.Node) -> list[int] | None:
    """Return how many zeros are added along the spatial axes: begins, then ends."""
    value = constant_array(pad.inputs[2]) if len(pad.inputs) > 2 and pad.inputs[2] else None
    given = len(pad.inputs) > 2 and pad.inputs[2] is not None
    n, pads = rank(operand(pad)), constant_ints(pad, 1)
    if attribute(pad, "mode", "constant") != "constant" or n is None or pads is None:
        return None
    if given and (value is None or value.any()):
        return None
    axes = [axis % n for axis in constant_ints(pad, 3) or range(n)]
    begins, ends = [0] * n, [0] * n
    for place, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[place], pads[len(axes) + place]
    whole = begins + ends
    if min(whole) < 0 or any(begins[:2]) or any(ends[:2]):
        return None
    return begins[2:] + ends[2:]
