"""Layer-wise relevance propagation."""

from __future__ import annotations

from onnxplain.graph_rewrites.composites import COMPOSITES
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import CompositeName, Epsilon, Gamma, Reduction, Start
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .propagation import propagated

__all__ = ["lrp"]


@declare(
    "lrp",
    title="Layer-wise relevance propagation",
    paper="Bach et al. 2015; Montavon et al. 2019",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap", "residual"),
)
def lrp(
    rewriting: Rewriting,
    *,
    composite: CompositeName = "epsilon_plus",
    start: Start = "score",
    epsilon: Epsilon = 1e-6,
    gamma: Gamma = 0.25,
    reduction: Reduction = "sum",
) -> Maps:
    """Distribute the score over the image, layer by layer, in shares of what each input adds."""
    return propagated(
        rewriting,
        COMPOSITES[composite],
        start=start,
        reduction=reduction,
        stabiliser=epsilon,
        share=gamma,
    )
