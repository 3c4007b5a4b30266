"""Masks of 0 and 1, in the type of what they multiply.

In float32 a mask is a HardSigmoid so steep that it is a step: onnxruntime keeps that, unlike a
comparison, in the blocked layout of convolutions, which costs a copy to leave and one to enter.
"""

from __future__ import annotations

import math

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder

__all__ = ["above", "below"]

_STEEPEST = 126  # 2^127 is the largest power of two in float32


def above(op: Builder, value: ir.Value, bound: float) -> ir.Value:
    """Return 1 where ``value > bound``, else 0.

    A value no smaller than 2^-126 apart from 0, or the next float32 after another bound, is above.
    """
    if value.dtype != ir.DataType.FLOAT:
        return op.CastLike(op.Greater(value, bound), value)
    slope = _slope(bound)
    return op.HardSigmoid(value, alpha=slope, beta=-bound * slope)


def below(op: Builder, value: ir.Value, bound: float) -> ir.Value:
    """Return 1 where ``value < bound``, else 0; as `above`."""
    if value.dtype != ir.DataType.FLOAT:
        return op.CastLike(op.Less(value, bound), value)
    slope = _slope(bound)
    return op.HardSigmoid(value, alpha=-slope, beta=bound * slope)


def _slope(bound: float) -> float:
    """Return a power of two, so that nothing is rounded, and so small that nothing overflows."""
    return 2.0 ** (_STEEPEST if bound == 0 else min(_STEEPEST, _STEEPEST - math.frexp(bound)[1]))
