"""Deep Taylor decomposition."""

from __future__ import annotations

from onnxplain.graph_rewrites.composites import deep_taylor_composite
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import InputDomain, Reduction, Start
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .propagation import propagated

__all__ = ["deep_taylor"]

_FIRST = {"auto": "w_square", "real": "w_square", "box": "zbox", "positive": "zplus"}


@declare(
    "deep_taylor",
    title="Deep Taylor decomposition",
    paper="Montavon et al. 2017",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap", "residual"),
)
def deep_taylor(
    rewriting: Rewriting,
    *,
    input_domain: InputDomain = "auto",
    start: Start = "positive_score",
    reduction: Reduction = "sum",
) -> Maps:
    """Positive relevance by Taylor expansions of each layer, the first by the image's domain."""
    rewriting.refuse_contrast("deep_taylor")
    composite = deep_taylor_composite(_FIRST[input_domain])
    return propagated(rewriting, composite, start=start, reduction=reduction)
