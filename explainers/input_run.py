"""What every method of many passes works with: one input, and the scores of others like it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from .classifier import Classifier, ScoreKind, Scores
from .control import Control
from .explanation import Notice
from .inputs import PreparedInput
from .reduction import reduce_channels

__all__ = ["InputRun"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class InputRun:
    """One input explained by many passes.

    Attributes
    ----------
    x
        The model's input, ``[1, ...]``.
    channel_axis
        Of ``x``.
    low, high
        The smallest and largest value of each channel of ``x``, broadcastable to it: what the
        preprocessing makes of 0 and 255, else ``x``'s own extremes.
    quantised
        Whether the model computes with integers.
    targets
        The classes to explain.
    batch_size
        Inputs of one forward pass.
    control
        For progress and cancellation.
    layer, evaluations, notices
        What is known in the end: the feature layer taken, the inputs evaluated, what to tell.
    """

    def __init__(
        self,
        prepared: PreparedInput,
        classifier: Classifier,
        targets: tuple[int, ...],
        batch_size: int,
        control: Control,
    ) -> None:
        self.x = prepared.x
        self.targets = targets
        self.batch_size = classifier.fixed_batch or batch_size
        self.control = control
        self.layer: str | None = None
        self.evaluations = 0
        self.notices: list[Notice] = []
        self.channel_axis = classifier.channel_axis
        own: tuple[Array, Array] = (self.x.min(keepdims=True), self.x.max(keepdims=True))
        self.low, self.high = prepared.bounds(self.channel_axis) or own
        self.quantised = classifier.quantised
        self._classifier = classifier

    def warn(self, code: str, message: str) -> None:
        """Add a notice to the explanation."""
        self.notices.append(Notice(code, message))

    def scores(self, inputs: Array, score: ScoreKind = "logit") -> Floats:
        """Return the scores ``[B, n_classes]`` of ``inputs`` ``[B, ...]``."""
        self.evaluations += len(inputs)
        found = self._classifier.scores(inputs, self.control, self.batch_size)
        return found.of_kind(score)

    def stream(
        self, batches: Iterable[Array], score: ScoreKind = "logit"
    ) -> Generator[Floats, None, None]:
        """Yield the scores of every batch, which may be taken some ahead of what is yielded."""
        return self._counted(self._classifier.stream(batches, self.control), score)

    def _counted(
        self, found: Generator[Scores, None, None], score: ScoreKind
    ) -> Generator[Floats, None, None]:
        with closing(found):
            for scores in found:
                self.evaluations += len(scores.probabilities)
                yield scores.of_kind(score)

    @property
    def spatial_shape(self) -> tuple[int, int]:
        """Height and width of the input."""
        height, width = np.delete(self.x.shape, [0, self.channel_axis])
        return int(height), int(width)

    def reduce_channels(self, attribution: Array, reduction: str) -> npt.NDArray[np.float32]:
        """Return ``[H, W]`` from an attribution ``[*input]``."""
        return reduce_channels(attribution, self.channel_axis - 1, reduction)
