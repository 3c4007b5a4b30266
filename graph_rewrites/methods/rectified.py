"""The backward pass of DeconvNet and guided backprop."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.engine import RuleTable
from onnxplain.graph_rewrites.paths import nodes_between
from onnxplain.graph_rewrites.rewriting import Rewriting

__all__ = ["rectified_gradient"]


def rectified_gradient(rewriting: Rewriting, table: RuleTable) -> ir.Value:
    """Walk back to the image by ``table``, from 1 at the target; warn of smooth activations.

    Raises
    ------
    InvalidArgument
        ``CONTRAST_UNSUPPORTED``: the target is a weighing of classes.
    """
    rewriting.refuse_contrast(table.name)
    anatomy = rewriting.anatomy
    nodes = nodes_between([anatomy.pixels], [anatomy.logits], table.is_constant)
    smooth = sorted({node.op_type for node in nodes} & rules.rectifiers.SMOOTH)
    if smooth:
        rewriting.warn(
            "SMOOTH_ACTIVATION",
            f"{table.name} is defined for rectifiers; {', '.join(smooth)} keep their gradient",
        )
    return rewriting.backward(table, anatomy.pixels)
