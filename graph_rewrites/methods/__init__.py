"""White-box methods, one file each: what they add to the graph. Importing declares them."""

from . import (
    cam,
    deconvnet,
    deep_taylor,
    excitation_backprop,
    grad_cam,
    grad_cam_plus_plus,
    gradient,
    guided_backprop,
    guided_grad_cam,
    hires_cam,
    input_x_gradient,
    layer_cam,
    linear_score,
    lrp,
    saliency,
    xgrad_cam,
)

__all__ = [
    "cam",
    "deep_taylor",
    "excitation_backprop",
    "deconvnet",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient",
    "guided_backprop",
    "guided_grad_cam",
    "hires_cam",
    "input_x_gradient",
    "layer_cam",
    "linear_score",
    "lrp",
    "saliency",
    "xgrad_cam",
]
