"""Composites: which relevance rule holds at which linear layer."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir

from .engine import label
from .errors import InvalidArgument, Violation, nearest
from .rules.layers import CONVOLUTIONS, is_layer
from .rules.relevance_rules import (
    LinearRule,
    alpha_beta,
    contrast,
    epsilon,
    flat,
    gamma,
    norm,
    passing,
    w_square,
    with_bias,
    zbox,
    zplus,
)

__all__ = [
    "COMPOSITES",
    "Composite",
    "RuleSettings",
    "deep_taylor_composite",
    "excitation_composite",
    "read_rules",
    "rule_names",
]

RULES = (
    "epsilon", "gamma", "alpha_beta", "zplus", "w_square", "flat", "zbox", "pass", "norm",
)  # fmt: skip
_DENSE = ("Gemm", "MatMul")


@dataclass(frozen=True)
class Composite:
    """Names of rules: of convolutions, of dense layers, of the first and the last layer."""

    convolution: str
    dense: str
    first: str | None = None
    last: str | None = None


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


def excitation_composite(*, contrastive: bool) -> Composite:
    """Return excitation backprop's: zplus; at the last layer, if contrastive, minus that of -W."""
    return Composite("zplus", "zplus", last="contrast" if contrastive else None)


@dataclass(frozen=True, kw_only=True)
class RuleSettings:
    """The numbers in the rules, and what biases take; see the options of these names."""

    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    beta: float = 1.0
    bias: str = "keep"

    def rules(self) -> dict[str, LinearRule]:
        """Return every rule by its name.

        Raises
        ------
        InvalidArgument
            ``OPTION_OUT_OF_RANGE`` where alpha - beta is not 1.
        """
        if abs(self.alpha - self.beta - 1) > 1e-9:
            message = f"alpha - beta must be 1, not {self.alpha:g} - {self.beta:g}"
            raise InvalidArgument(
                "OPTION_OUT_OF_RANGE", message, violations=[Violation("alpha", message)]
            )
        rules = {
            "alpha2_beta1": alpha_beta(2, 1),
            "alpha_beta": alpha_beta(self.alpha, self.beta),
            "contrast": contrast(),
            "epsilon": epsilon(self.epsilon),
            "flat": flat(),
            "gamma": gamma(self.gamma),
            "norm": norm(),
            "pass": passing(),
            "w_square": w_square(),
            "zbox": zbox(),
            "zplus": zplus(),
        }
        return {name: with_bias(rule, self.bias) for name, rule in rules.items()}

    def idle(self, used: Container[str]) -> list[str]:
        """Return the numbers that were set for rules that are not ``used``."""
        rule_of = {"epsilon": "epsilon", "gamma": "gamma", "alpha": "alpha_beta"}
        usual = RuleSettings()
        return [
            name
            for name, rule in rule_of.items()
            if rule not in used and getattr(self, name) != getattr(usual, name)
        ]


def read_rules(text: str | None) -> list[tuple[str, str]]:
    """Read overrides such as ``conv1*:zbox,Gemm:epsilon`` as pairs of pattern and rule.

    Raises
    ------
    InvalidArgument
        ``OPTION_OUT_OF_RANGE``: not of this form, or no such rule.
    """
    pairs = []
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        pattern, colon, rule = part.rpartition(":")
        if not colon or not pattern or rule not in RULES:
            why = nearest(rule, RULES) if colon else "write PATTERN:RULE,PATTERN:RULE"
            message = f"rules: {part!r} names no rule; {why}"
            raise InvalidArgument(
                "OPTION_OUT_OF_RANGE", message, violations=[Violation("rules", message)]
            )
        pairs.append((pattern, rule))
    return pairs


def rule_names(
    composite: Composite,
    nodes: Sequence[ir.Node],
    overrides: Sequence[tuple[str, str]] = (),
) -> dict[ir.Node, str]:
    """Return the name of every linear layer's rule; ``nodes`` lead from image to score.

    Parameters
    ----------
    overrides
        Patterns of node names (``*`` and ``?`` stand for anything) or operators, each with the
        name of a rule; the first that fits a layer holds, before the composite.

    Raises
    ------
    InvalidArgument
        ``UNKNOWN_LAYER`` where a pattern fits no linear layer.
    """
    linear = [node for node in nodes if is_layer(node)]
    _refuse_idle(overrides, linear)
    ends = dict.fromkeys(_first(nodes, "inputs"), composite.first) if composite.first else {}
    if composite.last:
        ends |= dict.fromkeys(_first(nodes[::-1], "outputs"), composite.last)
    names = {}
    for node in linear:
        usual = composite.convolution if node.op_type in CONVOLUTIONS else composite.dense
        given = (rule for pattern, rule in overrides if _fits(pattern, node))
        names[node] = next(given, ends.get(node) or usual)
    return names


def _first(nodes: Sequence[ir.Node], side: str) -> list[ir.Node]:
    """Return the linear layers that no other one lies before, as ``nodes`` are ordered."""
    other = "outputs" if side == "inputs" else "inputs"
    behind: set[ir.Value | None] = set()
    found = []
    for node in nodes:
        is_first = not any(value in behind for value in getattr(node, side))
        if is_layer(node) and is_first:
            found.append(node)
        if is_layer(node) or not is_first:
            behind.update(getattr(node, other))
    return found


def _fits(pattern: str, node: ir.Node) -> bool:
    kinds = _DENSE if node.op_type in _DENSE else (node.op_type,)
    name = label(node)
    return pattern in (*kinds, name) or fnmatchcase(name, pattern.replace("[", "[[]"))


def _refuse_idle(overrides: Sequence[tuple[str, str]], linear: Sequence[ir.Node]) -> None:
    names = [label(node) for node in linear]
    for pattern, _ in overrides:
        if not any(_fits(pattern, node) for node in linear):
            message = (
                f"rules: no layer with weights is called {pattern!r}; {nearest(pattern, names)}"
            )
            raise InvalidArgument(
                "UNKNOWN_LAYER", message, violations=[Violation("rules", message)]
            )


def keep_sign(rules: Mapping[ir.Node, LinearRule]) -> bool:
    """Return whether no rule turns relevance of one sign into the other."""
    return all(rule.keeps_sign for rule in rules.values())
