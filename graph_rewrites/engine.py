"""Reverse walks over an ONNX graph: one engine, many rule tables.

A *rule* says what happens at one operator: it takes the operator's upstream cotangents and emits
one contribution per input. The engine owns everything else: which nodes take part, their order,
summing over several consumers, un-broadcasting, refusing what has no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import onnx_ir as ir

from .builder import Builder, dims
from .errors import FailedPrecondition, Violation
from .paths import nodes_between

__all__ = ["Contributions", "Rule", "RuleTable", "UnsupportedNodeError", "backward", "unbroadcast"]

Contributions = list["ir.Value | None"]
"""One per input of a node; ``None`` is no contribution."""

Rule = Callable[..., Contributions]
"""``rule(op, node, dy, ...) -> contributions``, one ``dy`` per output."""


class UnsupportedNodeError(Exception):
    """Raised by a rule that cannot treat this node; the text says why, without the node's name."""


class Found(NamedTuple):
    """A rule as found in a table; with ``broadcasts``, what it emits has the output's shape."""

    rule: Rule
    broadcasts: bool


class RuleTable:
    """Rules by operator; looks in ``parent`` for what it does not have itself.

    Parameters
    ----------
    name
        The table's name, as it appears in error messages.
    parent
        Table to inherit from: an overlay of a few rules over another table.
    """

    def __init__(self, name: str, parent: RuleTable | None = None) -> None:
        self.name = name
        self._parent = parent
        self._rules: dict[str, list[tuple[int, Found]]] = {}
        self._constant: set[str] = set()

    def rule(
        self, *op_types: str, since: int = 1, broadcasts: bool = False
    ) -> Callable[[Rule], Rule]:
        """Register the decorated function for these operators from opset ``since`` on.

        With ``broadcasts`` its contributions have the output's shape and the engine sums them
        down to each input's.
        """

        def register(function: Rule) -> Rule:
            for op_type in op_types:
                entries = self._rules.setdefault(op_type, [])
                if op_type in self._constant or any(entry[0] == since for entry in entries):
                    raise ValueError(f"{self.name}: {op_type} since opset {since} is registered")
                entries.append((since, Found(function, broadcasts)))
                entries.sort(key=lambda entry: -entry[0])
            return function

        return register

    def non_differentiable(self, *op_types: str) -> None:
        """Declare operators whose outputs are constants to a backward pass."""
        for op_type in op_types:
            if op_type in self._rules or op_type in self._constant:
                raise ValueError(f"{self.name}: {op_type} is registered")
            self._constant.add(op_type)

    def adopt(self, other: RuleTable, *op_types: str) -> None:
        """Take another table's rules for these operators."""
        for op_type in op_types:
            self._rules[op_type] = list(other._rules[op_type])

    def adopt_constants(self, other: RuleTable) -> None:
        """Take over what another table declares non-differentiable."""
        self._constant |= other._constant

    def find(self, node: ir.Node, opset: int) -> Found | None:
        """Return the node's rule, ``None`` where there is none."""
        for since, found in self._rules.get(node.op_type, ()):
            if node.domain == "" and since <= opset:
                return found
        return self._parent.find(node, opset) if self._parent else None

    def is_constant(self, node: ir.Node) -> bool:
        """Return whether nothing flows back through the node."""
        if node.domain != "" or node.op_type in self._rules:
            return False
        return node.op_type in self._constant or (
            self._parent is not None and self._parent.is_constant(node)
        )

    def op_types(self) -> frozenset[str]:
        """Return all operators that have a rule."""
        inherited = self._parent.op_types() if self._parent else frozenset()
        return inherited | frozenset(self._rules)


