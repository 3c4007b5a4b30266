"""A second forward pass through the same graph, on another input."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from .builder import Builder, attribute

__all__ = ["Twin", "forward_again"]

_OF_SHAPES = ("Shape", "Size")


@dataclass(frozen=True)
class Twin:
    """What a graph computes from another input: the values and nodes by those they repeat."""

    values: dict[ir.Value, ir.Value]
    nodes: dict[ir.Node, ir.Node]

    def __getitem__(self, value: ir.Value) -> ir.Value:
        """Return the value that stands for ``value``: itself where it depends on no input."""
        return self.values.get(value, value)


def forward_again(op: Builder, source: ir.Value, instead: ir.Value, sink: ir.Value) -> Twin:
    """Compute ``sink`` from ``instead``, a value of the shape of ``source``, in its place."""
    values, nodes = {source: instead}, {}
    for node in _between(list(op.graph), source, sink):
        inputs = [None if value is None else values.get(value, value) for value in node.inputs]
        attributes = {name: attribute(node, name) for name in node.attributes}
        if len(node.outputs) == 1:
            given = [getattr(op, node.op_type)(*inputs, **attributes)]
        else:
            given = op.several(node.op_type, len(node.outputs), *inputs, **attributes)
        for old, new in zip(node.outputs, given, strict=True):
            new.shape, new.type = old.shape, old.type
            values[old] = new
        twin = given[0].producer()
        assert twin is not None
        nodes[node] = twin
    return Twin(values, nodes)


def _between(nodes: Iterable[ir.Node], source: ir.Value, sink: ir.Value) -> list[ir.Node]:
    """Return the nodes on a way from ``source`` to ``sink``, in order; shapes are the same."""
    reached, forward = {source}, []
    for node in nodes:
        if node.op_type not in _OF_SHAPES and any(value in reached for value in node.inputs):
            forward.append(node)
            reached.update(node.outputs)
    needed, found = {sink}, []
    for node in reversed(forward):
        if any(output in needed for output in node.outputs):
            found.append(node)
            needed.update(value for value in node.inputs if value is not None)
    return found[::-1]
