"""Models exported in training mode: put into inference form, and a word about it."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from .builder import constant_array

__all__ = ["batch_statistics_fixed", "dropout_removed", "note_training", "training_notices"]

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
