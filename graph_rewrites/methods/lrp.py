"""Layer-wise relevance propagation."""

from __future__ import annotations

from onnxplain.graph_rewrites.composites import COMPOSITES, RuleSettings
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import (
    Add,
    Alpha,
    BatchNorm,
    Beta,
    Bias,
    CompositeName,
    Epsilon,
    Gamma,
    Gate,
    High,
    Layer,
    Low,
    Lrn,
    Profile,
    Reduction,
    Resize,
    Rules,
    Start,
)
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .propagation import Readings, propagated

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
    rules: Rules = None,
    start: Start = "score",
    epsilon: Epsilon = 1e-6,
    gamma: Gamma = 0.25,
    alpha: Alpha = 2.0,
    beta: Beta = 1.0,
    bias: Bias = "keep",
    lrn: Lrn = "pass",
    gate: Gate = "signal",
    resize: Resize = "norm",
    batch_norm: BatchNorm = "merge",
    add: Add = "norm",
    low: Low = None,
    high: High = None,
    layer: Layer = None,
    profile: Profile = False,
    reduction: Reduction = "sum",
) -> Maps:
    """Distribute the score over the image, layer by layer, in shares of what each input adds."""
    return propagated(
        rewriting,
        COMPOSITES[composite],
        start=start,
        reduction=reduction,
        settings=RuleSettings(epsilon=epsilon, gamma=gamma, alpha=alpha, beta=beta, bias=bias),
        rules=rules,
        readings=Readings(lrn=lrn, gate=gate, resize=resize, batch_norm=batch_norm, add=add),
        layer=layer,
        profile=profile,
    )
