"""Rule tables: what a backward pass does at each operator."""

from . import activations, arithmetic, linear, pooling, shaping
from .tables import gradient

__all__ = ["activations", "arithmetic", "gradient", "linear", "pooling", "shaping"]
