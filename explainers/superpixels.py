"""A run's picture as superpixels: shown or hidden, and what the model then says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from .control import Estimate
from .perturbation import SegmentMasking, segment_means
from .run import Run
from .sampling import Sampling
from .segmentation import segment

__all__ = ["Superpixels"]


class Superpixels:
    """The superpixels of a run's picture.

    Parameters
    ----------
    run
        Is told when the picture was cut otherwise than one may expect.
    segmenter, n_segments, given
        See `segment`.
    fill
        What hides a superpixel: the name of the option ``fill``.
    random
        For noise.

    Attributes
    ----------
    segments
        int32 ``[H, W]``, labels 0 to ``count - 1``.
    """

    def __init__(
        self,
        run: Run,
        segmenter: str,
        n_segments: int,
        fill: str,
        random: np.random.Generator,
        given: npt.NDArray[Any] | None = None,
    ) -> None:
        self._run = run
        self.segments, taken = segment(
            run.segmentation_picture, segmenter, n_segments=n_segments, given=given
        )
        self.count = int(self.segments.max()) + 1
        if segmenter == "auto" and taken == "grid":
            run.warn(
                "GRID_SEGMENTS",
                f"too few superpixels are found in this picture: a grid of {self.count} cells is "
                "used; name a segmenter to choose another",
            )
        if run.from_tensor:
            run.warn(
                "TENSOR_PERTURBED",
                "superpixels are found in the tensor scaled to 0..255, and hidden ones are filled "
                "in the tensor's own units",
            )
        self._masking = SegmentMasking(run.picture, self._filled(fill, random), self.segments)

    def scores(
        self,
        masks: npt.NDArray[np.bool_],
        estimate: Callable[[npt.NDArray[np.float64]], Estimate] | None = None,
        *,
        tolerance: float = 0.0,
        fewest: int = 1,
        minimum: int = 2,
    ) -> npt.NDArray[np.float64]:
        """Return the targets' scores ``[N, T]`` when only some superpixels are shown.

        ``masks`` ``[N, K]`` says which; the pictures are made batch by batch. Of the first masks
        alone when those are enough, see `Sampling`; ``estimate`` takes the scores so far.
        """
        run, done = self._run, 0
        scores = np.empty((len(masks), len(run.targets)))
        sampling = Sampling(
            run,
            "samples",
            len(masks),
            None if estimate is None else lambda n: estimate(scores[:n]),
            tolerance=tolerance,
            fewest=fewest,
            minimum=minimum,
        )
        sampling.enough(0)
        batches = (
            (masks[start : start + run.batch_size],)
            for start in range(0, len(masks), run.batch_size)
        )
        with closing(run.masked(self._masking, batches)) as found:
            for batch in found:
                scores[done : done + len(batch)] = batch[:, run.targets]
                done += len(batch)
                if sampling.enough(done):
                    break
        return scores[:done]

    def _filled(self, fill: str, random: np.random.Generator) -> npt.NDArray[Any]:
        """Return what is seen when all superpixels are hidden, like the picture."""
        picture = self._run.picture
        if fill == "mean":
            return segment_means(picture, self.segments)
        values = self._run.baseline("uniform" if fill == "noise" else fill, random)
        if np.issubdtype(picture.dtype, np.integer):
            values = np.rint(values)
        return values.astype(picture.dtype)
