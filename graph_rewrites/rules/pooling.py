"""Gradients of pools: routing to the winner, and shares of an average."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, dims, operand, rank
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError

from .convolution import Window, convolution_adjoint, open_begins, repeat, window
from .tables import gradient

__all__: list[str] = []


@gradient.rule("MaxPool")
def max_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Every window's dy goes to its maximum, the first in row-major order; overlaps add up."""
    x = operand(node)
    names = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
    attributes = {name: attribute(node, name) for name in names if name in node.attributes}
    _, winners = op.several("MaxPool", 2, x, **attributes)
    overlap = not _is_apart(node)
    routed = op.ScatterElements(
        op.Expand(op.scalar(0.0, dy), op.Reshape(op.Size(x), [1])),
        op.Reshape(winners, [-1]),
        op.Reshape(dy, [-1]),
        axis=0,
        reduction="add" if overlap else "none",  # the plain one is faster
    )
    return [op.Reshape(routed, op.shape(x))]


@gradient.rule("AveragePool")
def average_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Every window's dy / count goes to all its pixels: the adjoint of a convolution with ones."""
    x, y = operand(node), node.outputs[0]
    sizes = dims(x)
    if len(sizes) < 3 or sizes[1] is None or rank(y) is None:
        raise UnsupportedNodeError("the number of channels of its input is unknown")
    win = window(node, attribute(node, "kernel_shape"))
    share = op.Div(dy, _counts(op, node, win, x))
    if win.kernel == win.strides and _is_apart(node) and not _is_padded(win):
        tiles = zip(sizes[2:], dims(y)[2:], win.strides, strict=True)
        if all(size == out * s for size, out, s in tiles if size and out) and None not in sizes[2:]:
            return [repeat(op, share, win.strides)]
    ones = np.ones((sizes[1], 1, *win.kernel), np.float32 if y.dtype is None else y.dtype.numpy())
    return [convolution_adjoint(op, share, op.constant(ones), sizes[1], win, x, y)]


@gradient.rule("LpPool")
def lp_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Y = (sum |x|^p)^(1/p) over a window: its pixels get dy (|x| / y)^(p - 1) sign(x)."""
    x, y, p = operand(node), node.outputs[0], float(attribute(node, "p", 2))
    sizes = dims(x)
    if len(sizes) < 3 or sizes[1] is None:
        raise UnsupportedNodeError("the number of channels of its input is unknown")
    nonzero = op.Where(op.Equal(y, 0.0), op.scalar(1.0, y), y)
    share = op.Div(dy, op.Pow(nonzero, p - 1))
    win = window(node, attribute(node, "kernel_shape"))
    ones = np.ones((sizes[1], 1, *win.kernel), np.float32 if y.dtype is None else y.dtype.numpy())
    spread = convolution_adjoint(op, share, op.constant(ones), sizes[1], win, x, y)
    return [op.Mul(spread, op.Mul(op.Pow(op.Abs(x), p - 1), op.Sign(x)))]


def _is_apart(node: ir.Node) -> bool:
    """Return whether no two windows share a pixel."""
    kernel = attribute(node, "kernel_shape")
    strides = attribute(node, "strides", [1] * len(kernel))
    dilations = attribute(node, "dilations", [1] * len(kernel))
    return all(k <= s and d == 1 for k, s, d in zip(kernel, strides, dilations, strict=True))


def _is_padded(win: Window) -> bool:
    return any(win.pads_begin) or any(win.pads_end) or win.auto_pad is not None


def _counts(op: Builder, node: ir.Node, win: Window, x: ir.Value) -> ir.Value | float:
    """Return how many pixels each window averages over: a number, or ``[1, 1, *y spatial]``."""
    ceil_mode, include_pad = (
        attribute(node, "ceil_mode", 0),
        attribute(node, "count_include_pad", 0),
    )
    if not ceil_mode and (include_pad or not _is_padded(win)):
        return float(math.prod(win.kernel))
    sizes = dims(x)[2:]
    if None in sizes:
        return _counts_at_run_time(op, node, win, x)
    counts = np.ones(())
    for axis, size in enumerate(sizes):
        counts = np.multiply.outer(counts, _axis_counts(win, axis, int(size or 0), node))
    return op.CastLike(op.constant(counts.astype(np.float32)[None, None]), x)


def _counts_at_run_time(op: Builder, node: ir.Node, win: Window, x: ir.Value) -> ir.Value:
    """Return the same in nodes, from the sizes of x and y; see `_axis_counts`."""
    n, y = len(win.kernel), node.outputs[0]
    sizes, begins = op.Shape(x, start=2), op.constant(np.array(win.pads_begin))
    if win.auto_pad is not None:
        begins = op.Add(begins, open_begins(op, win, x))
    lows, highs = op.constant(np.zeros(n, np.int64)), sizes
    if attribute(node, "count_include_pad", 0):
        lows, highs = op.Neg(begins), op.Add(sizes, op.constant(np.array(win.pads_end)))
    counts: ir.Value | None = None
    for axis, (k, s, d) in enumerate(zip(win.kernel, win.strides, win.dilations, strict=True)):
        begin, low, high = (op.Gather(ints, [axis]) for ints in (begins, lows, highs))
        out = op.Squeeze(op.Shape(y, start=2 + axis, end=3 + axis), [0])
        first = op.Sub(op.Mul(op.Range(0, out, 1), s), begin)
        taps = op.Add(op.Unsqueeze(first, [1]), op.constant(np.arange(k) * d))
        covered = op.And(op.GreaterOrEqual(taps, low), op.Less(taps, high))
        of_axis = op.ReduceSum(op.CastLike(covered, x), [1], keepdims=0)
        spread = op.Reshape(of_axis, [1, 1] + [-1 if other == axis else 1 for other in range(n)])
        counts = spread if counts is None else op.Mul(counts, spread)
    assert counts is not None
    return counts


def _axis_counts(win: Window, axis: int, size: int, node: ir.Node) -> np.ndarray:
    """Return, along one axis, how many pixels of x (or of x and its pads) each window covers."""
    k, s, d = win.kernel[axis], win.strides[axis], win.dilations[axis]
    begin, end = win.pads_begin[axis], win.pads_end[axis]
    y_size = dims(node.outputs[0])[2 + axis]
    if y_size is None:
        raise UnsupportedNodeError("the size of its output is unknown")
    low, high = (-begin, size + end) if attribute(node, "count_include_pad", 0) else (0, size)
    taps = np.arange(y_size)[:, None] * s - begin + np.arange(k) * d
    return np.asarray(((taps >= low) & (taps < high)).sum(axis=1))


@gradient.rule("GlobalAveragePool")
def global_average_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Every pixel gets dy / (number of pixels)."""
    x = operand(node)
    sizes = dims(x)[2:]
    if sizes and None not in sizes:
        count: ir.Value | float = float(math.prod(int(size or 0) for size in sizes))
    else:
        count = op.CastLike(op.ReduceProd(op.Shape(x, start=2), keepdims=0), dy)
    return [op.expand_like(op.Div(dy, count), x)]


@gradient.rule("GlobalMaxPool")
def global_max_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dy goes to the maximum, the first in row-major order."""
    x = operand(node)
    flat = op.Reshape(x, [0, 0, -1])
    winner = op.ArgMax(flat, axis=2, keepdims=1)
    routed = op.ScatterElements(
        op.Mul(flat, 0.0), winner, op.Reshape(dy, [0, 0, -1]), axis=2, reduction="add"
    )
    return [op.reshape_like(routed, x)]
