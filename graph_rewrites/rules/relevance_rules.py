"""Relevance rules of linear layers, as data: which copies of a layer share what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, constant_array
from onnxplain.graph_rewrites.engine import UnsupportedNodeError

from .bounds import Bounds
from .convolution import Modify, unmodified
from .masks import below

__all__ = [
    "LinearRule",
    "Part",
    "alpha_beta",
    "contrast",
    "epsilon",
    "flat",
    "gamma",
    "is_not_negative",
    "norm",
    "passing",
    "scaled",
    "stabilised",
    "w_square",
    "with_bias",
    "zbox",
    "zplus",
]

STABILISER = 1e-6

_MOVES = (
    "AveragePool", "Cast", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LRN",
    "MaxPool", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Reshape", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
_TOGETHER = ("Add", "Concat", "Div", "Mul", "Sum")
_NOT_NEGATIVE = (
    "Abs", "Exp", "HardSigmoid", "LpPool", "ReduceL1", "ReduceL2", "Relu", "Sigmoid", "Softmax",
    "Softplus", "Sqrt",
)  # fmt: skip

Input = Callable[[Builder, ir.Value, "Bounds | None"], "ir.Value | None"]


def _same(op: Builder, x: ir.Value, bounds: Bounds | None) -> ir.Value:
    return x


def _positive_part(op: Builder, x: ir.Value, bounds: Bounds | None) -> ir.Value:
    return x if is_not_negative(x) else op.Relu(x)


def _negative_part(op: Builder, x: ir.Value, bounds: Bounds | None) -> ir.Value | None:
    """Return ``min(x, 0)``; nothing where that is nothing."""
    return None if is_not_negative(x) else op.Mul(x, below(op, x, 0.0))


def _ones(op: Builder, x: ir.Value, bounds: Bounds | None) -> ir.Value:
    return op.Expand(op.scalar(1.0, x), op.Shape(x))


def _bound(index: int) -> Input:
    def bound(op: Builder, x: ir.Value, bounds: Bounds | None) -> ir.Value:
        if bounds is None:
            raise UnsupportedNodeError("zbox needs the bounds of the image")
        return bounds[index]

    return bound


def plus(op: Builder, w: ir.Value) -> ir.Value:
    """Return ``max(w, 0)``."""
    return op.Relu(w)


def minus(op: Builder, w: ir.Value) -> ir.Value:
    """Return ``max(-w, 0)``."""
    return op.Relu(op.Neg(w))


def _negated(modify: Modify) -> Modify:
    return lambda op, w: op.Neg(modify(op, w))


def _more(share: float, part: Modify) -> Modify:
    return lambda op, w: op.Add(w, op.Mul(part(op, w), share))


def scaled(factor: float, modify: Modify) -> Modify:
    """Return the modification times a number."""
    return modify if factor == 1.0 else lambda op, w: op.Mul(modify(op, w), factor)


def _squared(op: Builder, w: ir.Value) -> ir.Value:
    return op.Mul(w, w)


def _all_ones(op: Builder, w: ir.Value) -> ir.Value:
    return op.Expand(op.scalar(1.0, w), op.Shape(w))


@dataclass(frozen=True)
class Part:
    """Copies of a layer that share one denominator; ``factor`` scales what they pass on.

    With ``where`` 1 or -1, only outputs of the layer of that sign take part. A part that
    ``is_positive`` has no denominator below 0: no term of its sums is.
    """

    copies: Sequence[tuple[Input, Modify]]
    bias: Modify | None
    factor: float = 1.0
    where: int = 0
    is_positive: bool = False


@dataclass(frozen=True)
class LinearRule:
    """A rule for linear layers: its parts, and what stabilises their denominators.

    With ``keeps_sign``, relevance of one sign stays of that sign. Without parts, the layer's input
    gets what its output had.
    """

    parts: Sequence[Part]
    stabiliser: float = STABILISER
    is_bounded: bool = False
    keeps_sign: bool = False


def epsilon(stabiliser: float) -> LinearRule:
    """LRP-epsilon: x, W, b."""
    return LinearRule([Part([(_same, unmodified)], unmodified)], stabiliser)


# x W = (max(x, 0) + min(x, 0))(W+ - W-): the products above 0, and those below without their sign
_FOR = ((_positive_part, plus), (_negative_part, _negated(minus)))
_AGAINST = ((_positive_part, minus), (_negative_part, _negated(plus)))


def zplus() -> LinearRule:
    """Z+: what is positive of every product."""
    return LinearRule([Part(_FOR, plus, is_positive=True)], keeps_sign=True)


def contrast() -> LinearRule:
    """Excitation minus inhibition: what speaks for an output by z+ of W, against it by z+ of -W."""
    return alpha_beta(1, 1)


def norm() -> LinearRule:
    """In proportion to the summands: epsilon, with its smallest stabiliser."""
    return epsilon(STABILISER)


def passing() -> LinearRule:
    """Unchanged."""
    return LinearRule([])


def alpha_beta(alpha: float, beta: float) -> LinearRule:
    """Alpha times the positive share minus beta times the negative one."""
    if beta == 0:
        return zplus()
    return LinearRule(
        [
            Part(_FOR, plus, alpha, is_positive=True),
            Part(_AGAINST, minus, -beta, is_positive=True),
        ]
    )


def gamma(share: float) -> LinearRule:
    """LRP-gamma in its signed form: the side of the output's sign weighs more by ``share``."""
    up, down = _more(share, plus), _more(-share, minus)
    return LinearRule(
        [
            Part([(_positive_part, up), (_negative_part, down)], up, where=1),
            Part([(_positive_part, down), (_negative_part, up)], down, where=-1),
        ]
    )


