"""Layer-wise relevance propagation: rules as data, over one helper.

For a linear layer every rule is a sum over modified copies of it: with ``f_v`` the layer with
modified weights and ``x_v`` the modified input, ``R_in = sum_v x_v f_v^T(R_out / stab(z))``, where
``z = sum_v f_v(x_v)`` and ``stab(z) = z + epsilon sign(z)``, sign(0) = 1. Bach et al. 2015;
Montavon et al. 2017, 2019; in the form of Zennit (Anders et al. 2021).
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, constant_array, operand
from onnxplain.graph_rewrites.engine import (
    Contributions,
    RuleTable,
    UnsupportedNodeError,
    unbroadcast,
)

from .bounds import ImageBounds, carried
from .layers import LINEAR, Layer
from .relevance_rules import LinearRule, stabilised
from .tables import gradient

__all__ = ["relevance_table"]

_ROUTING = (
    "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherND",
    "GlobalMaxPool", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
_ACTIVATIONS = (
    "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LRN", "LeakyRelu", "Mish", "PRelu",
    "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu",
)  # fmt: skip
_MEANS = ("AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Resize")
_GATES = ("HardSigmoid", "Sigmoid", "Softmax", "Tanh")
_THROUGH = ("Expand", "Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def propagate(
    layer: Layer, rule: LinearRule, relevance: ir.Value, image: ImageBounds | None
) -> ir.Value:
    """Return the relevance of a layer's input from that of its output."""
    op, shares = layer.op, []
    bounds = carried(op, image, layer.x) if image is not None and rule.is_bounded else None
    for part in rule.parts:
        copies = [
            (value, modify)
            for make, modify in part.copies
            if (value := make(op, layer.x, bounds)) is not None
        ]
        z = None
        for index, (value, modify) in enumerate(copies):
            term = layer.forward(value, modify, part.bias if index == 0 else None)
            z = term if z is None else op.Add(z, term)
        assert z is not None
        quotient = op.Div(
            relevance, stabilised(op, z, rule.stabiliser, is_positive=part.is_positive)
        )
        if part.where:
            side = op.Greater(op.Mul(layer.y, float(part.where)), 0.0)
            quotient = op.Mul(quotient, op.CastLike(side, quotient))
        for value, modify in copies:
            share = op.Mul(value, layer.adjoint(quotient, modify))
            shares.append(share if part.factor == 1.0 else op.Mul(share, part.factor))
    total = shares[0]
    for share in shares[1:]:
        total = op.Add(total, share)
    return total


def relevance_table(rules: Mapping[ir.Node, LinearRule], image: ImageBounds | None) -> RuleTable:
    """Return the table of one propagation: ``rules`` says what holds at each linear layer."""
    table = RuleTable("lrp", _base)

    @table.rule(*LINEAR)
    def linear(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        nothing = [None] * (len(node.inputs) - 1)
        return [propagate(Layer(op, node), rules[node], relevance, image), *nothing]

    return table


_base = RuleTable("lrp")
_base.adopt(gradient, *_ROUTING)
_base.adopt_constants(gradient)


@_base.rule(*_ACTIVATIONS)
def activation(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Pass the relevance on."""
    return [relevance, *[None] * (len(node.inputs) - 1)]


@_base.rule("Cast")
def cast(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Pass the relevance on, in the type of the input."""
    return [op.CastLike(relevance, operand(node))]


@_base.rule("Add", "Sum", "Sub")
def summands(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Share in proportion to the summands, constants among them (norm)."""
    y = node.outputs[0]
    quotient = op.Div(relevance, stabilised(op, y))
    contributions: Contributions = []
    for index in range(len(node.inputs)):
        x = operand(node, index)
        share = op.Mul(x, quotient)
        share = op.Neg(share) if node.op_type == "Sub" and index == 1 else share
        constant = constant_array(x) is not None
        contributions.append(None if constant else unbroadcast(op, share, y, x))
    return contributions


@_base.rule("Mul", "Div")
def product(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Pass the relevance to the signal: the factor that is no constant and no gate."""
    a, b = operand(node, 0), operand(node, 1)
    if constant_array(b) is not None or (_is_gate(b, a) and not _is_gate(a, b)):
        return [relevance, None]
    if node.op_type == "Mul" and (constant_array(a) is not None or _is_gate(a, b)):
        return [None, relevance]
    raise UnsupportedNodeError("which of its factors is the gate is not clear")


@_base.rule(*_MEANS)
def mean(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Share in proportion to the elements (norm): x times the gradient of R / y."""
    x, y = operand(node), node.outputs[0]
    found = gradient.find(node, op.graph.opset_imports[""])
    if found is None:
        raise UnsupportedNodeError("this form of it has no gradient")
    quotient = op.Div(relevance, stabilised(op, y))
    (slope, *_) = found.rule(op, node, quotient)
    share = op.Mul(x, slope)
    return [share, *[None] * (len(node.inputs) - 1)]


@_base.rule("BatchNormalization")
def batch_normalization(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Treat it as a linear layer by the epsilon rule; those behind linear layers are merged."""
    x, y = operand(node), node.outputs[0]
    if any(user.op_type in LINEAR for user, _ in y.uses()):
        raise UnsupportedNodeError("it stands before a linear layer and cannot be merged into it")
    found = gradient.find(node, op.graph.opset_imports[""])
    assert found is not None
    slope = found.rule(op, node, op.Div(relevance, stabilised(op, y)))[0]
    return [op.Mul(x, slope), *[None] * (len(node.inputs) - 1)]


def _is_gate(value: ir.Value, signal: ir.Value) -> bool:
    """Return whether the value ends in a squashing function, or is smaller by broadcasting."""
    node = value.producer()
    while node is not None and node.op_type in _THROUGH:
        value = operand(node)
        node = value.producer()
    return node is not None and node.op_type in _GATES
