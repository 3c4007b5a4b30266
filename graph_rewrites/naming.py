"""Names of what a rewrite adds to a graph."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["free_name", "name_what_is_new"]


def free_name(graph: ir.Graph, name: str) -> str:
    """Return ``name``, or where the graph uses that, ``onnxplain_`` and the name."""
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    taken |= {output.name for node in graph for output in node.outputs}
    return f"onnxplain_{name}" if name in taken else name


def name_what_is_new(
    graph: ir.Graph, own_nodes: set[ir.Node], own_constants: set[ir.Value]
) -> None:
    """Give new nodes, values and constants names under ``onnxplain/``."""
    interface = {*graph.inputs, *graph.outputs}
    for index, value in enumerate(
        [v for v in graph.initializers.values() if v not in own_constants]
    ):
        value.name = f"onnxplain/constant_{index}"
    for index, node in enumerate(node for node in graph if node not in own_nodes):
        node.name = f"onnxplain/{node.op_type}_{index}"
        node.metadata_props.clear()
        for place, output in enumerate(node.outputs):
            if output not in interface:
                output.name = f"onnxplain/{node.op_type}_{index}_{place}"
