"""RISE: the mean score of the pixels seen through random masks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.run import Result, Run
from onnxplain.graph_rewrites import Access, declare
from onnxplain.graph_rewrites.options import (
    Baseline,
    BatchSize,
    Keep,
    NCells,
    NSamples,
    Score,
    Seed,
    Tolerance,
)

__all__ = ["rise"]

Floats = npt.NDArray[np.float32]

_FEWEST = 200  # samples before the estimate of the error is trusted
_NOISY = 0.5


@declare(
    "rise",
    title="RISE",
    paper="Petsiuk et al. 2018",
    access=Access.FORWARD,
    returns=("heatmap",),
    in_graph=False,
)
def rise(
    run: Run,
    *,
    n_samples: NSamples = 2000,
    n_cells: NCells = 7,
    keep: Keep = 0.5,
    tolerance: Tolerance = 0.0,
    baseline: Baseline = "zero",
    score: Score = "probability",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[Result]:
    """Mean score of the image seen through random masks, for each pixel of those that show it.

    ``R = sum_m f(x m) m / sum_m m`` over smooth masks ``m``: random grids of ``n_cells`` a side,
    enlarged and shifted at random. The measure ``relative_error`` compares the maps of the even
    and the odd samples: an estimate of the map's error, as a share of its own variation. Sampling
    ends early when that falls below ``tolerance`` for all targets.
    """
    random = np.random.default_rng(seed)
    shape = run.picture.shape[0], run.picture.shape[1]
    # One plane per channel: masks are multiplied over whole rows, not over three numbers at a time.
    picture = np.moveaxis(run.picture.astype(np.float32), -1, 0)
    hidden = np.moveaxis(run.baseline(baseline, random), -1, 0)
    hidden, visible = np.ascontiguousarray(hidden), np.ascontiguousarray(picture - hidden)
    masks = _masks(random, shape, n_cells, keep)
    halves = _Halves(shape, len(run.targets))
    run.control.report("samples", 0, n_samples)
    while halves.n_samples < n_samples:
        count = min(run.batch_size, n_samples - halves.n_samples)
        batch = np.stack([next(masks) for _ in range(count)])
        planes = batch[:, None] * visible
        planes += hidden
        if np.issubdtype(run.picture.dtype, np.integer) and run.from_tensor:
            np.rint(planes, out=planes)
        halves.add(batch, run.predict(np.moveaxis(planes, 1, -1))[:, run.targets])
        run.control.report("samples", halves.n_samples, n_samples)
        if tolerance and halves.n_samples >= _FEWEST and halves.relative_error.max() < tolerance:
            break
    error = halves.relative_error
    if error.max() > _NOISY:
        run.warn(
            "NOISY_MAP",
            f"the map's estimated error is {error.max():.0%} of its variation; raise n_samples",
        )
    return [
        Result(
            heatmap=heatmap.astype(np.float32),
            measures={
                "relative_error": float(error[index]),
                "n_samples": float(halves.n_samples),
            },
        )
        for index, heatmap in enumerate(halves.maps)
    ]


def _masks(
    random: np.random.Generator, shape: tuple[int, int], n_cells: int, keep: float
) -> Iterator[Floats]:
    """Yield masks ``[H, W]``, 0 to 1, without end."""
    sides = [-(-size // n_cells) for size in shape]  # of a cell, in pixels
    rows, columns = (_enlarging(n_cells, (n_cells + 1) * side) for side in sides)
    while True:
        grid = random.random((n_cells, n_cells)) < keep
        top, left = random.integers(sides)
        yield rows[top : top + shape[0]] @ grid @ columns[left : left + shape[1]].T


def _enlarging(n_cells: int, size: int) -> Floats:
    """Return ``[size, n_cells]``, which resizes bilinearly with half-pixel centres."""
    position = np.clip((np.arange(size) + 0.5) * n_cells / size - 0.5, 0, n_cells - 1)
    distance = np.abs(position[:, None] - np.arange(n_cells))
    weights: Floats = np.maximum(1 - distance, 0).astype(np.float32)
    return weights


class _Halves:
    """Running sums over the even and over the odd samples."""

    def __init__(self, shape: tuple[int, int], n_targets: int) -> None:
        self.n_samples = 0
        self._weighted = np.zeros((2, n_targets, *shape))
        self._seen = np.zeros((2, 1, *shape))

    def add(self, masks: Floats, scores: npt.NDArray[np.float64]) -> None:
        """Add masks ``[B, H, W]`` and their scores ``[B, T]``."""
        for half in (0, 1):
            own = slice((half + self.n_samples) % 2, None, 2)
            self._weighted[half] += np.tensordot(scores[own].T, masks[own], 1)
            self._seen[half] += masks[own].sum(axis=0, dtype=np.float64)
        self.n_samples += len(masks)

    @property
    def maps(self) -> npt.NDArray[np.float64]:
        """The maps ``[T, H, W]``; 0 where no mask showed the pixel."""
        return _ratio(self._weighted.sum(axis=0), self._seen.sum(axis=0))

    @property
    def relative_error(self) -> npt.NDArray[np.float64]:
        """The maps' estimated errors as shares of their variation, ``[T]``."""
        even, odd = _ratio(self._weighted, self._seen)
        return _ratio(np.std(even - odd, axis=(1, 2)) / 2, np.std(self.maps, axis=(1, 2)))


def _ratio(
    numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    zeros = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    return np.divide(numerator, denominator, out=zeros, where=denominator > 0)
