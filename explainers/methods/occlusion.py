"""Occlusion: the score lost while a window is covered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import product

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.perturbation import ProductMasking
from onnxplain.explainers.run import Result, Run
from onnxplain.graph_rewrites import Access, InvalidArgument, Violation, declare
from onnxplain.graph_rewrites.options import Baseline, BatchSize, Patch, Score, Seed, Stride

__all__ = ["occlusion"]

Floats = npt.NDArray[np.float32]

_MAX_WINDOWS = 1_000_000


@declare(
    "occlusion",
    title="Occlusion",
    paper="Zeiler and Fergus 2014",
    access=Access.FORWARD,
    returns=("heatmap", "native_heatmap"),
    in_graph=False,
)
def occlusion(
    run: Run,
    *,
    patch: Patch = None,
    stride: Stride = None,
    baseline: Baseline = "zero",
    score: Score = "probability",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[Result]:
    """Score lost when a window is covered, averaged at each pixel over the windows covering it.

    The windows of the last row and column are cut at the border. The native heatmap has one value
    for each window.
    """
    height, width = run.picture.shape[:2]
    patch = patch or max(1, round(min(height, width) / 8))
    stride = stride or max(1, patch // 2)
    tops, lefts = (
        range(0, min(max(side - patch, 0) + stride, side), stride) for side in (height, width)
    )
    if len(tops) * len(lefts) > _MAX_WINDOWS:
        message = f"{len(tops) * len(lefts):,} windows are too many; raise stride"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("stride", message)]
        )
    windows = [
        (slice(top, top + patch), slice(left, left + patch)) for top, left in product(tops, lefts)
    ]
    down, across = _intervals(tops, patch, height), _intervals(lefts, patch, width)
    picture = run.picture.astype(np.float32)
    masking = ProductMasking(run.baseline(baseline, np.random.default_rng(seed)), picture)

    def batches() -> Iterator[tuple[Floats, ...]]:
        for start in range(0, len(windows), run.batch_size):
            places = np.arange(start, min(start + run.batch_size, len(windows)))
            rows, columns = np.divmod(places, len(lefts))
            yield (
                down[rows, :, None],
                np.ones((len(places), 1, 1), np.float32),
                across[columns, None, :],
            )

    whole = run.predict(picture[None])[0, run.targets]
    lost = np.empty((len(windows), len(run.targets)))
    done = 0
    run.control.report("windows", 0, len(windows))
    with closing(run.masked(masking, batches())) as found:
        for scores in found:
            lost[done : done + len(scores)] = whole - scores[:, run.targets]
            done += len(scores)
            run.control.report("windows", done, len(windows))
    total = np.zeros((height, width, len(run.targets)))
    times = np.zeros((height, width, 1))
    for window, loss in zip(windows, lost, strict=True):
        total[window] += loss
        times[window] += 1
    heatmaps = np.divide(total, times, out=np.zeros_like(total), where=times > 0)
    native = lost.reshape(len(tops), len(lefts), -1)
    return [
        Result(
            heatmap=heatmaps[..., index].astype(np.float32),
            native_heatmap=native[..., index].astype(np.float32),
        )
        for index in range(len(run.targets))
    ]


def _intervals(starts: Sequence[int], length: int, side: int) -> Floats:
    """Return ``[n, side]``: 1 in each interval, 0 outside."""
    distance = np.arange(side) - np.asarray(starts)[:, None]
    return np.asarray((distance >= 0) & (distance < length), np.float32)
