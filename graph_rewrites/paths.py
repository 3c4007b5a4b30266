"""Which nodes lie between two places of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

__all__ = ["is_float", "nodes_between"]


def nodes_between(
    sources: Iterable[ir.Value],
    sinks: Iterable[ir.Value],
    is_constant: Callable[[ir.Node], bool],
) -> list[ir.Node]:
    """Return, in order, the nodes on a floating-point path from ``sources`` to ``sinks``.

    Nodes for which ``is_constant`` holds (shape arithmetic, comparisons) end a path.
    """
    sinks = set(sinks)
    graph = next(iter(sinks)).graph
    if graph is None:
        raise ValueError("the values belong to no graph")
    active, forward = set(sources), []
    for node in graph:
        if not is_constant(node) and any(value in active for value in _read_by(node)):
            forward.append(node)
            active.update(output for output in node.outputs if is_float(output))
            if node.op_type == "QuantizeLinear":  # integers that stand for real numbers
                active.update(node.outputs)
    needed, nodes = sinks, []
    for node in reversed(forward):
        if any(output in needed for output in node.outputs):
            nodes.append(node)
            needed.update(value for value in _read_by(node) if value in active)
    return nodes[::-1]


def _read_by(node: ir.Node) -> Iterator[ir.Value]:
    """Yield a node's inputs, and what its subgraphs read: of themselves, or of the graph around."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            graph = attribute.as_graph()
            yield from graph.outputs
            for inner in graph:
                yield from _read_by(inner)


def is_float(value: ir.Value) -> bool:
    """Return whether the value holds floating-point numbers, or might."""
    return value.dtype is None or value.dtype.is_floating_point()
