"""The signed gradient of the score."""

from __future__ import annotations

from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Reduction, Score
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

__all__ = ["gradient"]


@declare(
    "gradient",
    title="Gradient",
    paper="Simonyan et al. 2014",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap"),
)
def gradient(
    rewriting: Rewriting, *, score: Score = "logit", reduction: Reduction = "max_abs"
) -> Maps:
    """Signed gradient of the score: R = df_c/dx."""
    dx = rewriting.backward(rules.gradient, rewriting.anatomy.pixels, score)
    return Maps(attribution=dx, heatmap=rewriting.reduce_channels(dx, reduction))
