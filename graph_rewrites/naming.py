"""Names of what a rewrite adds to a graph."""

from __future__ import annotations

import itertools

import onnx_ir as ir

__all__ = ["free_name", "name_what_is_new"]


def free_name(graph: ir.Graph, name: str) -> str:
    """Return ``name``, with ``onnxplain_`` before it as often as the graph uses it already."""
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    taken |= {output.name for node in graph for output in node.outputs}
    while name in taken:
        name = f"onnxplain_{name}"
    return name


def name_what_is_new(
    graph: ir.Graph, own_nodes: set[ir.Node], own_constants: set[ir.Value]
) -> None:
    """Give new nodes, values and constants names under ``onnxplain/`` that nothing else has."""
    interface = {*graph.inputs, *graph.outputs}
    new = [value for value in graph.initializers.values() if value not in own_constants]
    taken = {value.name for value in own_constants}
    taken |= {output.name for node in own_nodes for output in node.outputs}
    free = (name for n in itertools.count() if (name := f"onnxplain/constant_{n}") not in taken)
    for number, value in enumerate(new):  # out of each other's way
        value.name = f"onnxplain/new/{number}"
    for value, name in zip(new, free, strict=False):
        value.name = name
    for index, node in enumerate(node for node in graph if node not in own_nodes):
        node.name = f"onnxplain/{node.op_type}_{index}"
        node.metadata_props.clear()
        for place, output in enumerate(node.outputs):
            if output not in interface:
                name = f"onnxplain/{node.op_type}_{index}_{place}"
                while name in taken:
                    name += "_"
                output.name = name