def w_square() -> LinearRule:
    """Squares of the weights, whatever x is."""
    return LinearRule([Part([(_ones, _squared)], _squared, is_positive=True)], keeps_sign=True)


def flat() -> LinearRule:
    """Equal shares."""
    return LinearRule([Part([(_ones, _all_ones)], None, is_positive=True)], keeps_sign=True)


def zbox() -> LinearRule:
    """Z^B for inputs between bounds: x W - low W+ - high W-."""
    copies = [
        (_same, unmodified), (_bound(0), _negated(plus)), (_bound(1), minus),
    ]  # fmt: skip
    return LinearRule([Part(copies, None)], is_bounded=True, keeps_sign=True)


def with_bias(rule: LinearRule, bias: str) -> LinearRule:
    """Return the rule with the biases' share: ``keep``, ``ignore`` or ``clamp`` (at most 0)."""
    if bias == "keep":
        return rule
    parts = [
        replace(
            part,
            bias=None if bias == "ignore" or part.bias is None else _clamped(part.bias),
        )
        for part in rule.parts
    ]
    return replace(rule, parts=parts)


def _clamped(modify: Modify) -> Modify:
    return lambda op, bias: modify(op, op.Neg(minus(op, bias)))


def stabilised(
    op: Builder, z: ir.Value, stabiliser: float = STABILISER, *, is_positive: bool = False
) -> ir.Value:
    """Return ``z + epsilon sign(z)``, sign(0) = 1; simpler where no z is below 0."""
    step = op.scalar(stabiliser, z)
    if is_positive:
        return op.Add(z, step)
    return op.Add(z, op.Where(op.Less(z, 0.0), op.Neg(step), step))


def is_not_negative(value: ir.Value) -> bool:
    """Return whether the value cannot be below 0, as far as the nodes that make it tell."""
    known: dict[ir.Value, bool] = {}
    waiting = [value]
    while waiting:
        current = waiting[-1]
        sources, enough = _grounds(current)
        unknown = [source for source in sources if source not in known]
        if unknown:
            waiting += unknown
        else:
            known[current] = enough(known[source] for source in sources)
            waiting.pop()
    return known[value]


def _grounds(value: ir.Value) -> tuple[list[ir.Value], Callable[[Iterable[bool]], bool]]:
    """Return the values that tell whether this one is below 0, and how many of them must not be.

    ``all`` of none is true, ``any`` of none is false.
    """
    array = constant_array(value)
    if array is not None:
        return [], all if bool((array >= 0).all()) else any
    node = value.producer()
    if node is None:
        return [], any
    sources = [given for given in node.inputs if given is not None]
    if node.op_type == "Clip":
        low = constant_array(node.inputs[1] if len(node.inputs) > 1 else None)
        return [], all if low is not None and bool((low >= 0).all()) else any
    if node.op_type == "DequantizeLinear":  # of what quantising clips
        zero = constant_array(node.inputs[2] if len(node.inputs) > 2 else None)
        least = np.iinfo(sources[0].dtype.numpy()).min if sources[0].dtype else None
        return [], all if zero is not None and bool((zero == least).all()) else any
    if node.op_type == "Max":
        return sources, any
    if node.op_type in _TOGETHER:
        return sources, all
    if node.op_type in _MOVES:
        return sources[:1], all
    return [], all if node.op_type in _NOT_NEGATIVE else any
