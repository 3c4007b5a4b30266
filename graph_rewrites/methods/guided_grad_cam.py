"""Guided Grad-CAM: guided backprop where Grad-CAM sees evidence."""

from __future__ import annotations

from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Layer, Reduction
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .grad_cam import grad_cam
from .rectified import rectified_gradient

__all__ = ["guided_grad_cam"]


@declare(
    "guided_grad_cam",
    title="Guided Grad-CAM",
    paper="Selvaraju et al. 2017, section 3.2",
    access=Access.FEATURES,
    returns=("attribution", "heatmap", "native_heatmap"),
)
def guided_grad_cam(
    rewriting: Rewriting, *, reduction: Reduction = "max_abs", layer: Layer = None
) -> Maps:
    """Guided backprop times Grad-CAM, resized bilinearly to the image."""
    op = rewriting.op
    coarse = grad_cam(rewriting, relu=True, layer=layer)
    fine = rectified_gradient(rewriting, rules.rectifiers.guided_backprop)
    attribution = op.Mul(fine, op.Unsqueeze(coarse.heatmap, [rewriting.anatomy.channel_axis]))
    return Maps(
        attribution=attribution,
        heatmap=rewriting.reduce_channels(attribution, reduction),
        native_heatmap=coarse.native_heatmap,
    )
