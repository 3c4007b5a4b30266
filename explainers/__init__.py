"""Load an ONNX classifier and explain what it sees."""

if not __name__.startswith("onnxplain."):
    raise ImportError("import onnxplain.explainers, not explainers")

from . import methods
from .access import Applicability
from .classifier import Scores
from .control import Control, Estimate, Progress
from .events import Event, Explained
from .explanation import Explanation, Notice, Provenance
from .images import ImageLike
from .loading import load
from .model import Model
from .prediction import ClassScore, Prediction
from .predictor import Predictor, TensorInfo
from .preprocessing import PRESETS, Preprocessing
from .run import Result, Run
from .session_cache import SessionCache
from .targets import Target

__all__ = [
    "PRESETS",
    "Applicability",
    "ClassScore",
    "Control",
    "Estimate",
    "Event",
    "Explained",
    "Explanation",
    "ImageLike",
    "Model",
    "Notice",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "Progress",
    "Provenance",
    "Result",
    "Run",
    "Scores",
    "SessionCache",
    "Target",
    "TensorInfo",
    "load",
    "methods",
]
