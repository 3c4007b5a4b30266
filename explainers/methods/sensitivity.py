"""Sensitivity analysis by finite differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.black_box import PictureRun
from onnxplain.explainers.cells import Cells
from onnxplain.explainers.checkpoint import digest
from onnxplain.explainers.coarse_to_fine import coarse_to_fine
from onnxplain.explainers.control import Estimate
from onnxplain.explainers.finite_differences import Differences, Move
from onnxplain.explainers.reduction import reduce_channels
from onnxplain.explainers.run import Result
from onnxplain.explainers.sampling import Sampling, known, worst
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
    Tolerance,
)

__all__ = ["sensitivity"]

_NOISE = 3.0
_FEWEST = 64  # cells measured before the estimate of the error is trusted

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]


@declare(
    "sensitivity",
    title="Sensitivity analysis",
    paper="Simonyan et al. 2014, by finite differences",
    access=Access.FORWARD,
    returns=("attribution", "heatmap", "segments", "coefficients"),
    in_graph=False,
    anytime=True,
    resumable=True,
)
def sensitivity(
    run: PictureRun,
    *,
    granularity: Granularity = "pixel",
    difference: Difference = "central",
    step: Step = None,
    budget: Budget = None,
    tolerance: Tolerance = 0.0,
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
    alone would give one of them. Where time ends before all is measured, or ``tolerance`` is met,
    what is not measured has the value of the nearest that is; ``relative_error`` is the estimated
    error of the map as a share of its variation: of such values, or of those of the squares.
    """
    differences = Differences(run, step, difference == "central", score)
    random = np.random.default_rng(seed)
    coarse = budget is not None and budget < differences.cost * run.x.size
    _check(
        {
            "budget": budget is not None and granularity != "pixel",
            "segments": segments is not None and granularity != "segments",
            "tolerance": tolerance > 0 and coarse,
            "checkpoint": run.control.checkpoint is not None and coarse,
        }
    )
    elements = np.moveaxis(np.arange(run.x.size).reshape(run.x.shape[1:]), run.channel_axis - 1, -1)
    floors = differences.noise_floor(random)
    labels = _labels(run, granularity, patch, segmenter, n_segments, segments)
    floors *= (labels.max() + 1) / labels.size  # a move is shared by the pixels of a cell
    if budget is None or not coarse:
        results = _of_cells(
            run, differences, elements, labels, granularity, reduction, score, tolerance
        )
    else:
        found = coarse_to_fine(run, differences, elements, budget, random)
        results = [
            Result(heatmap=heatmap, measures=known(relative_error=error))
            for heatmap, error in zip(found.heatmaps, found.relative_error, strict=True)
        ]
    for target, result, floor in zip(run.targets, results, floors, strict=True):
        if np.any(result.heatmap) and result.heatmap.max() <= _NOISE * floor:
            run.warn(
                "BELOW_NOISE",
                f"the score of class {target} changes no more than rounding alone changes it; "
                "raise step, or take score=logit",
            )
    step = float(differences.steps.mean())
    return [
        replace(result, measures={"step": step, "noise_floor": float(floor), **result.measures})
        for result, floor in zip(results, floors, strict=True)
    ]


def _check(refused: Mapping[str, bool]) -> None:
    """Refuse what does not go together; every name that is true is told why."""
    reasons = {
        "budget": "budget is for granularity pixel: the others spend as many passes as they need",
        "segments": "segments is for granularity segments; the others move pixels or patches",
        "tolerance": "tolerance is for a map without budget, which has an end of its own",
        "checkpoint": "checkpoint is for a map without budget: with one, every square depends on "
        "those before it",
    }
    violations = [Violation(name, reasons[name]) for name, wrong in refused.items() if wrong]
    if violations:
        message = "; ".join(one.description for one in violations)
        raise InvalidArgument("OPTION_OUT_OF_RANGE", message, violations=violations)


