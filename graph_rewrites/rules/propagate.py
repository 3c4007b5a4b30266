"""Relevance of linear layers: all rules over one helper.

For a linear layer every rule is a sum over modified copies of it: with ``f_v`` the layer with
modified weights and ``x_v`` the modified input, ``R_in = sum_v x_v f_v^T(R_out / stab(z))``, where
``z = sum_v f_v(x_v)`` and ``stab(z) = z + epsilon sign(z)``, sign(0) = 1. Bach et al. 2015;
Montavon et al. 2017, 2019; in the form of Zennit (Anders et al. 2021).
"""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.engine import UnsupportedNodeError

from .bounds import ImageBounds, carried
from .convolution import unmodified
from .layers import Layer
from .masks import above, below
from .relevance_rules import LinearRule, scaled, stabilised

__all__ = ["propagate"]


def propagate(
    layer: Layer, rule: LinearRule, relevance: ir.Value, image: ImageBounds | None
) -> ir.Value:
    """Return the relevance of a layer's input from that of its output."""
    op = layer.op
    if not rule.parts:
        if not layer.keeps_shape:
            raise UnsupportedNodeError("its output has another shape than its input: no rule pass")
        return relevance
    bounds = carried(op, image, layer.x) if image is not None and rule.is_bounded else None
    kinds = dict.fromkeys(make for part in rule.parts for make, _ in part.copies)
    made = {make: make(op, layer.x, bounds) for make in kinds}
    slopes: dict[ir.Value, ir.Value] = {}
    for part in rule.parts:
        copies = [
            (value, modify) for make, modify in part.copies if (value := made[make]) is not None
        ]
        z = layer.y if copies == [(layer.x, unmodified)] and part.bias is unmodified else None
        for index, (value, modify) in enumerate(copies if z is None else ()):
            bias = part.bias if index == 0 else None
            step = rule.stabiliser if index == 0 and part.is_positive else 0.0
            term = layer.forward(value, modify, bias, step)
            z = term if z is None else op.Add(z, term)
        assert z is not None
        quotient = op.Div(relevance, z if part.is_positive else stabilised(op, z, rule.stabiliser))
        if part.where:
            side = above if part.where > 0 else below
            quotient = op.Mul(quotient, side(op, layer.y, 0.0))
        for value, modify in copies:
            slope = layer.adjoint(quotient, scaled(part.factor, modify))
            slopes[value] = op.Add(slopes[value], slope) if value in slopes else slope
    shares = [op.Mul(value, slope) for value, slope in slopes.items()]
    total = shares[0]
    for share in shares[1:]:
        total = op.Add(total, share)
    return total
