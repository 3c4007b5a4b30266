"""Gradients of the linear operators with constant weights, and of matrix products."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, dims, rank
from onnxplain.graph_rewrites.engine import UnsupportedNodeError, unbroadcast

from .convolution import convolution_adjoint, window
from .tables import gradient

__all__: list[str] = []

Contributions = list[ir.Value | None]


@gradient.rule("Conv")
def conv(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = adjoint of the convolution, itself a convolution (`convolution_adjoint`)."""
    x, y = node.inputs[0], node.outputs[0]
    weight = constant_array(node.inputs[1])
    if weight is None:
        raise UnsupportedNodeError("its weights are computed from the input")
    if x is None or rank(x) is None:
        raise UnsupportedNodeError("the rank of its input is unknown")
    win = window(node, weight.shape[2:])
    dx = convolution_adjoint(op, dy, weight, attribute(node, "group", 1), win, x, y)
    return [dx, *[None] * (len(node.inputs) - 1)]


@gradient.rule("Gemm")
def gemm(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Y = alpha A' B' + beta C: dA' = alpha dy B'^T, dB' = alpha A'^T dy, dC = beta dy."""
    a, b = node.inputs[:2]
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    trans_a, trans_b = attribute(node, "transA", 0), attribute(node, "transB", 0)
    if trans_a:
        da = op.Gemm(b, dy, alpha=alpha, transA=trans_b, transB=1)
    else:
        da = op.Gemm(dy, b, alpha=alpha, transB=1 - trans_b)
    if trans_b:
        db = op.Gemm(dy, a, alpha=alpha, transA=1, transB=trans_a)
    else:
        db = op.Gemm(a, dy, alpha=alpha, transA=1 - trans_a)
    contributions: Contributions = [da, db]
    if len(node.inputs) > 2:
        c = node.inputs[2]
        scaled = dy if beta == 1.0 else op.Mul(dy, beta)
        contributions.append(unbroadcast(op, scaled, node.outputs[0], c) if c is not None else None)
    return contributions


@gradient.rule("MatMul")
def matmul(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Y = A B over leading axes that broadcast: dA = dy B^T, dB = A^T dy."""
    a, b = node.inputs
    if a is None or b is None or (rank(a) or 0) < 2 or (rank(b) or 0) < 2:
        raise UnsupportedNodeError("an operand has fewer than two axes")
    da, db = op.MatMul(dy, _transposed(op, b)), op.MatMul(_transposed(op, a), dy)
    return [_sum_leading(op, da, node, a), _sum_leading(op, db, node, b)]


def _transposed(op: Builder, x: ir.Value) -> ir.Value:
    axes = list(range(len(dims(x))))
    return op.Transpose(x, perm=[*axes[:-2], axes[-1], axes[-2]])


def _sum_leading(op: Builder, dx: ir.Value, node: ir.Node, x: ir.Value) -> ir.Value:
    """Sum over the leading axes along which ``x`` was broadcast; the last two are x's own."""
    y = node.outputs[0]
    if dims(y)[:-2] == dims(x)[:-2] and None not in dims(x)[1:-2]:
        return dx
    like = ir.Value(shape=ir.Shape([*(y.shape or ())[:-2], *(x.shape or ())[-2:]]))
    return unbroadcast(op, dx, like, x)


@gradient.rule("BatchNormalization")
def batch_normalization(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy scale / sqrt(var + epsilon), per channel."""
    x, scale, _, _, var = node.inputs[:5]
    if attribute(node, "training_mode", 0):
        raise UnsupportedNodeError("it is in training mode")
    if x is None or rank(x) is None:
        raise UnsupportedNodeError("the rank of its input is unknown")
    slope = op.Div(scale, op.Sqrt(op.Add(var, attribute(node, "epsilon", 1e-5))))
    per_channel = op.Reshape(slope, [-1] + [1] * (len(dims(x)) - 2))
    return [op.Mul(dy, per_channel), None, None, None, None]
