"""Gradients of the linear operators with constant weights, and of matrix products."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, dims, operand, rank
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError, unbroadcast

from .convolution import unmodified
from .layers import layer_of
from .tables import gradient

__all__: list[str] = []


@gradient.rule("Conv", "ConvTranspose")
def convolution(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = the adjoint of the operator; its weights are constants."""
    dx = layer_of(op, node).adjoint(dy, unmodified)
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


@gradient.rule("Einsum")
def einsum(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Each factor gets the sum of products of dy with the other factors."""
    equation = attribute(node, "equation").replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if not arrow or any(len(set(term)) < len(term) or "." in term for term in (*terms, result)):
        raise UnsupportedNodeError(
            f"the equation {equation!r} has an ellipsis, a diagonal or no ->"
        )
    contributions: Contributions = []
    for index, term in enumerate(terms):
        others = [*terms[:index], *terms[index + 1 :]]
        if not set(term) <= set("".join((result, *others))):
            raise UnsupportedNodeError(f"the equation {equation!r} sums over an axis of one factor")
        factors = [operand(node, other) for other in range(len(terms)) if other != index]
        adjoint = f"{','.join((result, *others))}->{term}"
        contributions.append(op.Einsum(dy, *factors, equation=adjoint))
    return contributions
