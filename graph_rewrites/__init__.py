"""ONNX in, ONNX out: explanation methods as rewritten graphs in standard operators."""

if not __name__.startswith("onnxplain."):
    raise ImportError("import onnxplain.graph_rewrites, not graph_rewrites")

from . import methods
from .anatomy import Anatomy, read_anatomy
from .assembling import rewrite, rewrite_canonical
from .batch import free_batch
from .canonise import canonise
from .engine import RuleTable, backward
from .errors import (
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OnnxplainError,
    ResourceExhausted,
    Unavailable,
    Violation,
    nearest,
)
from .features import feature_layer, find_features
from .interface import Interface, expose_scores
from .loading import ModelSource, external_files, provenance_of, read_model
from .masking import MaskedModel, MaskForm, prepend_masking
from .method import Access, Inputs, Method, declare, get_method, list_methods
from .option import Help, Option, Range, in_words, one_by_one
from .rewriting import Maps, Rewriting, TargetKind
from .splitting import Split, split
from .training import training_notices
from .weights import without_weights

__all__ = [
    "Access",
    "Inputs",
    "Anatomy",
    "Cancelled",
    "FailedPrecondition",
    "Help",
    "Interface",
    "MaskForm",
    "MaskedModel",
    "InvalidArgument",
    "Maps",
    "Method",
    "ModelSource",
    "NotFound",
    "OnnxplainError",
    "Option",
    "Range",
    "ResourceExhausted",
    "Rewriting",
    "RuleTable",
    "Split",
    "TargetKind",
    "Unavailable",
    "Violation",
    "backward",
    "canonise",
    "declare",
    "expose_scores",
    "external_files",
    "feature_layer",
    "find_features",
    "free_batch",
    "in_words",
    "get_method",
    "list_methods",
    "methods",
    "nearest",
    "one_by_one",
    "prepend_masking",
    "provenance_of",
    "read_anatomy",
    "read_model",
    "rewrite",
    "rewrite_canonical",
    "split",
    "training_notices",
    "without_weights",
]
