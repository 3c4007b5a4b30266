"""Replacing nodes of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

__all__ = ["Folded", "constant", "label", "replace"]


class Folded(NamedTuple):
    """What a pattern did: ``node`` is now part of ``into``."""

    node: str
    into: str


def label(node: ir.Node) -> str:
    """Return a name for the node."""
    return node.name or node.outputs[0].name or node.op_type


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


def replace(
    graph: ir.Graph,
    node: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any],
) -> ir.Node:
    """Put a new node of one output in the place of ``node``; return it."""
    new, old = ir.node(op_type, inputs, attributes=attributes, name=node.name), node.outputs[0]
    new.outputs[0].name, new.outputs[0].type, new.outputs[0].shape = old.name, old.type, old.shape
    graph.insert_before(node, new)
    ir.convenience.replace_all_uses_with(old, new.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return new
