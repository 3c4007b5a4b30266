"""Saliency: the size of the gradient of the score."""

from __future__ import annotations

from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Reduction, Score
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

__all__ = ["saliency"]


@declare(
    "saliency",
    title="Saliency",
    paper="Simonyan et al. 2014",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap"),
)
def saliency(
    rewriting: Rewriting, *, score: Score = "logit", reduction: Reduction = "max_abs"
) -> Maps:
    """How strongly the score reacts to each pixel, exact: R = |df_c/dx|."""
    dx = rewriting.backward(rules.gradient, rewriting.anatomy.pixels, score)
    attribution = rewriting.op.Abs(dx)
    return Maps(attribution=attribution, heatmap=rewriting.reduce_channels(attribution, reduction))
