"""The adjoint of a convolution.

Per axis, with stride s, dilation d, K taps and ``p`` zeros padded in front, a convolution is

    y[o] = sum_k w[k] x[s o + d k - p]         so the adjoint is
    dx[i] = sum_{o, k: s o + d k = i + p} w[k] dy[o].

At stride 1 that is the correlation of dy with the flipped kernel, an ordinary convolution. At
larger strides it is ConvTranspose; but runtimes execute that slowly for several groups, so there
s - 1 zeros are put between the values of dy, and stride 1 is left. Of a kernel of one tap, they are
put between the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, dims, operand
from onnxplain.graph_rewrites.engine import UnsupportedNodeError

__all__ = [
    "Modify",
    "Window",
    "convolution_adjoint",
    "open_begins",
    "repeat",
    "transposed_pads",
    "unmodified",
    "window",
]


Modify = Callable[[Builder, ir.Value], ir.Value]
"""Emits an elementwise function of weights."""


def unmodified(op: Builder, weight: ir.Value) -> ir.Value:
    """Return the weight as it is."""
    return weight


@dataclass(frozen=True)
class Window:
    """How a convolution or a pool slides over its input; one entry per spatial axis.

    Where ``auto_pad`` is given, pads follow from sizes that only a run knows along the axes
    ``open``: these have zeros for pads here, and `open_begins` emits those in front.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    auto_pad: str | None = None
    open: tuple[bool, ...] = ()


