"""Layer-wise relevance propagation: rules as data, over one helper.

What a layer with weights does is `propagate`'s; here is the rest. Bach et al. 2015;
Montavon et al. 2017, 2019; in the form of Zennit (Anders et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, operand, rank
from onnxplain.graph_rewrites.engine import (
    Contributions,
    RuleTable,
    UnsupportedNodeError,
    label,
    unbroadcast,
)

from .bounds import ImageBounds
from .layers import (
    CONVOLUTIONS,
    LINEAR,
    behind_norm,
    bias_after,
    is_layer,
    is_mergeable,
    layer_of,
)
from .products import (
    POINTWISE,
    gate_index,
    is_activation,
    linear_index,
    squashed_index,
)
from .propagate import propagate
from .relevance_rules import LinearRule
from .sharing import (
    amplification,
    by_gradient,
    by_norm,
    halves,
    less_bias,
    shares_of_sum,
    through_deviation,
)
from .tables import gradient

__all__ = ["Propagation", "relevance_table"]

_ROUTING = (
    "Concat", "DepthToSpace", "DequantizeLinear", "Dropout", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "GlobalMaxPool", "Identity", "MaxPool", "Pad", "ReduceMax",
    "ReduceMin", "Reshape", "ScatterElements", "ScatterND", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
)  # fmt: skip
_MEANS = (
    "AveragePool", "GlobalAveragePool", "LpPool", "Mean", "ReduceL1", "ReduceL2", "ReduceMean",
    "ReduceSum",
)  # fmt: skip


@dataclass
class Propagation:
    """What holds in one propagation.

    Attributes
    ----------
    rules
        The rule of every linear layer on the way.
    pixels
        The image.
    image
        Where the rule zbox gets its bounds from.
    activations, lrn, gate, resize, batch_norm, add, bias
        How relevance passes what is no linear layer; the options of these names, and whether
        activations pass relevance on or multiply it by their ``gradient``.
    parts
        Nodes within activations that were taken apart; see `is_within_activation`.
    warn
        Told of what had to be guessed.
    amplifications
        Of every sum of branches: its name, and how many times the relevance that arrives its
        shares add up to, regardless of sign, ``[N]``.
    """

    rules: Mapping[ir.Node, LinearRule]
    pixels: ir.Value
    image: ImageBounds | None = None
    activations: str = "pass"
    lrn: str = "pass"
    gate: str = "signal"
    resize: str = "norm"
    batch_norm: str = "merge"
    add: str = "norm"
    bias: str = "keep"
    parts: Container[ir.Node] = ()
    warn: Callable[[str, str], None] = lambda code, message: None
    amplifications: list[tuple[str, ir.Value]] = field(default_factory=list)

    def differentiates(self, node: ir.Node) -> bool:
        """Return whether arithmetic is (part of) an activation that counts by its gradient."""
        return self.activations == "gradient" and (node in self.parts or is_activation(node))

    def tell_ambiguous(self, node: ir.Node) -> None:
        """Warn that a product's factors share as equals."""
        self.warn(
            "AMBIGUOUS_GATE",
            f"which factor of {label(node)} is the gate is not clear: each gets half",
        )


