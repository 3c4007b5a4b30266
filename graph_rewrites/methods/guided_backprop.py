"""Guided backprop: the gradient with rectifiers that pass positive evidence only."""

from __future__ import annotations

from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Reduction
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .rectified import rectified_gradient

__all__ = ["guided_backprop"]


@declare(
    "guided_backprop",
    title="Guided backprop",
    paper="Springenberg et al. 2015, section 3.4",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap"),
)
def guided_backprop(rewriting: Rewriting, *, reduction: Reduction = "max_abs") -> Maps:
    """Gradient with max(g, 0) at every rectifier, where its input passes."""
    dx = rectified_gradient(rewriting, rules.rectifiers.guided_backprop)
    return Maps(attribution=dx, heatmap=rewriting.reduce_channels(dx, reduction))
