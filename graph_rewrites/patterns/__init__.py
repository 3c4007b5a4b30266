"""Named patterns that bring a graph to fewer, larger layers; its outputs stay the same.

The rules of relevance see through them to the network that was trained: a normalisation belongs to
the layer it follows, a bias to the product it is added to.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from .activations import take_factors
from .affine import gather_affine, merge_affine
from .dense import scale_dense, take_bias
from .padding import fold_padding
from .rectifiers import recognise_rectifiers
from .response import recognise_response_normalisation
from .surgery import Folded

__all__ = ["PATTERNS", "Folded", "folded", "merge_affine", "recognise_rectifiers", "simplify"]

PATTERNS = {
    "activation_factors": take_factors,
    "response_normalisation": recognise_response_normalisation,
    "dense_factors": scale_dense,
    "dense_bias": take_bias,
    "affine_after_layer": merge_affine,
    "padding": fold_padding,
    "affine_before_layer": gather_affine,
}


def simplify(graph: ir.Graph) -> dict[str, list[Folded]]:
    """Apply all patterns, in order; return what each did, by the pattern's name."""
    return {name: pattern(graph) for name, pattern in PATTERNS.items()}


def folded(canonical: onnx.ModelProto) -> dict[str, list[Folded]]:
    """Say what `simplify` does to a model that `canonise` returned; it is not changed."""
    return simplify(ir.from_proto(canonical).graph)
