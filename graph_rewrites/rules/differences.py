"""DeepLIFT: the gradient's walk, with quotients of differences where a function is not linear.

A multiplier m says how much of the score's difference to the baseline a unit of a value's
difference makes up. Linear layers hand multipliers on as gradients. Shrikumar et al. 2017; the
products of two varying values count each with the mean of the other, and so does what divides by a
norm or a sum; LRN keeps its gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, operand
from onnxplain.graph_rewrites.engine import Contributions, RuleTable, unbroadcast
from onnxplain.graph_rewrites.twins import Twin

from .dividing import SHARING
from .layers import LINEAR, Layer, bias_after, layer_of
from .products import POINTWISE, chosen_index, is_activation
from .quantisation import representable
from .relevance_rules import minus, plus
from .sharing import by_gradient
from .tables import gradient

__all__ = ["Differences", "difference_table"]

_MAXIMA = ("GlobalMaxPool", "MaxPool", "Max", "Min", "ReduceMax", "ReduceMin")
_PRODUCTS = ("Einsum", "Gemm", "MatMul", "Mul")
_SMALL = 1e-6


@dataclass
class Differences:
    """What holds in one walk.

    Attributes
    ----------
    twin
        The forward pass on the baseline.
    product
        How products of two varying values share: ``split`` or ``gradient``.
    reveals
        Whether activations behind a layer with weights tell positive from negative terms
        (RevealCancel).
    apart
        For each output of such a layer, the multipliers of its positive and negative terms.
    at_baseline
        For each maximum that LRN follows, what LRN's gradient at the baseline makes of m.
    """

    twin: Twin
    product: str = "split"
    reveals: bool = False
    apart: dict[ir.Value, tuple[ir.Value, ir.Value]] = field(default_factory=dict)
    at_baseline: dict[ir.Value, ir.Value] = field(default_factory=dict)


def difference_table(how: Differences) -> RuleTable:
    """Return the table of one walk."""
    table = RuleTable("deep_lift", gradient)

    @table.rule(*POINTWISE)
    def pointwise(op: Builder, node: ir.Node, m: ir.Value) -> Contributions:
        return _activation(op, node, m, how, 0)

    @table.rule("QuantizeLinear")
    def rounding(op: Builder, node: ir.Node, m: ir.Value) -> Contributions:
        """Take what it clips as an activation, and what it rounds as if it did not."""
        x, base = operand(node), how.twin[operand(node)]
        low, high = representable(op, node)
        change = op.Sub(op.Clip(x, low, high), op.Clip(base, low, high))
        slope = by_gradient(op, node, m)[0]
        assert slope is not None
        found = _over_difference(op, op.Mul(m, change), x, base, slope)
        return [found, *[None] * (len(node.inputs) - 1)]

    @table.rule("Where")
    def choice(op: Builder, node: ir.Node, m: ir.Value) -> Contributions:
        """Take an activation that was taken apart as one."""
        index = chosen_index(node)
        if index is None or operand(node, index) not in how.twin.values:
            return by_gradient(op, node, m)
        shares: Contributions = [None, None, None]
        shares[index] = _rescaled(op, node, m, how, index)
        return shares

    @table.rule("Conv", "ConvTranspose")
    def convolution(op: Builder, node: ir.Node, m: ir.Value) -> Contributions:
        return _linear(op, node, m, how) or by_gradient(op, node, m)

    @table.rule(*_PRODUCTS, "Div")
    def product(op: Builder, node: ir.Node, m: ir.Value) -> Contributions:
        """Of two varying factors each counts with the mean of the other at both ends."""
        if node.op_type in LINEAR and (found := _linear(op, node, m, how)) is not None:
            return found
        varying = [value for value in node.inputs if value in how.twin.values]
        split = how.product == "split" or (node.op_type in ("Div", "Mul") and is_activation(node))
        if not split or (node.op_type == "Div" and operand(node, 1) not in varying):
            return by_gradient(op, node, m)
        if node.op_type == "Div":
            return _quotient(op, node, m, how.twin)
        if len(varying) < 2:
            return by_gradient(op, node, m)
        half = op.Mul(m, 0.5)
        return _added(op, by_gradient(op, node, half), by_gradient(op, how.twin.nodes[node], half))

    @table.rule(*SHARING)
    def dividing(op: Builder, node: ir.Node, m: ir.Value) -> Contributions:
        if how.product != "split":
            return by_gradient(op, node, m)
        share = SHARING[node.op_type](op, node, m, how.twin)
        return [share, *[None] * (len(node.inputs) - 1)]

    @table.rule("LRN")
    def response(op: Builder, node: ir.Node, m: ir.Value) -> Contributions:
        """Keep the gradient; winners of a maximum at the baseline get the gradient there."""
        x = operand(node)
        before = x.producer()
        if before is not None and before.op_type in _MAXIMA and len(x.uses()) == 1:
            there = by_gradient(op, how.twin.nodes[node], m)[0]
            assert there is not None
            how.at_baseline[x] = there
        return by_gradient(op, node, m)

    @table.rule(*_MAXIMA)
    def maximum(op: Builder, node: ir.Node, m: ir.Value) -> Contributions:
        """Share between the winners at both ends: Captum's rule, overlaps added up."""
        varying = [value for value in node.inputs if value in how.twin.values]
        if node.op_type in ("Max", "Min") and len(varying) == 1:  # beside constants, an activation
            return _activation(op, node, m, how, list(node.inputs).index(varying[0]))
        extremum = op.Min if node.op_type in ("Min", "ReduceMin") else op.Max
        y, base = node.outputs[0], how.twin[node.outputs[0]]
        top = extremum(y, base)
        here = by_gradient(op, node, op.Mul(m, op.Sub(top, base)))
        m_there = how.at_baseline.get(y, m)
        there = by_gradient(op, how.twin.nodes[node], op.Mul(m_there, op.Sub(y, top)))
        plain = by_gradient(op, node, m)
        return [
            None
            if slope is None or total is None or x is None
            else _over_difference(op, total, x, how.twin[x], slope)
            for x, total, slope in zip(node.inputs, _added(op, here, there), plain, strict=True)
        ]

    return table


