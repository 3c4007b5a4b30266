"""Changing nodes of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

__all__ = ["Folded", "become", "constant"]


class Folded(NamedTuple):
    """What a pattern did: ``node`` is now part of ``into``."""

    node: str
    into: str


def constant(graph: ir.Graph, name: str, array: np.ndarray, dtype: np.dtype) -> ir.Value:
    """Return a new initialiser."""
    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(array.astype(dtype), name=name)
    value = ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def become(
    graph: ir.Graph,
    node: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any],
) -> None:
    """Make ``node`` another operator, its output kept; what only it used is removed."""
    before = [value.producer() for value in node.inputs if value is not None]
    node.op_type = op_type
    node.attributes.clear()
    node.attributes.update(
        (given.name, given) for given in ir.convenience.convert_attributes(attributes)
    )
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
    for maker in before:
        _remove_idle(graph, maker)


def _remove_idle(graph: ir.Graph, node: ir.Node | None) -> None:
    """Remove a node that nothing uses, and what only it used."""
    if node is None or node.graph is not graph:
        return
    if any(output.uses() or output.is_graph_output() for output in node.outputs):
        return
    before = [value.producer() for value in node.inputs if value is not None]
    graph.remove(node, safe=True)
    for maker in before:
        _remove_idle(graph, maker)