def backward(
    op: Builder,
    rules: RuleTable,
    start: Mapping[ir.Value, ir.Value],
    wrt: Sequence[ir.Value],
) -> list[ir.Value]:
    """Walk the graph from ``start`` back to ``wrt`` and return what arrives there.

    Parameters
    ----------
    op
        Builder of the graph; the new nodes are appended to it.
    rules
        What happens at each operator.
    start
        Cotangents (or relevance) to begin with, by forward value, each of that value's shape.
    wrt
        Forward values to arrive at.

    Returns
    -------
    list of ir.Value
        One cotangent per value of ``wrt``, of its shape; zeros where nothing arrives.

    Raises
    ------
    FailedPrecondition
        ``UNSUPPORTED_OPERATOR``, naming every node on the way that has no rule.
    """
    opset = op.graph.opset_imports[""]
    nodes = [
        (node, rules.find(node, opset)) for node in nodes_between(wrt, start, rules.is_constant)
    ]
    refused = [
        Violation(label(node), f"no {rules.name} rule for {kind(node)}")
        for node, found in nodes
        if found is None
    ]
    varying = {*wrt, *(output for node, _ in nodes for output in node.outputs)}
    arriving: dict[ir.Value, list[ir.Value]] = {value: [dy] for value, dy in start.items()}
    for node, found in reversed(nodes):
        upstream = [_total(op, arriving.get(output, ())) for output in node.outputs]
        if found is None or refused or all(dy is None for dy in upstream):
            continue
        try:
            contributions = found.rule(op, node, *_without_trailing_none(upstream))
        except UnsupportedNodeError as refusal:
            refused.append(Violation(label(node), f"{kind(node)}: {refusal}"))
            continue
        for x, dx in zip(node.inputs, contributions, strict=True):
            if x in varying and dx is not None:
                part = unbroadcast(op, dx, node.outputs[0], x) if found.broadcasts else dx
                arriving.setdefault(x, []).append(part)
    if refused:
        raise _unsupported(rules, refused)
    totals = [_total(op, arriving.get(value, ())) for value in wrt]
    return [_zeros(op, x) if dx is None else dx for x, dx in zip(wrt, totals, strict=True)]


def unbroadcast(op: Builder, dy: ir.Value, output: ir.Value, x: ir.Value) -> ir.Value:
    """Sum ``dy``, shaped like ``output``, over the axes along which ``x`` was broadcast to it."""
    if output.shape is None or x.shape is None:
        return _unbroadcast_dynamically(op, dy, x)
    large, small = dims(output), dims(x)
    lead = len(large) - len(small)
    axes = list(range(lead))
    for axis, size in enumerate(small, start=lead):
        if size == 1 and large[axis] != 1:
            axes.append(axis)
        elif size is None and large[axis] != 1 and not _same_symbol(output, axis, x, axis - lead):
            return _unbroadcast_dynamically(op, dy, x)
    if not axes:
        return dy
    total: ir.Value = op.ReduceSum(dy, axes, keepdims=1)
    return op.reshape_like(total, x) if lead else total


def _same_symbol(a: ir.Value, axis_a: int, b: ir.Value, axis_b: int) -> bool:
    if a.shape is None or b.shape is None:
        return False
    size_a, size_b = a.shape[axis_a], b.shape[axis_b]
    return size_a == size_b and getattr(size_a, "value", None) is not None


def _unbroadcast_dynamically(op: Builder, dy: ir.Value, x: ir.Value) -> ir.Value:
    """Decide at run time which axes to sum: those where x, padded with leading ones, has size 1."""
    wanted = op.Shape(x)
    padding = op.Sub(op.Size(op.Shape(dy)), op.Size(wanted))
    padded = op.Concat(op.Expand([1], op.Reshape(padding, [1])), wanted, axis=0)
    axes = op.Reshape(op.NonZero(op.Equal(padded, [1])), [-1])
    return op.Reshape(op.ReduceSum(dy, axes, keepdims=1, noop_with_empty_axes=1), wanted)


def _total(op: Builder, contributions: Sequence[ir.Value]) -> ir.Value | None:
    if not contributions:
        return None
    total = contributions[0]
    for contribution in contributions[1:]:
        total = op.Add(total, contribution)
    return total


def _zeros(op: Builder, value: ir.Value) -> ir.Value:
    return op.Expand(op.scalar(0.0, value), op.Shape(value))


def _without_trailing_none(upstream: list[ir.Value | None]) -> list[ir.Value | None]:
    while upstream[-1] is None:
        upstream.pop()
    return upstream


def kind(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def label(node: ir.Node) -> str:
    return node.name or f"{node.op_type} -> {node.outputs[0].name}"


def _unsupported(rules: RuleTable, refused: Sequence[Violation]) -> FailedPrecondition:
    shown = "; ".join(f"{item.subject} ({item.description})" for item in refused[:5])
    more = f" and {len(refused) - 5} more nodes" if len(refused) > 5 else ""
    return FailedPrecondition(
        "UNSUPPORTED_OPERATOR",
        f"the backward pass cannot go through {shown}{more}; methods that need forward passes "
        "only, such as lime, still work",
        violations=refused,
        metadata={"rules": rules.name},
    )
