"""Gradients of cutting, padding and joining: dy goes back to where its element came from."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import (
    Builder,
    attribute,
    constant_ints,
    dims,
    operand,
    rank,
)
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError

from .tables import gradient

__all__: list[str] = []


@gradient.rule("Concat")
def concat(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Each input gets its part of dy."""
    axis = attribute(node, "axis")
    parts = [operand(node, index) for index in range(len(node.inputs))]
    sizes = [dims(x)[axis] if dims(x) else None for x in parts]
    if None in sizes:
        lengths = op.Concat(*[op.Gather(op.Shape(x), [axis]) for x in parts], axis=0)
        return [*op.several("Split", len(parts), dy, lengths, axis=axis)]
    return [*op.several("Split", len(parts), dy, sizes, axis=axis)]


@gradient.rule("Split")
def split(op: Builder, node: ir.Node, *dys: ir.Value | None) -> Contributions:
    """Dx = the parts' dy side by side, zeros for a part that nothing arrives at."""
    axis = attribute(node, "axis", 0)
    missing = [None] * (len(node.outputs) - len(dys))
    parts = [
        op.Mul(part, 0.0) if dy is None else dy
        for part, dy in zip(node.outputs, (*dys, *missing), strict=True)
    ]
    return [op.Concat(*parts, axis=axis), *[None] * (len(node.inputs) - 1)]


@gradient.rule("Slice")
def slice_(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy put back where it was cut out, zeros elsewhere."""
    x = operand(node)
    n, starts, ends = rank(x), constant_ints(node, 1), constant_ints(node, 2)
    axes, steps = constant_ints(node, 3), constant_ints(node, 4)
    if n is None or starts is None or ends is None:
        raise UnsupportedNodeError("its bounds or the rank of its input are unknown")
    axes = [axis % n for axis in axes or range(len(starts))]
    cuts = zip(axes, starts, ends, steps or [1] * len(axes), strict=True)
    begins, finishes = [0] * n, [0] * n
    scattered = []
    for axis, start, end, step in cuts:
        size = dims(x)[axis]
        if size is None or step != 1:
            scattered.append((axis, start, end, step))
            continue
        low, high, _ = slice(start, end).indices(size)
        begins[axis], finishes[axis] = low, size - max(low, high)
    dx = op.Pad(dy, begins + finishes) if any(begins + finishes) else dy
    for axis, start, end, step in scattered:
        indices = op.Slice(_positions(op, x, axis), [start], [end], [0], [step])
        dx = _scatter(op, dx, indices, axis, x)
    return [dx, *[None] * (len(node.inputs) - 1)]


@gradient.rule("Pad")
def pad(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = the part of dy that is no padding, plus what padding copied of x."""
    x = operand(node)
    n, pads, mode = rank(x), constant_ints(node, 1), attribute(node, "mode", "constant")
    if n is None or pads is None:
        raise UnsupportedNodeError("its pads or the rank of its input are unknown")
    axes = [axis % n for axis in constant_ints(node, 3) or range(n)]
    by_axis = list(zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True))
    dx = dy
    for axis, begin, end in by_axis:
        if mode != "constant" and (begin, end) != (0, 0):
            indices = op.Pad(_positions(op, x, axis), [begin, end], mode=mode)
            dx = _scatter(op, dx, indices, axis, x)
        elif begin > 0 or end > 0:
            stop = (1 << 62) if end <= 0 else -end
            dx = op.Slice(dx, [max(begin, 0)], [stop], [axis])
    if mode == "constant" and any(begin < 0 or end < 0 for _, begin, end in by_axis):
        zeros = [0] * (2 * n)
        for axis, begin, end in by_axis:
            zeros[axis], zeros[n + axis] = max(-begin, 0), max(-end, 0)
        dx = op.Pad(dx, zeros)
    return [dx, *[None] * (len(node.inputs) - 1)]


