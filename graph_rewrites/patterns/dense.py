"""Dense layers in one form: Gemm of rows, without factors, its bias inside."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import attribute, constant_array, operand, rank
from onnxplain.graph_rewrites.engine import label

from .surgery import Folded, become, constant

__all__ = ["scale_dense", "take_bias"]


def scale_dense(graph: ir.Graph) -> list[Folded]:
    """Multiply alpha and beta of Gemm into its weights and bias; transpose what transA asks for."""
    folded = []
    for node in list(graph):
        _transpose_input(graph, node)
        alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
        if node.op_type != "Gemm" or node.domain != "" or (alpha, beta) == (1.0, 1.0):
            continue
        arrays = [constant_array(value) for value in node.inputs[1:]]
        if any(array is None for array in arrays):
            continue
        scaled = [
            constant(graph, f"{label(node)}/scaled", np.asarray(array) * factor, array.dtype)
            for array, factor in zip(arrays, (alpha, beta), strict=False)
            if array is not None
        ]
        kept = {"transB": 1} if attribute(node, "transB", 0) else {}
        folded.append(Folded("alpha, beta", label(node)))
        become(graph, node, "Gemm", [node.inputs[0], *scaled], kept)
    return folded


def _transpose_input(graph: ir.Graph, node: ir.Node) -> None:
    """Let an operator of its own do what the attribute transA asks for."""
    if node.op_type != "Gemm" or node.domain != "" or not attribute(node, "transA", 0):
        return
    rows = ir.node("Transpose", [node.inputs[0]], {"perm": [1, 0]})
    rows.name = rows.outputs[0].name = f"{label(node)}/rows"
    x = operand(node)
    rows.outputs[0].type = x.type
    rows.outputs[0].shape = None if x.shape is None else ir.Shape([*x.shape][::-1])
    graph.insert_before(node, rows)
    node.replace_input_with(0, rows.outputs[0])
    del node.attributes["transA"]


def take_bias(graph: ir.Graph) -> list[Folded]:
    """Make MatMul of rank 2 and the constant added to it one Gemm."""
    folded = []
    for node in list(graph):
        if node.op_type != "Add" or node.domain != "":
            continue
        index = 0 if constant_array(node.inputs[1]) is not None else 1
        bias, y = constant_array(node.inputs[1 - index]), operand(node, index)
        layer = y.producer()
        if bias is None or layer is None or layer.op_type != "MatMul" or rank(y) != 2:
            continue
        weight = constant_array(layer.inputs[1])
        alone = len(y.uses()) == 1 and not y.is_graph_output()
        if weight is None or not alone or bias.ndim > 2:
            continue
        if bias.shape[-1:] != weight.shape[1:] or bias.size != weight.shape[1]:
            continue
        value = constant(graph, f"{label(layer)}/bias", bias.reshape(-1), bias.dtype)
        folded.append(Folded(label(node), label(layer)))
        name = layer.name
        become(graph, node, "Gemm", [*layer.inputs, value], {})
        node.name = name
    return folded
