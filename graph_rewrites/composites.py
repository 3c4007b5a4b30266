"""Composites: which relevance rule holds at which linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from .rules.layers import CONVOLUTIONS, LINEAR
from .rules.relevance_rules import (
    LinearRule,
    alpha_beta,
    epsilon,
    flat,
    gamma,
    w_square,
    zbox,
    zplus,
)

__all__ = ["COMPOSITES", "Composite", "assign", "deep_taylor_composite"]


@dataclass(frozen=True)
class Composite:
    """Names of rules: of convolutions, of dense layers, and of the first layer if another."""

    convolution: str
    dense: str
    first: str | None = None


COMPOSITES = {
    "epsilon": Composite("epsilon", "epsilon"),
    "epsilon_plus": Composite("zplus", "epsilon"),
    "epsilon_plus_flat": Composite("zplus", "epsilon", "flat"),
    "epsilon_alpha2_beta1": Composite("alpha2_beta1", "epsilon"),
    "epsilon_alpha2_beta1_flat": Composite("alpha2_beta1", "epsilon", "flat"),
    "epsilon_gamma_box": Composite("gamma", "epsilon", "zbox"),
    "alpha1_beta0": Composite("zplus", "zplus"),
    "alpha2_beta1": Composite("alpha2_beta1", "alpha2_beta1"),
    "gamma": Composite("gamma", "gamma"),
    "flat_epsilon": Composite("epsilon", "epsilon", "flat"),
}


def deep_taylor_composite(first: str) -> Composite:
    """Return deep Taylor decomposition's: zplus, and another rule for the first layer."""
    return Composite("zplus", "zplus", first)


def assign(
    composite: Composite, nodes: Sequence[ir.Node], *, stabiliser: float, share: float
) -> dict[ir.Node, LinearRule]:
    """Return the rule of every linear layer among ``nodes``, which lead from image to score.

    Parameters
    ----------
    stabiliser
        Of the rule epsilon.
    share
        The gamma of the rule gamma.
    """
    rules = {
        "alpha2_beta1": alpha_beta(2, 1),
        "epsilon": epsilon(stabiliser),
        "flat": flat(),
        "gamma": gamma(share),
        "w_square": w_square(),
        "zbox": zbox(),
        "zplus": zplus(),
    }
    assigned: dict[ir.Node, LinearRule] = {}
    behind: set[ir.Value] = set()  # values that a linear layer lies before
    for node in nodes:
        is_first = not any(value in behind for value in node.inputs)
        if node.op_type in LINEAR:
            name = composite.convolution if node.op_type in CONVOLUTIONS else composite.dense
            if is_first and composite.first is not None:
                name = composite.first
            assigned[node] = rules[name]
        if node.op_type in LINEAR or not is_first:
            behind.update(node.outputs)
    return assigned
