"""The rule tables. ``gradient`` is the root; every other method's table overlays it."""

from __future__ import annotations

from onnxplain.graph_rewrites.engine import RuleTable

__all__ = ["gradient"]

gradient = RuleTable("gradient")

# Nothing flows back through these: comparisons, integers and shapes, random numbers, rounding.
gradient.non_differentiable(
    "And", "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "Ceil", "ConstantOfShape", "Equal", "EyeLike", "Floor", "Greater",
    "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Mod", "NonZero", "Not",
    "OneHot", "Or", "Range", "Round", "Shape", "Sign", "Size", "Xor",
)  # fmt: skip
