"""Dense layers in one form: Gemm without factors, its bias inside."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import attribute, constant_array, operand, rank
from onnxplain.graph_rewrites.engine import label

from .surgery import Folded, become, constant

__all__ = ["scale_dense", "take_bias"]


def scale_dense(graph: ir.Graph) -> list[Folded]:
    """Multiply the factors alpha and beta of Gemm into its weights and bias."""
    folded = []
    for node in list(graph):
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
        kept = {
            name: attribute(node, name) for name in ("transA", "transB") if attribute(node, name)
        }
        folded.append(Folded("alpha, beta", label(node)))
        become(graph, node, "Gemm", [node.inputs[0], *scaled], kept)
    return folded


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
