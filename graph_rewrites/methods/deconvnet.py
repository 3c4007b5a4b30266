"""DeconvNet: the gradient with rectifiers that pass positive evidence only."""

from __future__ import annotations

from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Reduction
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .rectified import rectified_gradient

__all__ = ["deconvnet"]


@declare(
    "deconvnet",
    title="DeconvNet",
    paper="Zeiler & Fergus 2014, section 2.1",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap"),
)
def deconvnet(rewriting: Rewriting, *, reduction: Reduction = "max_abs") -> Maps:
    """Gradient with max(g, 0) at every rectifier, whatever its input."""
    dx = rectified_gradient(rewriting, rules.rectifiers.deconvnet)
    return Maps(attribution=dx, heatmap=rewriting.reduce_channels(dx, reduction))
