"""The score as a linear function of the image, near the image."""

from __future__ import annotations

from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Reduction, Score
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

__all__ = ["linear_score"]


@declare(
    "linear_score",
    title="Linear score",
    paper="Simonyan et al. 2014, eq. 3, 4",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap"),
)
def linear_score(
    rewriting: Rewriting, *, score: Score = "logit", reduction: Reduction = "sum"
) -> Maps:
    """Weights and intercept of the score near the image: f_c = R x + b, R = df_c/dx."""
    op, image = rewriting.op, rewriting.anatomy.pixels
    weights = rewriting.backward(rules.gradient, image, score)
    product = op.ReduceSum(op.Mul(weights, image), [1, 2, 3], keepdims=0)
    return Maps(
        attribution=weights,
        heatmap=rewriting.reduce_channels(weights, reduction),
        intercept=op.Sub(rewriting.score(score), product),
    )
