"""Gradients of normalisation layers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, dims, operand, rank
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError

from .tables import gradient

__all__: list[str] = []


@gradient.rule("BatchNormalization")
def batch_normalization(
    op: Builder, node: ir.Node, dy: ir.Value, *of_statistics: ir.Value | None
) -> Contributions:
    """Dx = dy scale / sqrt(var + epsilon), per channel."""
    x, scale, _, _, var = (operand(node, index) for index in range(5))
    if attribute(node, "training_mode", 0):
        raise UnsupportedNodeError("it is in training mode")
    slope = op.Div(scale, op.Sqrt(op.Add(var, attribute(node, "epsilon", 1e-5))))
    return [op.Mul(dy, _per_channel(op, slope, x)), None, None, None, None]


@gradient.rule("InstanceNormalization")
def instance_normalization(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Per image and channel, over the spatial axes; see `_standardised`."""
    x, scale = operand(node, 0), operand(node, 1)
    scaled = op.Mul(dy, _per_channel(op, scale, x))
    axes = list(range(2, _rank(x)))
    return [_standardised(op, x, scaled, axes, attribute(node, "epsilon", 1e-5)), None, None]


@gradient.rule("LayerNormalization")
def layer_normalization(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Over the last axes; see `_standardised`."""
    x, scale = operand(node, 0), operand(node, 1)
    n = _rank(x)
    axes = list(range(attribute(node, "axis", -1) % n, n))
    scaled = op.Mul(dy, scale)
    dx = _standardised(op, x, scaled, axes, attribute(node, "epsilon", 1e-5))
    return [dx, *[None] * (len(node.inputs) - 1)]


@gradient.rule("MeanVarianceNormalization")
def mean_variance_normalization(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Y = (x - mean) / deviation over the axes."""
    axes = attribute(node, "axes", [0, 2, 3])
    return [_standardised(op, operand(node), dy, axes, epsilon=1e-18)]


@gradient.rule("LRN")
def local_response_normalization(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Y = x s^-beta, s = bias + alpha/size W(x^2), W the sum over a window of channels.

    Dx = dy s^-beta - 2 alpha beta/size x W^T(dy x s^(-beta - 1)).
    """
    x = operand(node)
    channels = dims(x)[1] if _rank(x) == 4 else None
    if channels is None or x.dtype is None:
        raise UnsupportedNodeError("the number of channels of its input is unknown")
    size, beta = attribute(node, "size"), attribute(node, "beta", 0.75)
    alpha = attribute(node, "alpha", 1e-4) / size
    window = _channel_window(channels, size).astype(x.dtype.numpy())
    sums = op.Conv(op.Mul(x, x), op.constant(window))
    s = op.Add(op.Mul(sums, alpha), attribute(node, "bias", 1.0))
    direct = op.Mul(dy, op.Pow(s, -beta))
    to_window = op.Div(op.Mul(direct, x), s)
    spread = op.Conv(to_window, op.constant(window.swapaxes(0, 1)))
    return [op.Sub(direct, op.Mul(op.Mul(x, spread), 2 * alpha * beta))]


def _channel_window(channels: int, size: int) -> np.ndarray:
    """Return ``[C, C, 1, 1]``, 1 where channel j is in the window around channel i."""
    distance = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    inside = (-((size - 1) // 2) <= distance) & (distance <= size // 2)
    return inside[:, :, None, None]


def _standardised(
    op: Builder, x: ir.Value, dz: ir.Value, axes: list[int], epsilon: float
) -> ir.Value:
    """Go back through z = (x - mean) / sqrt(var + epsilon), both over ``axes``.

    Dx = (dz - mean(dz) - z mean(dz z)) / sqrt(var + epsilon).
    """

    def mean(value: ir.Value) -> ir.Value:
        return op.ReduceMean(value, axes, keepdims=1)

    centred = op.Sub(x, mean(x))
    deviation = op.Sqrt(op.Add(mean(op.Mul(centred, centred)), epsilon))
    z = op.Div(centred, deviation)
    along = op.Mul(z, mean(op.Mul(dz, z)))
    return op.Div(op.Sub(op.Sub(dz, mean(dz)), along), deviation)


def _per_channel(op: Builder, value: ir.Value, x: ir.Value) -> ir.Value:
    return op.Reshape(value, [-1] + [1] * (_rank(x) - 2))


def _rank(x: ir.Value) -> int:
    n = rank(x)
    if n is None:
        raise UnsupportedNodeError("the rank of its input is unknown")
    return n
