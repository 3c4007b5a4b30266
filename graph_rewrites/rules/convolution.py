"""The adjoint of a convolution, written as a convolution.

Per axis, with stride s, dilation d, K taps and ``p`` zeros padded in front, a convolution is

    y[o] = sum_k w[k] x[s o + d k - p]         so the adjoint is
    dx[i] = sum_{o, k: s o + d k = i + p} w[k] dy[o].

Write ``i + p = s q + r`` with phase ``0 <= r < s``. Only taps with ``d k = r + s j`` reach phase r,
and they read ``dy[q - j]``: for every phase an ordinary stride-1 correlation of dy with the flipped
taps ``w[(r + s j) / d]``, j = J..0, J = (d (K - 1)) // s. One convolution with s times the channels
computes all phases, DepthToSpace interleaves them, a Slice cuts out the part that is x. At stride 1
there is one phase: the flipped kernel alone. This needs no ConvTranspose, which runtimes execute
slowly for grouped and strided convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, dims
from onnxplain.graph_rewrites.engine import UnsupportedNodeError

__all__ = ["Window", "convolution_adjoint", "window"]


@dataclass(frozen=True)
class Window:
    """How a convolution or a pool slides over its input; one entry per spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]


def window(node: ir.Node, kernel: Sequence[int]) -> Window:
    """Read the window of a Conv or a pool from its attributes; ``auto_pad`` becomes explicit."""
    n = len(kernel)
    strides = tuple(attribute(node, "strides", [1] * n))
    dilations = tuple(attribute(node, "dilations", [1] * n))
    pads = attribute(node, "pads", [0] * (2 * n))
    auto_pad = attribute(node, "auto_pad", "NOTSET")
    if auto_pad == "VALID":
        pads = [0] * (2 * n)
    elif auto_pad != "NOTSET":
        pads = _same_pads(node, auto_pad, kernel, strides, dilations)
    return Window(tuple(kernel), strides, dilations, tuple(pads[:n]), tuple(pads[n:]))


def _same_pads(
    node: ir.Node,
    auto_pad: str,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    begin, end = [], []
    sizes = dims(node.inputs[0])[2:] if node.inputs[0] is not None else ()
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        if size is None and s != 1:
            raise UnsupportedNodeError(f"auto_pad={auto_pad} on an input of dynamic size")
        steps = s * (math.ceil(size / s) - 1) - size if size is not None else -1
        total = max(steps + d * (k - 1) + 1, 0)
        small, large = total // 2, total - total // 2
        begin.append(large if auto_pad == "SAME_LOWER" else small)
        end.append(small if auto_pad == "SAME_LOWER" else large)
    return begin + end


def convolution_adjoint(
    op: Builder, dy: ir.Value, weight: np.ndarray, group: int, win: Window, x: ir.Value, y: ir.Value
) -> ir.Value:
    """Return the adjoint of ``y = Conv(x, weight)`` applied to ``dy``.

    Parameters
    ----------
    dy
        ``[N, M, *y spatial]``.
    weight
        ``[M, C / group, *kernel]``.
    group, win
        The convolution's groups and window.
    x, y
        The convolution's input and output: their shapes say where to cut.

    Returns
    -------
    ir.Value
        ``[N, C, *x spatial]``.
    """
    axes = [
        _Axis.of(*sizes)
        for sizes in zip(
            win.kernel, win.strides, win.dilations, win.pads_begin, win.pads_end,
            dims(x)[2:], dims(y)[2:], strict=True,
        )
    ]  # fmt: skip
    phases = op.Conv(
        dy,
        op.constant(_phase_kernels(weight, group, axes)),
        group=group,
        dilations=[axis.dilation for axis in axes],
        pads=[axis.pad_begin for axis in axes] + [axis.pad_end for axis in axes],
    )
    channels = weight.shape[1] * group
    whole = _interleave(op, phases, channels, [axis.stride for axis in axes])
    if all(axis.exact for axis in axes):
        return whole
    starts = [axis.start for axis in axes]
    ends: ir.Value | list[int]
    if None in dims(x)[2:]:
        ends = op.Add(op.Shape(x, start=2), starts)
    else:
        ends = [
            axis.start + int(size) for axis, size in zip(axes, dims(x)[2:], strict=True) if size
        ]
    return op.Slice(whole, starts, ends, list(range(2, 2 + len(axes))))


@dataclass(frozen=True)
class _Axis:
    """One axis of the adjoint: phase convolution's padding, and where x starts in its result."""

    stride: int
    dilation: int  # of the phase convolution: kept at stride 1, else written out in the kernel
    taps: int  # J + 1, written-out zeros included
    tap_step: int  # d where the dilation is written out, else 1
    pad_begin: int
    pad_end: int
    start: int
    exact: bool  # the result is x's extent: nothing to cut

    @classmethod
    def of(
        cls, k: int, s: int, d: int, p: int, p_end: int, size: int | None, out: int | None
    ) -> _Axis:
        reach = d * (k - 1) // s  # J
        skipped = min(p // s, reach)  # leading q that are padding only
        start = p - s * skipped
        if size is None or out is None:
            pad_end, exact = max(0, math.ceil((d * (k - 1) - p_end) / s)), False
        else:
            steps = math.ceil((size + p) / s)
            pad_end = max(0, steps - out)
            computed = s * (max(steps, out) - skipped)
            exact = start == 0 and computed == size
        if s == 1:
            return cls(s, d, k, 1, reach - skipped, pad_end, start, exact)
        return cls(s, 1, reach + 1, d, reach - skipped, pad_end, start, exact)


def _phase_kernels(weight: np.ndarray, group: int, axes: Sequence[_Axis]) -> np.ndarray:
    """Return ``[C * phases, M / group, *taps]``, the channel's phases next to each other."""
    n = len(axes)
    kernel = weight
    for i, axis in enumerate(axes, start=2):
        # taps along the axis as (j, r): tap d k is j = d k // s, r = d k % s
        wide = np.zeros(
            (*kernel.shape[:i], axis.taps * axis.stride, *kernel.shape[i + 1 :]), weight.dtype
        )
        at = np.arange(kernel.shape[i]) * axis.tap_step
        wide[(slice(None),) * i + (at,)] = kernel
        kernel = wide
    m, per_group = kernel.shape[:2]
    split = [size for axis in axes for size in (axis.taps, axis.stride)]
    kernel = kernel.reshape(group, m // group, per_group, *split)
    taps, phases = [3 + 2 * i for i in range(n)], [4 + 2 * i for i in range(n)]
    kernel = np.flip(kernel, tuple(taps)).transpose(0, 2, *phases, 1, *taps)
    return np.asarray(kernel).reshape(-1, m // group, *(axis.taps for axis in axes))


def _interleave(op: Builder, phases: ir.Value, channels: int, strides: Sequence[int]) -> ir.Value:
    """Return ``[N, C * prod(s), *q]`` as ``[N, C, *(q s)]``."""
    if all(stride == 1 for stride in strides):
        return phases
    if len(strides) == 2 and strides[0] == strides[1]:
        return op.DepthToSpace(phases, blocksize=strides[0], mode="CRD")
    n = len(strides)
    batch, spatial = op.Shape(phases, start=0, end=1), op.Shape(phases, start=2)
    apart = op.Reshape(phases, op.Concat(batch, [channels, *strides], spatial, axis=0))
    order = [0, 1] + [axis for i in range(n) for axis in (2 + n + i, 2 + i)]
    sizes = op.Concat(batch, [channels], op.Mul(spatial, list(strides)), axis=0)
    return op.Reshape(op.Transpose(apart, perm=order), sizes)
