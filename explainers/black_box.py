"""What a method of forward passes works with: a picture, and scores of its perturbations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .baselines import baseline
from .classifier import Classifier, ScoreKind
from .control import Control
from .explanation import Notice
from .inputs import PreparedInput

__all__ = ["PictureRun"]

Array = npt.NDArray[Any]

_BYTES_OF_ACTIVATIONS = 256 * 2**20
_MAX_BATCH = 32


class PictureRun:
    """One input explained by perturbing it; the `Run` that a black-box method gets.

    See `Run` for the attributes.
    """

    def __init__(
        self,
        prepared: PreparedInput,
        classifier: Classifier,
        targets: tuple[int, ...],
        score: ScoreKind,
        batch_size: int | None,
        control: Control,
    ) -> None:
        self.picture: Array = prepared.perturbed
        self.from_tensor = prepared.from_tensor
        self.segmentation_picture = prepared.segmentation_picture
        self.targets = targets
        self.control = control
        self.batch_size = classifier.fixed_batch or batch_size or _batch_size(prepared.x)
        self.layer: str | None = None
        self.evaluations = 0
        self.notices: list[Notice] = []
        self._as_input: Callable[[Array], Array] = prepared.as_input
        self._classifier = classifier
        self._known = prepared.known
        self._score: ScoreKind = score

    def predict(self, pictures: Array) -> npt.NDArray[np.float64]:
        """Return the scores ``[B, n_classes]`` of pictures ``[B, H, W, C]``."""
        self.evaluations += len(pictures)
        x = self._as_input(pictures)
        return self._classifier.scores(x, self.control, self.batch_size).of_kind(self._score)

    def baseline(self, name: str, random: np.random.Generator) -> npt.NDArray[np.float32]:
        """Return a baseline of the picture, float32 ``[H, W, C]``; see `baseline`."""
        values = self.picture[None].astype(np.float32)
        low, high = values.min(keepdims=True), values.max(keepdims=True)
        known = self._known
        if not self.from_tensor and known is not None:
            if name == "zero":
                return np.broadcast_to(known.zero, self.picture.shape)
            low, high = np.zeros(1, np.float32), np.full(1, 255, np.float32)
        elif known is not None and known.channels == values.shape[-1]:
            low, high = known.bounds()
        found: npt.NDArray[np.float32] = baseline(name, values, low, high, 3, random)[0]
        return found

    def warn(self, code: str, message: str) -> None:
        """Add a notice to the explanation."""
        self.notices.append(Notice(code, message))


def _batch_size(x: Array) -> int:
    """Return how many rows are fed at once: many small pictures, few large ones.

    A CNN's widest activations take around 32 times the bytes of its input.
    """
    return int(np.clip(_BYTES_OF_ACTIVATIONS // (32 * 4 * x.size), 1, _MAX_BATCH))
