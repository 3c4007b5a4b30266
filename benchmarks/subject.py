"""What is measured: models, how long, and the ratios that come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxplain.clients.demo import efficientnet_lite0
from onnxplain.explainers import Model

from .light_models import LIGHT, light_model
from .timing import Ratio, Work

__all__ = ["Cost", "Effort", "Feed", "Subject", "default_subjects", "feed", "run", "session"]

_FREE_SIDE = 224  # of a model that takes any height and width

Feed = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """A model to measure: its name, its file's path or bytes, and what its works may cost."""

    name: str
    source: Path | bytes
    bars: Mapping[str, float] = field(default_factory=dict)
    sampled: bool = True


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    pairs: int
    sampling_pairs: int
    lime_samples: int
    rise_samples: int
    moved_pixels: int


@dataclass(frozen=True)
class Cost:
    """A measured ratio, or why there is none."""

    model: str
    work: str
    base: str
    ratio: Ratio | None
    bar: float | None = None
    refusal: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def default_subjects() -> list[Subject]:
    """Return EfficientNet-Lite0 with its own weights and ResNet50 with random ones, both CPU."""
    efficientnet = efficientnet_lite0.build().SerializeToString()
    resnet = light_model(LIGHT / "light_resnet50.onnx").SerializeToString()
    return [
        Subject(
            "efficientnet_lite0",
            efficientnet,
            {
                "gradient": 2.5,
                "saliency": 2.5,
                "grad_cam": 1.15,
                "guided_backprop": 2.6,
                "lrp epsilon_plus": 4.5,
                "lrp epsilon_alpha2_beta1": 6.5,
                "integrated_gradients": 33,
                "lime": 1.08,
                "rise": 1.08,
                "sensitivity": 1.1,
                "lime package": 0.87,
            },
        ),
        Subject(
            "resnet50",
            resnet,
            {
                "gradient": 2.5,
                "saliency": 2.5,
                "grad_cam": 1.15,
                "guided_backprop": 2.6,
                "lrp epsilon_plus": 3.5,
                "lrp epsilon_alpha2_beta1": 5,
                "session": 2.5,
            },
            sampled=False,
        ),
    ]


def feed(model: Model, batch_size: int) -> Feed:
    """Return random input; a free axis beside the batch is as long as photos usually are."""
    (value,) = model.inputs
    sides = [side if side > 0 else _FREE_SIDE for side in value.shape[1:]]
    batch = value.shape[0] if value.shape[0] > 0 else batch_size
    random = np.random.default_rng(0)
    return {value.name: random.standard_normal((batch, *sides), np.float32)}


def run(runner: ort.InferenceSession, given: Feed) -> Work:
    """Return the work of one pass."""
    return lambda: runner.run(None, given)


def session(source: Path | bytes, threads: int) -> ort.InferenceSession:
    """Return a plain onnxruntime session on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # weights listed as inputs are warned of one by one
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
