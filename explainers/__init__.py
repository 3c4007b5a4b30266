"""Load an ONNX classifier and explain what it sees."""

if not __name__.startswith("onnxplain."):
    raise ImportError("import onnxplain.explainers, not explainers")

from . import methods
from .classifier import Scores, TensorInfo
from .control import Control, Progress
from .explanation import Explanation, Notice, Provenance
from .images import ImageLike
from .loading import load
from .model import Applicability, Model
from .prediction import ClassScore, Prediction
from .preprocessing import PRESETS, Preprocessing
from .run import Result, Run
from .targets import Target

__all__ = [
    "PRESETS",
    "Applicability",
    "ClassScore",
    "Control",
    "Explanation",
    "ImageLike",
    "Model",
    "Notice",
    "Prediction",
    "Preprocessing",
    "Progress",
    "Provenance",
    "Result",
    "Run",
    "Scores",
    "Target",
    "TensorInfo",
    "load",
    "methods",
]
