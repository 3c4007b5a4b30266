"""What a method of forward passes works with: a picture, and scores of its perturbations."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .baselines import Baseline, baseline
from .classifier import Classifier, ScoreKind
from .control import Control
from .input_run import InputRun
from .inputs import PreparedInput
from .perturbation import Masking

__all__ = ["PictureRun"]

Array = npt.NDArray[Any]


class PictureRun(InputRun):
    """One input explained by perturbing it; the `Run` that a black-box method gets.

    See `Run` and `InputRun` for the attributes.
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
        super().__init__(
            prepared,
            classifier,
            targets,
            classifier.batch_size(prepared.x, control, batch_size),
            control,
        )
        self.picture: Array = prepared.perturbed
        self.from_tensor = prepared.from_tensor
        self.segmentation_picture = prepared.segmentation_picture
        self._as_input: Callable[[Array], Array] = prepared.as_input
        self._known = prepared.known
        self._score: ScoreKind = score

    def predict(self, pictures: Array) -> npt.NDArray[np.float64]:
        """Return the scores ``[B, n_classes]`` of pictures ``[B, H, W, C]``."""
        return self.scores(self._as_input(pictures), self._score)

    def masked(
        self, masking: Masking, batches: Iterable[tuple[Array, ...]]
    ) -> Generator[npt.NDArray[np.float64], None, None]:
        """Yield the scores ``[B, n_classes]`` of a picture seen through batches of masks."""
        shown, hidden = (self._as_input(one[None]) for one in (masking.shown, masking.hidden))
        found = self._classifier.stream_masked(masking, shown, hidden, batches, self.control)
        return self._counted(found, self._score)

    def baseline(self, given: Baseline, random: np.random.Generator) -> npt.NDArray[np.float32]:
        """Return a baseline of the picture, float32 ``[H, W, C]``; see `baseline`."""
        if isinstance(given, np.ndarray) or given == "zero":  # in the units of the input
            found = baseline(given, self.x, self.low, self.high, self.channel_axis, random)
            if self.from_tensor or self._known is None:
                found = np.moveaxis(found, self.channel_axis, -1)
            else:
                found = self._known.pixels(found)
            return np.asarray(found[0], np.float32)
        low, high = np.zeros(1), np.full(1, 255.0)
        if self.from_tensor or self._known is None:
            low, high = (np.moveaxis(one, self.channel_axis, -1) for one in (self.low, self.high))
            if given.startswith("#") and self._known is not None and self._known.colour == "BGR":
                given = f"#{given[5:7]}{given[3:5]}{given[1:3]}"
        values = self.picture[None].astype(np.float32)
        return np.asarray(baseline(given, values, low, high, 3, random)[0], np.float32)
