"""What the model itself says about an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .classifier import Scores

__all__ = ["TOP", "ClassScore", "Prediction", "predict"]

#: Classes told of where nobody asks for more.
TOP = 5


@dataclass(frozen=True)
class ClassScore:
    """A class with its scores; ``logit`` is ``None`` where the graph does not show it."""

    index: int
    label: str | None
    logit: float | None
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The classes of the highest scores, highest first."""

    top: tuple[ClassScore, ...]


def predict(scores: Scores, labels: Sequence[str] | None, top: int) -> Prediction:
    """Return the ``top`` classes of the first row of ``scores``."""
    logits = None if scores.logits is None else scores.logits[0]
    probabilities = scores.probabilities[0]
    order = np.argsort(-(probabilities if logits is None else logits), kind="stable")
    return Prediction(
        tuple(
            ClassScore(
                index=int(index),
                label=None if labels is None else labels[index],
                logit=None if logits is None else float(logits[index]),
                probability=float(probabilities[index]),
            )
            for index in order[:top]
        )
    )
