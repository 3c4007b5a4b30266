"""One relevance propagation: from the score to the image, with its residual."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.composites import Composite, assign
from onnxplain.graph_rewrites.engine import backward
from onnxplain.graph_rewrites.merging import merge_batch_norms
from onnxplain.graph_rewrites.paths import nodes_between
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting
from onnxplain.graph_rewrites.rules.bounds import ImageBounds
from onnxplain.graph_rewrites.rules.relevance import relevance_table

__all__ = ["propagated"]


def propagated(
    rewriting: Rewriting,
    composite: Composite,
    *,
    start: str,
    reduction: str,
    stabiliser: float = 1e-6,
    share: float = 0.25,
) -> Maps:
    """Return the maps of relevance propagation.

    Parameters
    ----------
    start
        What is distributed: ``score``, the score itself; ``positive_score``, its positive part;
        ``one``.
    stabiliser, share
        See `assign`.
    """
    op, anatomy = rewriting.op, rewriting.anatomy
    merge_batch_norms(rewriting.graph)
    nodes = nodes_between([anatomy.pixels], [anatomy.logits], lambda node: False)
    rules = assign(composite, nodes, stabiliser=stabiliser, share=share)
    image = ImageBounds(anatomy.pixels, *rewriting.bounds()) if composite.first == "zbox" else None
    relevance = _start(rewriting, start)
    attribution = backward(
        op, relevance_table(rules, image), {anatomy.logits: relevance}, [anatomy.pixels]
    )[0]
    found = op.ReduceSum(attribution, [1, 2, 3], keepdims=0)
    given = op.ReduceSum(op.Reshape(relevance, [-1, anatomy.n_classes]), [1], keepdims=0)
    return Maps(
        attribution=attribution,
        heatmap=rewriting.reduce_channels(attribution, reduction),
        residual=op.Sub(found, given),
    )


def _start(rewriting: Rewriting, start: str) -> ir.Value:
    op, logits = rewriting.op, rewriting.anatomy.logits
    weights = op.reshape_like(op.CastLike(rewriting.weights, logits), logits)
    if start == "one":
        return weights
    relevance = op.Mul(weights, logits)
    return op.Relu(relevance) if start == "positive_score" else relevance