def _added(op: Builder, first: Contributions, second: Contributions) -> Contributions:
    return [
        None if a is None or b is None else op.Add(a, b) for a, b in zip(first, second, strict=True)
    ]


def _over_difference(
    op: Builder, total: ir.Value, x: ir.Value, base: ir.Value, slope: ir.Value
) -> ir.Value:
    """Return ``total / (x - base)``; ``slope`` where the difference is lost in rounding."""
    return _over(op, total, op.Sub(x, base), op.Max(op.Abs(x), op.Abs(base)), slope)


def _over(
    op: Builder, total: ir.Value, step: ir.Value, size: ir.Value, slope: ir.Value
) -> ir.Value:
    told = op.Greater(op.Abs(step), op.Mul(op.Add(size, 1e-30), _SMALL))
    return op.Where(told, op.Div(total, op.Where(told, step, op.scalar(1.0, step))), slope)


def _activation(
    op: Builder, node: ir.Node, m: ir.Value, how: Differences, index: int
) -> Contributions:
    """Multiply by the quotient of differences; ``index`` is the input that varies."""
    layer = _linear_before(op, operand(node, index)) if how.reveals else None
    shares: Contributions = [None] * len(node.inputs)
    if layer is None:
        shares[index] = _rescaled(op, node, m, how, index)
    else:
        pair = _revealed(op, node, layer, m, how, index)
        shares[index], how.apart[layer.node.outputs[0]] = pair[0], pair
    return shares


