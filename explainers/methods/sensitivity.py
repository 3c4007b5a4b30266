"""Sensitivity analysis by finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.black_box import PictureRun
from onnxplain.explainers.coarse_to_fine import coarse_to_fine
from onnxplain.explainers.finite_differences import Differences, Move
from onnxplain.explainers.run import Result
from onnxplain.explainers.segmentation import segment
from onnxplain.graph_rewrites import Access, InvalidArgument, Violation, declare
from onnxplain.graph_rewrites.options import (
    BatchSize,
    Budget,
    Difference,
    Granularity,
    NSegments,
    Patch,
    Reduction,
    Score,
    Seed,
    Segmenter,
    Segments,
    Step,
)

__all__ = ["sensitivity"]

_NOISE = 3.0

Labels = npt.NDArray[np.int32]


@declare(
    "sensitivity",
    title="Sensitivity analysis",
    paper="Simonyan et al. 2014, by finite differences",
    access=Access.FORWARD,
    returns=("attribution", "heatmap", "segments", "coefficients"),
    in_graph=False,
)
def sensitivity(
    run: PictureRun,
    *,
    granularity: Granularity = "pixel",
    difference: Difference = "central",
    step: Step = None,
    budget: Budget = None,
    patch: Patch = None,
    segmenter: Segmenter = "auto",
    segments: Segments = None,
    n_segments: NSegments = 50,
    reduction: Reduction = "max_abs",
    score: Score = "logit",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[Result]:
    """How much the score changes with each pixel, from forward passes alone.

    It needs no derivative, and so answers for models that have none. ``pixel`` moves every channel
    on its own and agrees with `saliency`; the others move all pixels of a patch or superpixel
    alike, and their value is per pixel. With a ``budget``, pixels are moved in squares along random
    signs, smaller ones where the score changes most.

    Measures: ``step``, how far a value moves, and ``noise_floor``, the sensitivity that rounding
    alone would give one of them.
    """
    differences = Differences(run, step, difference == "central", score)
    random = np.random.default_rng(seed)
    elements = np.moveaxis(np.arange(run.x.size).reshape(run.x.shape[1:]), run.channel_axis - 1, -1)
    if budget is not None and granularity != "pixel":
        message = "budget is for granularity pixel: the others spend as many passes as they need"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("budget", message)]
        )
    if segments is not None and granularity != "segments":
        message = "segments is for granularity segments; the others move pixels or patches"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("segments", message)]
        )
    floors = differences.noise_floor(random)
    if granularity != "pixel":
        labels = _labels(run, granularity, patch, segmenter, n_segments, segments)
        floors *= (labels.max() + 1) / labels.size  # a move is shared by the pixels of a cell
        results = _of_cells(run, differences, elements, labels, granularity)
    elif budget is None or budget >= differences.cost * run.x.size:
        results = _of_elements(run, differences, reduction)
    else:
        found = coarse_to_fine(differences, elements, budget, random)
        results = [Result(heatmap=one.astype(np.float32)) for one in np.moveaxis(found, -1, 0)]
    for target, result, floor in zip(run.targets, results, floors, strict=True):
        if np.any(result.heatmap) and result.heatmap.max() <= _NOISE * floor:
            run.warn(
                "BELOW_NOISE",
                f"the score of class {target} changes no more than rounding alone changes it; "
                "raise step, or take score=logit",
            )
    step = float(differences.steps.mean())
    return [
        replace(result, measures={"step": step, "noise_floor": float(floor)})
        for result, floor in zip(results, floors, strict=True)
    ]


def _of_elements(run: PictureRun, differences: Differences, reduction: str) -> list[Result]:
    """Move every element of the input on its own."""
    moves = ((np.array([index]), differences.steps[[index]]) for index in range(run.x.size))
    slopes = np.abs(differences.slopes(moves, run.x.size)).astype(np.float32)
    shape = run.x.shape[1:]
    return [
        Result(attribution=own, heatmap=run.reduce_channels(own, reduction))
        for own in (column.reshape(shape) for column in slopes.T)
    ]


def _of_cells(
    run: PictureRun,
    differences: Differences,
    elements: npt.NDArray[np.intp],
    labels: Labels,
    granularity: str,
) -> list[Result]:
    """Move all elements of a cell alike; its value is the slope by the number of its pixels."""
    sizes = np.bincount(labels.ravel())
    pixels = np.argsort(labels.ravel(), kind="stable")
    per_pixel = elements.reshape(labels.size, -1)
    step = differences.steps.mean()

    def moves() -> Iterator[Move]:
        for members in np.split(pixels, np.cumsum(sizes)[:-1]):
            moved = per_pixel[members].ravel()
            yield moved, np.full(len(moved), step)

    values = np.abs(differences.slopes(moves(), len(sizes))) / sizes[:, None]
    segmented = granularity == "segments"
    return [
        Result(
            heatmap=own.astype(np.float32)[labels],
            segments=labels if segmented else None,
            coefficients=own if segmented else None,
        )
        for own in values.T
    ]


def _labels(
    run: PictureRun,
    granularity: str,
    patch: int | None,
    segmenter: str,
    n_segments: int,
    given: npt.NDArray[np.integer[Any]] | None,
) -> Labels:
    """Return the cells that are moved, 0 to K - 1, ``[H, W]``."""
    height, width = run.spatial_shape
    if granularity == "segments":
        labels, _ = segment(run.segmentation_picture, segmenter, n_segments=n_segments, given=given)
        return labels
    side = 1 if granularity == "pixel_joint" else patch or max(1, round(min(height, width) / 8))
    rows, columns = (np.arange(size) // side for size in (height, width))
    return np.asarray(rows[:, None] * (columns[-1] + 1) + columns, np.int32)
