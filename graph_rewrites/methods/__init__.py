"""White-box methods, one file each: what they add to the graph. Importing declares them."""

from . import cam, grad_cam, gradient, saliency

__all__ = ["cam", "grad_cam", "gradient", "saliency"]