def _rescaled(op: Builder, node: ir.Node, m: ir.Value, how: Differences, index: int) -> ir.Value:
    """Return m times the difference of the outputs over that of the inputs (Rescale)."""
    x, y = operand(node, index), node.outputs[0]
    slope = by_gradient(op, node, m)[index]
    assert slope is not None
    gained = unbroadcast(op, op.Mul(m, op.Sub(y, how.twin[y])), y, x)
    return _over_difference(op, gained, x, how.twin[x], slope)


def _quotient(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> Contributions:
    """Take a / b as the product of a and 1 / b, whose difference is -db / (b b0)."""
    a, b, y = operand(node, 0), operand(node, 1), node.outputs[0]
    mean_inverse = op.Mul(op.Add(op.Reciprocal(b), op.Reciprocal(twin[b])), 0.5)
    mean_a = op.Mul(op.Add(a, twin[a]), 0.5)
    of_b = op.Neg(op.Div(op.Mul(m, mean_a), op.Mul(b, twin[b])))
    of_a = unbroadcast(op, op.Mul(m, mean_inverse), y, a)
    return [of_a, unbroadcast(op, of_b, y, b)]


def _linear_before(op: Builder, z: ir.Value) -> Layer | None:
    """Return the layer with weights that makes ``z`` for one activation, and nothing else."""
    before = z.producer()
    if before is not None and before.op_type == "Add":  # of a MatMul and its bias
        makers = [value.producer() for value in before.inputs if value is not None]
        layers = [maker for maker in makers if maker is not None and bias_after(maker) is before]
        before = layers[0] if layers else None
    if before is None or before.op_type not in LINEAR or len(z.uses()) != 1:
        return None
    return None if constant_array(before.inputs[1]) is None else layer_of(op, before)


def _revealed(
    op: Builder, node: ir.Node, layer: Layer, m: ir.Value, how: Differences, index: int
) -> tuple[ir.Value, ir.Value]:
    """Return the multipliers of the positive and the negative terms (RevealCancel).

    What each adds is the mean of what it adds first, and after the other (section 3.5.2).
    """
    base, x = how.twin[layer.y], layer.x
    step = op.Sub(x, how.twin[x])
    up, down = op.Relu(step), op.Relu(op.Neg(step))
    positive = op.Add(layer.forward(up, plus, None), layer.forward(down, minus, None))
    negative = op.Sub(op.Sub(layer.y, base), positive)

    def value(z: ir.Value) -> ir.Value:
        attributes = {name: attribute(node, name) for name in node.attributes}
        inputs = [z if given is layer.y else given for given in node.inputs]
        found: ir.Value = getattr(op, node.op_type)(*inputs, **attributes)
        return found

    start, end = how.twin[node.outputs[0]], node.outputs[0]
    after_up, after_down = value(op.Add(base, positive)), value(op.Add(base, negative))
    slope = by_gradient(op, node, m)[index]
    assert slope is not None
    size = op.Max(op.Abs(layer.y), op.Abs(base))
    pair = []
    for terms, alone, other in ((positive, after_up, after_down), (negative, after_down, after_up)):
        gained = op.Mul(op.Add(op.Sub(alone, start), op.Sub(end, other)), 0.5)
        pair.append(_over(op, op.Mul(m, gained), terms, size, slope))
    return pair[0], pair[1]


def _linear(op: Builder, node: ir.Node, m: ir.Value, how: Differences) -> Contributions | None:
    """Hand on the multipliers of positive and negative terms; ``None`` where they are the same."""
    pair = how.apart.get(node.outputs[0])
    if pair is None:
        return None
    layer = layer_of(op, node)
    of_positive, of_negative = pair
    rising = op.Sub(layer.adjoint(of_positive, plus), layer.adjoint(of_negative, minus))
    falling = op.Sub(layer.adjoint(of_negative, plus), layer.adjoint(of_positive, minus))
    step = op.Sub(layer.x, how.twin[layer.x])
    level = op.Mul(op.Add(rising, falling), 0.5)
    found = op.Where(op.Greater(step, 0.0), rising, op.Where(op.Less(step, 0.0), falling, level))
    return [found, *[None] * (len(node.inputs) - 1)]