def relevance_table(propagation: Propagation) -> RuleTable:
    """Return the table of one propagation."""
    table = RuleTable("lrp", _base)
    how = propagation

    @table.rule(*LINEAR)
    def linear(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        if not is_layer(node):
            return _contracted(op, node, relevance, how)
        norm = operand(node).producer()
        merged = norm is not None and how.batch_norm == "merge" and is_mergeable(norm)
        layer = behind_norm(op, node, norm) if norm and merged else layer_of(op, node)
        nothing = [None] * (len(node.inputs) - 1)
        return [propagate(layer, how.rules[node], relevance, how.image), *nothing]

    @table.rule("Einsum")
    def contraction(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        return _contracted(op, node, relevance, how)

    @table.rule("BatchNormalization")
    def batch_normalization(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        """Pass on what layers behind it made their own; else as a layer of its own."""
        if how.batch_norm == "gradient":
            return by_gradient(op, node, relevance)
        merged = how.batch_norm == "merge" and is_mergeable(node)
        if merged or how.batch_norm == "pass" or how.bias == "ignore":
            return [relevance, *[None] * 4]
        scale, shift, mean, variance = (operand(node, index) for index in range(1, 5))
        deviation = op.Sqrt(op.Add(variance, attribute(node, "epsilon", 1e-5)))
        offset = op.Sub(shift, op.Mul(mean, op.Div(scale, deviation)))
        along = [-1] + [1] * ((rank(operand(node)) or 2) - 2)
        counted = less_bias(op, node.outputs[0], op.Reshape(offset, along), how.bias)
        return by_norm(op, node, relevance, counted)

    @table.rule("Add", "Sum", "Sub")
    def summands(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        """Share in proportion to the summands, constants among them (norm).

        What is the bias of a layer before passes on: it has its part in the layer's own rule.
        """
        constants = [constant_array(value) is not None for value in node.inputs]
        alone = constants.index(False) if constants.count(False) == 1 else None
        if alone is not None and how.differentiates(node):
            return by_gradient(op, node, relevance)
        layer = None if alone is None else operand(node, alone).producer()
        if layer is not None and bias_after(layer) is node:
            return [relevance if n == alone else None for n in range(len(constants))]
        if how.bias == "ignore" and alone is not None:
            share = unbroadcast(op, relevance, node.outputs[0], operand(node, alone))
            return [share if n == alone else None for n in range(len(constants))]
        shares = shares_of_sum(op, node, relevance, positive=how.add == "zplus", bias=how.bias)
        ranks = {rank(operand(node, n)) for n in range(len(shares)) if shares[n] is not None}
        many = sum(share is not None for share in shares) > 1
        if many and ranks == {rank(node.outputs[0])} and None not in ranks:
            ratio = amplification(op, shares, relevance, node.outputs[0], how.pixels)
            if ratio is not None:
                how.amplifications.append((label(node), ratio))
        return shares

    @table.rule("Mul", "Div")
    def product(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        """Pass the relevance to the signal: the factor that is no constant and no gate."""
        constants = [constant_array(value) is not None for value in node.inputs]
        if how.differentiates(node):
            return by_gradient(op, node, relevance)
        if any(constants):
            index = constants.index(False)
        elif is_activation(node):
            found = linear_index(node)
            if found is None:
                return halves(op, node, relevance)
            index = found
        elif how.gate == "gradient":
            return by_gradient(op, node, relevance)
        else:
            gate = 1 if node.op_type == "Div" else gate_index(node)
            if gate is None:
                how.tell_ambiguous(node)
                return halves(op, node, relevance)
            index = 1 - gate
        shares: Contributions = [None, None]
        shares[index] = unbroadcast(op, relevance, node.outputs[0], operand(node, index))
        return shares

    @table.rule("InstanceNormalization", "LayerNormalization")
    def standardisation(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        return through_deviation(op, node, relevance, how.bias)

    @table.rule("LRN")
    def response(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        return [relevance] if how.lrn == "pass" else by_gradient(op, node, relevance)

    @table.rule("Resize")
    def resize(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        by = by_norm if how.resize == "norm" else by_gradient
        return by(op, node, relevance)

    @table.rule(*POINTWISE, "Max", "Min", "QuantizeLinear")
    def activation(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
        """Pass on what an activation gets; of several values, the extremum takes all."""
        varying = [n for n, v in enumerate(node.inputs) if v and constant_array(v) is None]
        if how.activations == "gradient" or len(varying) > 1:
            return by_gradient(op, node, relevance)
        shares: Contributions = [None] * len(node.inputs)
        (index,) = varying
        shares[index] = unbroadcast(op, relevance, node.outputs[0], operand(node, index))
        return shares

    return table


_base = RuleTable("lrp")
_base.adopt(gradient, *_ROUTING)
_base.adopt_constants(gradient)


@_base.rule("Cast")
def cast(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Pass the relevance on, in the type of the input."""
    return [op.CastLike(relevance, operand(node))]


@_base.rule(*_MEANS)
def mean(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Share in proportion to what each element adds (norm): these scale as their input does."""
    return by_norm(op, node, relevance)


@_base.rule("Softmax")
def softmax(op: Builder, node: ir.Node, relevance: ir.Value) -> Contributions:
    """Share by the slopes: ``x (R - y sum R)``; Achtibat et al. 2024, eq. 13."""
    y, axis = node.outputs[0], attribute(node, "axis", -1)
    total = op.ReduceSum(relevance, [axis], keepdims=1)
    return [op.Mul(operand(node), op.Sub(relevance, op.Mul(y, total)))]


def _contracted(op: Builder, node: ir.Node, relevance: ir.Value, how: Propagation) -> Contributions:
    """Share a product summed over axes by the norm rule: all to the signal, where one is a gate."""
    varying = [n for n, value in enumerate(node.inputs) if constant_array(value) is None]
    if len(varying) == 1:
        how.warn(
            "NORM_RULE", f"{label(node)} is no layer with a rule of its own: the norm rule holds"
        )
        return by_norm(op, node, relevance)
    if len(varying) != 2 or node.op_type in CONVOLUTIONS:
        raise UnsupportedNodeError("it multiplies more than two values, or makes its own weights")
    if how.gate == "gradient":
        return by_gradient(op, node, relevance)
    gate = squashed_index(node)
    if gate is None:
        how.tell_ambiguous(node)
        relevance = op.Mul(relevance, 0.5)
    shares = by_norm(op, node, relevance)
    return [None if index == gate else share for index, share in enumerate(shares)]
