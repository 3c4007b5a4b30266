"""RISE: the mean score of the pixels seen through random masks."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from onnxplain.explainers.control import Estimate
from onnxplain.explainers.perturbation import ProductMasking
from onnxplain.explainers.run import Result, Run
from onnxplain.explainers.sampling import Sampling, known, relative_error, worst
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

Floats: TypeAlias = npt.NDArray[np.float32]
_Drawn: TypeAlias = tuple[Floats, npt.NDArray[np.intp]]

_FEWEST = 200  # samples before the estimate of the error is trusted
_NOISY = 0.5


@declare(
    "rise",
    title="RISE",
    paper="Petsiuk et al. 2018",
    access=Access.FORWARD,
    returns=("heatmap",),
    in_graph=False,
    anytime=True,
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
    picture = run.picture.astype(np.float32, copy=False)
    masking = ProductMasking(picture, run.baseline(baseline, random))
    grids = _Grids(shape, n_cells)
    halves = _Halves(grids, len(run.targets))
    drawn: deque[_Drawn] = deque()

    def batches() -> Iterator[tuple[Floats, ...]]:
        for start in range(0, n_samples, run.batch_size):
            batch = grids.draw(random, min(run.batch_size, n_samples - start), keep)
            drawn.append(batch)
            yield grids.factors(*batch)

    def estimate(_: int) -> Estimate:
        sums = halves.copy()
        return Estimate(
            worst(sums.relative_error), lambda: [one.astype(np.float32) for one in sums.maps]
        )

    sampling = Sampling(run, "samples", n_samples, estimate, tolerance=tolerance, fewest=_FEWEST)
    sampling.enough(0)
    with closing(run.masked(masking, batches())) as found:
        for scores in found:
            halves.add(*drawn.popleft(), scores[:, run.targets])
            if sampling.enough(halves.n_samples):
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
            measures=known(relative_error=error[index], n_samples=halves.n_samples),
        )
        for index, heatmap in enumerate(halves.maps)
    ]


class _Grids:
    """Random grids of cells, enlarged bilinearly by a cell more than the picture, and shifted."""

    def __init__(self, shape: tuple[int, int], n_cells: int) -> None:
        self.n_cells = n_cells
        self.sides = [-(-size // n_cells) for size in shape]  # of a cell, in pixels
        # For every shift what makes cells pixels: [side, H, n] and [side, W, n].
        self.down, self.across = (
            sliding_window_view(_enlarging(n_cells, (n_cells + 1) * side), size, axis=0)[:side]
            .swapaxes(1, 2)
            .copy()
            for size, side in zip(shape, self.sides, strict=True)
        )

    def draw(self, random: np.random.Generator, count: int, keep: float) -> _Drawn:
        """Return cells ``[B, n, n]``, 0 or 1, and the shifts down and across, ``[B, 2]``."""
        cells = np.empty((count, self.n_cells, self.n_cells), np.float32)
        shifts = np.empty((count, 2), np.intp)
        for row in range(count):
            cells[row] = random.random(cells.shape[1:]) < keep
            shifts[row] = random.integers(self.sides)
        return cells, shifts

    def factors(self, cells: Floats, shifts: npt.NDArray[np.intp]) -> tuple[Floats, ...]:
        """Return the masks as `ProductMasking` takes them."""
        down, across = shifts.T
        return self.down[down], cells, self.across[across].swapaxes(1, 2)

    def enlarged(self, sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the sum ``[..., H, W]`` of what cells ``[..., side, n, side, n]`` become."""
        down, across = (
            matrix.astype(np.float64).transpose(1, 0, 2).reshape(matrix.shape[1], -1)
            for matrix in (self.down, self.across)
        )
        cells = sums.reshape(*sums.shape[:-4], down.shape[1], across.shape[1])
        return np.asarray(down @ cells @ across.T)


def _enlarging(n_cells: int, size: int) -> Floats:
    """Return ``[size, n_cells]``, which resizes bilinearly with half-pixel centres."""
    position = np.clip((np.arange(size) + 0.5) * n_cells / size - 0.5, 0, n_cells - 1)
    distance = np.abs(position[:, None] - np.arange(n_cells))
    weights: Floats = np.maximum(1 - distance, 0).astype(np.float32)
    return weights


class _Halves:
    """Running sums over the even and over the odd samples.

    Enlarging is linear, so cells are summed, for every shift by itself, and enlarged in the end.
    """

    def __init__(self, grids: _Grids, n_targets: int) -> None:
        self.n_samples = 0
        self._grids = grids
        height, width = grids.sides
        cells = height, grids.n_cells, width, grids.n_cells
        self._sums = np.zeros((2, n_targets + 1, *cells))  # the last one is of the masks alone

    def copy(self) -> _Halves:
        """Return the sums as they are now."""
        other = copy.copy(self)
        other._sums = self._sums.copy()
        return other

    def add(
        self, cells: Floats, shifts: npt.NDArray[np.intp], scores: npt.NDArray[np.float64]
    ) -> None:
        """Add masks and their scores ``[B, T]``."""
        weights = np.pad(scores, [(0, 0), (0, 1)], constant_values=1.0)[..., None, None]
        for cell, (down, across), weight in zip(cells, shifts, weights, strict=True):
            self._sums[self.n_samples % 2, :, down, :, across, :] += weight * cell
            self.n_samples += 1

    @property
    def maps(self) -> npt.NDArray[np.float64]:
        """The maps ``[T, H, W]``; 0 where no mask showed the pixel."""
        return _means(self._grids.enlarged(self._sums.sum(axis=0)))

    @property
    def relative_error(self) -> npt.NDArray[np.float64]:
        """The maps' estimated errors as shares of their variation, ``[T]``."""
        enlarged = self._grids.enlarged(self._sums)
        even, odd = map(_means, enlarged)
        whole = _means(enlarged.sum(axis=0))
        return relative_error(np.std(even - odd, axis=(1, 2)) / 2, np.std(whole, axis=(1, 2)))


def _means(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return _ratio(sums[:-1], sums[-1:])


def _ratio(
    numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    zeros = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    return np.divide(numerator, denominator, out=zeros, where=denominator > 0)