@gradient.rule("Gather")
def gather(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Each element gets the sum of dy over where it was copied to."""
    x, indices = operand(node, 0), operand(node, 1)
    n, m = rank(x), rank(indices)
    if n is None or m is None:
        raise UnsupportedNodeError("the rank of its data or of its indices is unknown")
    axis = attribute(node, "axis", 0) % n
    if m != 1:  # one axis of indices
        before, after = op.Shape(x, start=0, end=axis), op.Shape(x, start=axis + 1)
        dy = op.Reshape(dy, op.Concat(before, [-1], after, axis=0))
        indices = op.Reshape(indices, [-1])
    return [_scatter(op, dy, indices, axis, x), None]


@gradient.rule("GatherND")
def gather_nd(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Each element gets the sum of dy over where it was copied to."""
    x, indices = operand(node, 0), operand(node, 1)
    batch_dims = attribute(node, "batch_dims", 0)
    if batch_dims:
        indices = _with_batch(op, indices, batch_dims)
    return [op.ScatterND(op.Mul(x, 0.0), indices, dy, reduction="add"), None]


def _with_batch(op: Builder, indices: ir.Value, batch_dims: int) -> ir.Value:
    """Return ``[*batch, *rest, k]`` indices with their place in the batch put before them."""
    n = rank(indices)
    if n is None:
        raise UnsupportedNodeError("the rank of its indices is unknown")
    batch, rest = op.Shape(indices, end=batch_dims), op.Shape(indices, end=-1)
    ones = op.Expand(op.constant(np.array(1)), batch)
    places = op.Transpose(op.NonZero(ones), perm=[1, 0])
    between = [1] * (n - 1 - batch_dims)
    apart = op.Reshape(places, op.Concat(batch, [*between, batch_dims], axis=0))
    everywhere = op.Expand(apart, op.Concat(rest, [batch_dims], axis=0))
    return op.Concat(everywhere, indices, axis=-1)


@gradient.rule("GatherElements")
def gather_elements(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Each element gets the sum of dy over where it was copied to."""
    zeros, axis = op.Mul(operand(node, 0), 0.0), attribute(node, "axis", 0)
    return [op.ScatterElements(zeros, operand(node, 1), dy, axis=axis, reduction="add"), None]


@gradient.rule("ScatterElements")
def scatter_elements(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Give updates the dy of where they went, and the data what is left (all of it for add)."""
    reduction, axis = attribute(node, "reduction", "none"), attribute(node, "axis", 0)
    if reduction not in ("none", "add"):
        raise UnsupportedNodeError(f"reduction {reduction}")
    indices, updates = operand(node, 1), operand(node, 2)
    to_data = dy
    if reduction == "none":
        to_data = op.ScatterElements(dy, indices, op.Mul(updates, 0.0), axis=axis)
    return [to_data, None, op.GatherElements(dy, indices, axis=axis)]


@gradient.rule("ScatterND")
def scatter_nd(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Give updates the dy of where they went, and the data what is left (all of it for add)."""
    reduction = attribute(node, "reduction", "none")
    if reduction not in ("none", "add"):
        raise UnsupportedNodeError(f"reduction {reduction}")
    indices, updates = operand(node, 1), operand(node, 2)
    to_data = dy
    if reduction == "none":
        to_data = op.ScatterND(dy, indices, op.Mul(updates, 0.0))
    return [to_data, None, op.GatherND(dy, indices)]


def _positions(op: Builder, x: ir.Value, axis: int) -> ir.Value:
    """Return 0, 1, ... along an axis of ``x``, int64."""
    size = op.Squeeze(op.Shape(x, start=axis, end=axis + 1))
    return op.Range(op.constant(np.array(0)), size, op.constant(np.array(1)))


def _scatter(op: Builder, dy: ir.Value, indices: ir.Value, axis: int, x: ir.Value) -> ir.Value:
    """Add slice i of ``dy`` along ``axis`` to slice ``indices[i]`` of zeros as long as ``x``."""
    n = rank(x) or 0
    perm = [axis, *(other for other in range(n) if other != axis)]
    first = op.Transpose(dy, perm=perm) if axis else dy
    length = op.Shape(x, start=axis, end=axis + 1)
    zeros = op.Expand(op.scalar(0.0, dy), op.Concat(length, op.Shape(first, start=1), axis=0))
    added = op.ScatterND(zeros, op.Unsqueeze(indices, [1]), first, reduction="add")
    back = [perm.index(position) for position in range(n)]
    return op.Transpose(added, perm=back) if axis else added
