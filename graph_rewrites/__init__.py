"""ONNX in, ONNX out: explanation methods as rewritten graphs in standard operators."""

if not __name__.startswith("onnxplain."):
    raise ImportError("import onnxplain.graph_rewrites, not graph_rewrites")

from .errors import (
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OnnxplainError,
    ResourceExhausted,
    Unavailable,
    Violation,
)
from .anatomy import Anatomy, read_anatomy
from .canonise import canonise
from .features import find_features
from .loading import ModelSource, read_model
from .method import Access, Method, Option, declare, get_method, list_methods
from .rewriting import Maps, rewrite, rewrite_canonical
from . import methods  # declares them

__all__ = [
    "Access",
    "Cancelled",
    "FailedPrecondition",
    "InvalidArgument",
    "Method",
    "NotFound",
    "OnnxplainError",
    "Option",
    "ResourceExhausted",
    "Unavailable",
    "Violation",
    "get_method",
    "list_methods",
]
