"""Rule tables: what a backward pass does at each operator."""

from . import (
    activations,
    arithmetic,
    indexing,
    linear,
    normalisation,
    pooling,
    quantisation,
    rectifiers,
    reducing,
    resampling,
    shaping,
)
from .tables import gradient

__all__ = [
    "activations",
    "arithmetic",
    "gradient",
    "indexing",
    "linear",
    "normalisation",
    "pooling",
    "quantisation",
    "rectifiers",
    "reducing",
    "resampling",
    "shaping",
]
