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
from .method import Access, Method, Option, get_method, list_methods

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
