"""Ways to share relevance among the inputs of one node."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, operand, rank
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError, unbroadcast

from .relevance_rules import stabilised
from .tables import gradient

__all__ = [
    "amplification", "by_gradient", "by_norm", "halves", "less_bias", "shares_of_sum",
    "through_deviation",
]  # fmt: skip


def by_gradient(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Multiply by the gradient."""
    found = gradient.find(node, op.graph.opset_imports[""])
    if found is None:
        raise UnsupportedNodeError("this form of it has no gradient")
    shares: Contributions = found.rule(op, node, relevance)
    if not found.broadcasts:
        return shares
    y = node.outputs[0]
    return [
        None if share is None or x is None else unbroadcast(op, share, y, x)
        for x, share in zip(node.inputs, shares, strict=True)
    ]


def by_norm(
    op: Builder, node: ir.Node, relevance: ir.Value, total: ir.Value | None = None
) -> Contributions:
    """Share in proportion to what is summed: x times the gradient of R / y.

    ``total`` takes the place of y where not all of it counts.
    """
    quotient = op.Div(relevance, stabilised(op, node.outputs[0] if total is None else total))
    slopes = by_gradient(op, node, quotient)
    return [
        None if slope is None or x is None or constant_array(x) is not None else op.Mul(x, slope)
        for x, slope in zip(node.inputs, slopes, strict=True)
    ]


def less_bias(op: Builder, y: ir.Value, shift: ir.Value | None, bias: str) -> ir.Value:
    """Return what of ``y``, which ends in adding ``shift``, counts by the option ``bias``."""
    if bias == "keep" or shift is None:
        return y
    return op.Sub(y, shift if bias == "ignore" else op.Relu(shift))


def through_deviation(
    op: Builder, node: ir.Node, relevance: ir.Value, bias: str = "keep"
) -> Contributions:
    """By the norm rule, the deviation it divides by taken as a constant.

    ``y = a (x - mean) + shift`` with ``a = scale / deviation``: with ``q = R / y``, x gets
    ``x (a q - mean(a q))``; ``bias`` says what of the shift counts in y.
    """
    x, y, scale = operand(node), node.outputs[0], operand(node, 1)
    n = rank(x)
    if n is None:
        raise UnsupportedNodeError("the rank of its input is unknown")
    axes = list(range(2, n))
    shift = node.inputs[2] if len(node.inputs) > 2 else None
    if node.op_type == "LayerNormalization":
        axes = list(range(attribute(node, "axis", -1) % n, n))
    else:
        of_channels = [-1] + [1] * (n - 2)
        scale = op.Reshape(scale, of_channels)
        shift = None if shift is None else op.Reshape(shift, of_channels)
    counted = less_bias(op, y, shift, bias)
    centred = op.Sub(x, op.ReduceMean(x, axes, keepdims=1))
    variance = op.ReduceMean(op.Mul(centred, centred), axes, keepdims=1)
    deviation = op.Sqrt(op.Add(variance, attribute(node, "epsilon", 1e-5)))
    slope = op.Div(op.Mul(scale, op.Div(relevance, stabilised(op, counted))), deviation)
    share = op.Mul(x, op.Sub(slope, op.ReduceMean(slope, axes, keepdims=1)))
    return [share, *[None] * (len(node.inputs) - 1)]


def shares_of_sum(
    op: Builder, node: ir.Node, relevance: ir.Value, *, positive: bool, bias: str = "keep"
) -> Contributions:
    """Return each summand's share: of the sum, or of the sum of the positive ones.

    ``bias`` says what of constants counts.
    """
    y, terms = node.outputs[0], []
    for index in range(len(node.inputs)):
        x = operand(node, index)
        term = op.Neg(x) if node.op_type == "Sub" and index == 1 else x
        if bias == "clamp" and constant_array(x) is not None:
            term = op.Min(term, 0.0)
        terms.append(op.Relu(term) if positive else term)
    total = y if bias == "keep" and not positive else op.Sum(*terms)
    quotient = op.Div(relevance, stabilised(op, total, is_positive=positive))
    return [
        None
        if constant_array(x) is not None
        else unbroadcast(op, op.Mul(term, quotient), y, operand(node, index))
        for index, (x, term) in enumerate(zip(node.inputs, terms, strict=True))
    ]


def halves(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Give each of two inputs a half."""
    half = op.Mul(relevance, 0.5)
    return [unbroadcast(op, half, node.outputs[0], operand(node, index)) for index in range(2)]


def amplification(
    op: Builder, shares: Contributions, relevance: ir.Value, like: ir.Value, image: ir.Value
) -> ir.Value | None:
    """Return how many times what arrives the shares add up to, regardless of sign, ``[N]``.

    All are shaped like ``like``; ``None`` where that has no row for each of the image's.
    """
    values = [relevance, *(share for share in shares if share is not None)]
    # onnxruntime's ReduceL1 takes five times as long
    found = [op.sum_rows(op.Abs(value), like, image) for value in values]
    sizes = [size for size in found if size is not None]
    return op.Div(op.Sum(*sizes[1:]), op.Add(sizes[0], 1e-30)) if sizes else None
