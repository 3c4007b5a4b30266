"""Training mode: models exported in it are put into inference form, with a word about it.

BatchNormalization in training mode may also be there to standardise weights.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from .builder import attribute, constant_array
from .patterns.surgery import constant

__all__ = [
    "batch_statistics_fixed",
    "dropout_removed",
    "fold_standardisation",
    "note_training",
    "training_notices",
]

_KEY = "onnxplain.training_mode"


def batch_statistics_fixed(graph: onnx.GraphProto) -> list[str]:
    """Let every BatchNormalization use the file's mean and variance; return who did not.

    One whose further outputs, the batch's statistics, are used stays as it is, and so does one of
    constants: that standardises weights.
    """
    used = {name for node in graph.node for name in node.input}
    used |= {value.name for value in graph.output}
    varying = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    fixed = []
    for node in graph.node:
        if varying & set(node.input):
            varying |= set(node.output)
        if node.op_type != "BatchNormalization" or node.domain not in ("", "ai.onnx"):
            continue
        if node.input[0] not in varying:
            continue
        modes = [item for item in node.attribute if item.name == "training_mode"]
        training = len(node.output) > 1 or any(item.i for item in modes)
        if not training or used & set(filter(None, node.output[1:])):
            continue
        del node.output[1:]
        for item in modes:
            node.attribute.remove(item)
        fixed.append(node.name or node.output[0])
    return fixed


def fold_standardisation(graph: ir.Graph) -> bool:
    """Replace what BatchNormalization makes of a constant, by its own statistics; say if any."""
    found = False
    for node in list(graph):
        y, *statistics = node.outputs
        if node.op_type != "BatchNormalization" or not attribute(node, "training_mode", 0):
            continue
        arrays = [constant_array(value) for value in node.inputs[:3]]
        asked = any(value.is_graph_output() for value in node.outputs)
        asked = asked or any(value.uses() for value in statistics)
        if asked or any(array is None for array in arrays):
            continue
        x, scale, shift = (np.asarray(array, np.float64) for array in arrays)
        others = (0, *range(2, x.ndim))
        centred = x - x.mean(others, keepdims=True)
        deviation = np.sqrt(x.var(others, keepdims=True) + attribute(node, "epsilon", 1e-5))
        of_channels = [-1, *[1] * (x.ndim - 2)]
        whole = centred / deviation * scale.reshape(of_channels) + shift.reshape(of_channels)
        folded = constant(graph, f"{y.name}/folded", whole, np.asarray(arrays[0]).dtype)
        y.replace_all_uses_with(folded)
        graph.remove(node, safe=True)
        found = True
    return found


def dropout_removed(graph: ir.Graph) -> list[str]:
    """Replace Dropout by its input; return who would have dropped.

    One whose mode is computed stays as it is, and one whose mask or output is asked for stays at
    inference.
    """
    training = []
    for node in graph:
        if node.op_type != "Dropout" or node.domain != "":
            continue
        mode = node.inputs[2] if len(node.inputs) > 2 else None
        if mode is not None:
            constant = constant_array(mode)
            if constant is None:
                continue
            node.replace_input_with(2, None)
            if constant.any():
                training.append(node.name or node.outputs[0].name or "")
        mask_used = len(node.outputs) > 1 and node.outputs[1].uses()
        source = node.inputs[0]
        if mask_used or node.outputs[0].is_graph_output() or source is None:
            continue
        node.outputs[0].replace_all_uses_with(source)
        graph.remove(node, safe=True)
    return training


def note_training(model: ir.Model, names: list[str]) -> None:
    """Note in the canonical model which nodes were in training mode."""
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        model.metadata_props[_KEY] = ", ".join(names[:3]) + more


def training_notices(canonical: onnx.ModelProto) -> list[tuple[str, str]]:
    """Return what readers of an explanation are to know, as code and message."""
    return [
        (
            "TRAINING_MODE",
            f"the model was exported in training mode ({entry.value}): this explains it with the "
            "running statistics of its file and without dropout, while its scores are the file's "
            "own; export it in evaluation mode",
        )
        for entry in canonical.metadata_props
        if entry.key == _KEY
    ]