def window(node: ir.Node, kernel: Sequence[int]) -> Window:
    """Read the window of a Conv or a pool from its attributes; ``auto_pad`` becomes explicit."""
    n = len(kernel)
    strides = tuple(attribute(node, "strides", [1] * n))
    dilations = tuple(attribute(node, "dilations", [1] * n))
    auto_pad = attribute(node, "auto_pad", "NOTSET")
    if auto_pad in ("NOTSET", "VALID"):
        pads = [0] * (2 * n) if auto_pad == "VALID" else attribute(node, "pads", [0] * (2 * n))
        return Window(tuple(kernel), strides, dilations, tuple(pads[:n]), tuple(pads[n:]))
    sizes = dims(operand(node))[2:]
    pads = [
        (0, 0) if size is None and s != 1 else _same_pads(auto_pad, size or 0, s, d * (k - 1))
        for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    begins, ends = zip(*pads, strict=True)
    unknown = tuple(size is None and s != 1 for size, s in zip(sizes, strides, strict=True))
    return Window(
        tuple(kernel), strides, dilations, begins, ends, auto_pad if any(unknown) else None, unknown
    )


def _same_pads(auto_pad: str, size: int, stride: int, reach: int) -> tuple[int, int]:
    """Return begin and end, so that ceil(size / stride) windows fit; at stride 1 of any size."""
    total = max(stride * (math.ceil(size / stride) - 1) - size + reach + 1, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if auto_pad == "SAME_LOWER" else (small, large)


def open_begins(op: Builder, win: Window, x: ir.Value) -> ir.Value:
    """Return what ``auto_pad`` puts in front along the open axes, int64 ``[n]``, else zeros."""
    sizes = op.Shape(x, start=2)
    strides = op.constant(np.array(win.strides))
    reach = np.array([d * (k - 1) + 1 for k, d in zip(win.kernel, win.dilations, strict=True)])
    steps = op.Div(op.Sub(sizes, 1), strides)  # ceil(size / stride) - 1
    total = op.Sub(op.Add(op.Mul(steps, strides), op.constant(reach)), sizes)
    if win.auto_pad == "SAME_LOWER":
        total = op.Add(total, 1)
    begins = op.Div(op.Max(total, op.constant(np.array(0))), 2)
    return op.Mul(begins, op.constant(np.array(win.open, np.int64)))


def transposed_pads(node: ir.Node, kernel: Sequence[int]) -> list[int]:
    """Return what ConvTranspose cuts off its output: begins, then ends."""
    n = len(kernel)
    auto_pad, asked = attribute(node, "auto_pad", "NOTSET"), attribute(node, "output_shape")
    if auto_pad in ("NOTSET", "VALID") and asked is None:
        return list(attribute(node, "pads", [0] * (2 * n)))
    strides, dilations = attribute(node, "strides", [1] * n), attribute(node, "dilations", [1] * n)
    extra = attribute(node, "output_padding", [0] * n)
    begins, ends = [], []
    for axis, size in enumerate(dims(operand(node))[2:]):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        if asked is None:  # as many strides as pixels, whatever the size
            total = max(reach + extra[axis] - strides[axis], 0)
        elif size is None:
            raise UnsupportedNodeError("its padding follows from a size that is dynamic")
        else:
            whole = strides[axis] * (size - 1) + reach + extra[axis]
            total = max(whole - asked[len(asked) - n + axis], 0)
        small, large = total // 2, total - total // 2
        begins.append(small if auto_pad == "SAME_UPPER" else large)
        ends.append(large if auto_pad == "SAME_UPPER" else small)
    return begins + ends


def convolution_adjoint(
    op: Builder,
    dy: ir.Value,
    weight: ir.Value,
    group: int,
    win: Window,
    x: ir.Value,
    y: ir.Value,
    modify: Modify = unmodified,
) -> ir.Value:
    """Return the adjoint of ``Conv(x, modify(weight))`` applied to ``dy``.

    Parameters
    ----------
    dy
        ``[N, M, *y spatial]``.
    weight
        ``[M, C / group, *kernel]``, constant.
    group, win
        The convolution's groups and window.
    x, y
        The convolution's input and output: their shapes say where to cut.
    modify
        What is done to every weight, elementwise.

    Returns
    -------
    ir.Value
        ``[N, C, *x spatial]``.
    """
    strided = any(stride > 1 for stride in win.strides)
    pointwise = {*win.kernel} == {1} and not any((*win.pads_begin, *win.pads_end, *win.open))
    if strided and group == 1 and not pointwise:
        return _transposed(op, dy, modify(op, weight), win, x, y)
    flipped = op.constant(_flipped(np.asarray(constant_array(weight)), group))
    if strided and group == 1:
        return _spread(op, op.Conv(dy, modify(op, flipped)), win, x, y)
    if strided:
        dy = _with_zeros(op, dy, win.strides, y)
    return _correlated(op, dy, modify(op, flipped), group, win, x, y)


def _with_zeros(op: Builder, value: ir.Value, strides: Sequence[int], y: ir.Value) -> ir.Value:
    """Return a value shaped like y with s - 1 zeros after every number, along spatial axes."""
    n = len(strides)
    corner = np.zeros((1, 1, *strides), np.float32 if value.dtype is None else value.dtype.numpy())
    corner[(0,) * (n + 2)] = 1
    known = [1, 1, *dims(y)[2:]]
    repeats = op.Concat([1, 1], op.Shape(y, start=2), axis=0) if None in known else known
    mask = op.Tile(op.constant(corner), repeats)
    return op.Mul(repeat(op, value, strides), op.CastLike(mask, value))


def _spread(op: Builder, dx: ir.Value, win: Window, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return where a kernel of one tap took its inputs, ``[N, C, *y spatial]``, as long as x."""
    whole = _with_zeros(op, dx, win.strides, y)
    lengths = [
        None if out is None else s * out for s, out in zip(win.strides, dims(y)[2:], strict=True)
    ]
    exact = None not in lengths and lengths == [*dims(x)[2:]]
    return whole if exact else _cut(op, whole, [0] * len(lengths), win, x)


def repeat(op: Builder, value: ir.Value, times: Sequence[int]) -> ir.Value:
    """Return ``[N, C, *spatial]`` with every value repeated along each spatial axis."""
    scales = op.constant(np.array([1, 1, *times], np.float32))
    found = op.Resize(
        value,
        None,
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    if value.shape is not None:  # shape inference loses the batch
        spatial = zip(dims(value)[2:], times, strict=True)
        sizes = [None if size is None else size * n for size, n in spatial]
        found.shape = ir.Shape([*value.shape[:2], *sizes])
    return found


def _transposed(
    op: Builder, dy: ir.Value, weight: ir.Value, win: Window, x: ir.Value, y: ir.Value
) -> ir.Value:
    """Return the adjoint as ConvTranspose: as long as x where that is known, else cut to it."""
    lengths = [
        s * (out - 1) + d * (k - 1) + 1 - begin - end if out is not None else None
        for out, s, d, k, begin, end in zip(
            dims(y)[2:], win.strides, win.dilations, win.kernel, win.pads_begin, win.pads_end,
            strict=True,
        )
    ]  # fmt: skip
    known = None not in lengths and None not in dims(x)[2:]
    missing = [
        int(size or 0) - int(length or 0) for size, length in zip(dims(x)[2:], lengths, strict=True)
    ]
    fits = known and min(missing) >= 0  # where y was rounded up, windows reach beyond x
    extra = missing if fits else [stride - 1 for stride in win.strides]
    whole = op.ConvTranspose(
        dy,
        weight,
        strides=win.strides,
        dilations=win.dilations,
        pads=[*win.pads_begin, *win.pads_end],
        output_padding=extra,
    )
    return whole if fits else _cut(op, whole, [0] * len(extra), win, x)


def _correlated(
    op: Builder, dz: ir.Value, weight: ir.Value, group: int, win: Window, x: ir.Value, y: ir.Value
) -> ir.Value:
    """Return the adjoint of a convolution of stride 1, ``dz`` being dy with zeros put in."""
    begins, ends, exact = [], [], True
    for axis, (k, s, d) in enumerate(zip(win.kernel, win.strides, win.dilations, strict=True)):
        size, out, reach = dims(x)[2 + axis], dims(y)[2 + axis], d * (k - 1)
        begins.append(reach - win.pads_begin[axis])
        if s == 1:
            ends.append(reach - win.pads_end[axis])
        elif size is not None and out is not None:
            ends.append(size + win.pads_begin[axis] - s * out)
        else:
            ends.append(reach)
            exact = False
    whole = op.Conv(
        dz,
        weight,
        group=group,
        dilations=win.dilations,
        pads=[max(pad, 0) for pad in begins + ends],
    )
    if exact and min(begins + ends) >= 0:
        return whole
    return _cut(op, whole, [max(-pad, 0) for pad in begins], win, x)


def _cut(op: Builder, whole: ir.Value, starts: Sequence[int], win: Window, x: ir.Value) -> ir.Value:
    """Return what of ``whole`` lies from ``starts``, and open pads, on, as long as ``x``."""
    axes, sizes = list(range(2, 2 + len(starts))), dims(x)[2:]
    if None in sizes:
        begins = op.constant(np.array(starts))
        if win.auto_pad is not None:
            begins = op.Add(open_begins(op, win, x), begins)
        return op.Slice(whole, begins, op.Add(op.Shape(x, start=2), begins), axes)
    known = [start + int(size or 0) for start, size in zip(starts, sizes, strict=True)]
    return op.Slice(whole, list(starts), known, axes)


def _flipped(weight: np.ndarray, group: int) -> np.ndarray:
    """Return ``[C, M / group, *kernel]`` of ``[M, C / group, *kernel]``, each tap mirrored."""
    m, per_group, *kernel = weight.shape
    apart = weight.reshape(group, m // group, per_group, *kernel).swapaxes(1, 2)
    mirrored = np.flip(apart, tuple(range(3, apart.ndim)))
    return mirrored.reshape(group * per_group, m // group, *kernel)