def _of_cells(
    run: PictureRun,
    differences: Differences,
    elements: npt.NDArray[np.intp],
    labels: Labels,
    granularity: str,
    reduction: str,
    score: str,
    tolerance: float,
) -> list[Result]:
    """Move cells one by one: all elements alike, the value is the slope by the number of pixels.

    Of the cells of granularity pixel, every element on its own.
    """
    cells, apart = Cells(labels), granularity == "pixel"
    pixels = elements.reshape(labels.size, -1)
    sizes = np.bincount(labels.ravel())
    members = np.split(np.argsort(labels.ravel(), kind="stable"), np.cumsum(sizes)[:-1])
    n_each = pixels.shape[1] if apart else 1
    step = differences.steps.mean()

    def moves() -> Iterator[Move]:
        for cell in cells.order:
            moved = pixels[members[cell]].ravel()
            if apart:
                yield from ((moved[[n]], differences.steps[moved[[n]]]) for n in range(n_each))
            else:
                yield moved, np.full(len(moved), step)

    def values(slopes: Floats) -> Floats:
        """Return those of cells measured whole, in their order, ``[N, n_each, T]``."""
        n = len(slopes) // n_each
        found = np.abs(slopes[: n * n_each]).reshape(n, n_each, -1)
        return np.asarray(found / sizes[cells.order[:n], None, None])

    def results(slopes: Floats) -> list[Result]:
        filled = cells.filled(values(slopes))
        if apart:
            maps = filled.astype(np.float32).reshape(*labels.shape, n_each, -1)
            return [
                Result(attribution=own, heatmap=run.reduce_channels(own, reduction))
                for own in np.moveaxis(maps, (3, 2), (0, run.channel_axis)).copy()
            ]
        segmented = granularity == "segments"
        return [
            Result(
                heatmap=own.astype(np.float32)[labels],
                segments=labels if segmented else None,
                coefficients=own if segmented else None,
            )
            for own in filled[:, 0].T
        ]

    def errors(slopes: Floats) -> Floats:
        return cells.relative_error(reduce_channels(values(slopes), 1, reduction))

    slopes = np.empty((len(cells.order) * n_each, len(run.targets)))

    def estimate(n: int) -> Estimate:
        rows = slopes[:n]
        return Estimate(worst(errors(rows)), lambda: [result.heatmap for result in results(rows)])

    fewest = _FEWEST * n_each
    sampling = Sampling(
        run,
        "differences",
        len(slopes),
        estimate,
        tolerance=tolerance,
        fewest=fewest,
        minimum=n_each,
    )
    what = {"granularity": granularity, "cells": digest(labels), "steps": digest(differences.steps)}
    what |= {"passes of a move": str(differences.cost), "score": score}
    slopes = slopes[: _measure(run, differences, moves(), slopes, sampling, what)]
    if len(slopes) < len(cells.order) * n_each:
        run.warn(
            "NOT_ALL_MEASURED",
            f"{len(slopes) // n_each} of {len(cells.order)} pixels or cells were moved; the others "
            "have the value of the nearest of these",
        )
    return [
        replace(result, measures=known(relative_error=error))
        for result, error in zip(results(slopes), errors(slopes), strict=True)
    ]


def _measure(
    run: PictureRun,
    differences: Differences,
    moves: Iterator[Move],
    slopes: Floats,
    sampling: Sampling,
    what: Mapping[str, str],
) -> int:
    """Fill the slopes ``[N, T]`` along moves, as many as are enough; return how many those are.

    ``what`` tells slopes of the same moves in a checkpoint from others.
    """
    checkpoint = run.control.checkpoint
    done = before = 0 if checkpoint is None else checkpoint.restore(slopes, what)
    if done in (0, len(slopes)) and sampling.enough(done):
        return done
    try:
        with closing(differences.stream(islice(moves, done, None))) as found:
            for batch in found:
                slopes[done : done + len(batch)] = batch
                done += len(batch)
                if checkpoint is not None:
                    checkpoint.keep(slopes[:done])
                if sampling.enough(done):
                    break
    finally:
        if checkpoint is not None and done > before:
            checkpoint.save(slopes[:done])
    return done


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
    side = 1 if granularity.startswith("pixel") else patch or max(1, round(min(height, width) / 8))
    rows, columns = (np.arange(size) // side for size in (height, width))
    return np.asarray(rows[:, None] * (columns[-1] + 1) + columns, np.int32)
