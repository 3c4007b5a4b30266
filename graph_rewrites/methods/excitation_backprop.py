"""Excitation backprop."""

from __future__ import annotations

from onnxplain.graph_rewrites.composites import RuleSettings, excitation_composite
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import (
    Add,
    BatchNorm,
    Bias,
    Contrastive,
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

__all__ = ["excitation_backprop"]


@declare(
    "excitation_backprop",
    title="Excitation backprop",
    paper="Zhang et al. 2016, eq. 10; contrastive: section 3.3",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap", "residual"),
)
def excitation_backprop(
    rewriting: Rewriting,
    *,
    contrastive: Contrastive = False,
    rules: Rules = None,
    start: Start = "score",
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
    """Winners take all by chance: what excites a neuron wins in proportion to how much it does."""
    return propagated(
        rewriting,
        excitation_composite(contrastive=contrastive),
        start=start,
        reduction=reduction,
        settings=RuleSettings(bias=bias),
        rules=rules,
        readings=Readings(
            activations="gradient",
            lrn=lrn,
            gate=gate,
            resize=resize,
            batch_norm=batch_norm,
            add=add,
        ),
        layer=layer,
        profile=profile,
        conserves=not contrastive,
    )
