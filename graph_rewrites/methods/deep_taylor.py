"""Deep Taylor decomposition."""

from __future__ import annotations

from onnxplain.graph_rewrites.composites import RuleSettings, deep_taylor_composite
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import (
    Add,
    BatchNorm,
    Bias,
    Gate,
    High,
    InputDomain,
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
    rules: Rules = None,
    start: Start = "positive_score",
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
    """Positive relevance by Taylor expansions of each layer, the first by the image's domain."""
    rewriting.refuse_contrast("deep_taylor")
    return propagated(
        rewriting,
        deep_taylor_composite(_FIRST[input_domain]),
        start=start,
        reduction=reduction,
        settings=RuleSettings(bias=bias),
        rules=rules,
        readings=Readings(lrn=lrn, gate=gate, resize=resize, batch_norm=batch_norm, add=add),
        layer=layer,
        profile=profile,
    )
