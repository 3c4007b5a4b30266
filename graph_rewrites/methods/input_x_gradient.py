"""Input times gradient."""

from __future__ import annotations

from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Reduction, Score
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

__all__ = ["input_x_gradient"]


@declare(
    "input_x_gradient",
    title="Input x gradient",
    paper="Shrikumar et al. 2016",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap"),
)
def input_x_gradient(
    rewriting: Rewriting, *, score: Score = "logit", reduction: Reduction = "sum"
) -> Maps:
    """Input times the gradient of the score: R = x df_c/dx."""
    image = rewriting.anatomy.pixels
    attribution = rewriting.op.Mul(image, rewriting.backward(rules.gradient, image, score))
    return Maps(attribution=attribution, heatmap=rewriting.reduce_channels(attribution, reduction))
