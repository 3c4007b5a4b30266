"""Pools that round their number of windows up, though the last would begin in the padding.

onnxruntime, like PyTorch, leaves that window out; shape inference counts it.
"""

from __future__ import annotations

import onnx_ir as ir

from .builder import attribute, dims

__all__ = ["drop_lost_windows"]


def drop_lost_windows(graph: ir.Graph) -> bool:
    """Let the first pool that counts such a window round down instead; return whether there is one.

    Shapes that were inferred from it are forgotten.
    """
    for node in graph:
        if node.op_type in ("AveragePool", "LpPool", "MaxPool") and _round_down(node):
            _forget_shapes(graph, node)
            return True
    return False


def _round_down(node: ir.Node) -> bool:
    x = node.inputs[0]
    sizes = [] if x is None else list(dims(x)[2:])
    explicit = attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    if not attribute(node, "ceil_mode", 0) or not explicit or not sizes or None in sizes:
        return False
    n = len(sizes)
    kernel, pads = attribute(node, "kernel_shape"), attribute(node, "pads", [0] * 2 * n)
    strides = attribute(node, "strides", [1] * n)
    dilations = attribute(node, "dilations", [1] * n)
    lost, ends = [], []
    for axis, size in enumerate(map(int, filter(None, sizes))):
        begin, end, stride = pads[axis], pads[n + axis], strides[axis]
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        windows = -(-(size + begin + end - reach) // stride) + 1
        lost.append((windows - 1) * stride >= size + begin)
        needed = (windows - 1) * stride + reach - size - begin
        ends.append(end if lost[-1] else max(end, needed))
    counts_pads = node.op_type == "AveragePool" and attribute(node, "count_include_pad", 0)
    if not any(lost) or (counts_pads and ends != pads[n:]):
        return False
    node.attributes.add(ir.AttrInt64("ceil_mode", 0))
    node.attributes.add(ir.AttrInt64s("pads", [*pads[:n], *ends]))
    return True


def _forget_shapes(graph: ir.Graph, first: ir.Node) -> None:
    stale = set(first.outputs)
    for node in graph:
        if not stale.isdisjoint(node.inputs):
            stale |= {*node.outputs}
    for value in stale:
        if not value.is_graph_output():
            value.shape = None
