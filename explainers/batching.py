"""How many rows one forward pass takes best, and whether they leave each other alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import FailedPrecondition, ResourceExhausted

__all__ = ["Company", "are_apart", "beside_others", "best_batch_size"]

Array = npt.NDArray[Any]
Company = Literal["same", "other", "fails"]

_SECONDS = 0.5
_GAIN = 0.03
_SAME = 0.01  # of the largest score, or difference: more than the kernels' precision explains


def best_batch_size(run: Callable[[int], object], largest: int) -> int:
    """Return the batch size of the highest throughput: doubled for as long as that pays.

    Parameters
    ----------
    run
        Runs a batch of so many rows. One that fails is taken for too large.
    largest
        What memory allows.

    Notes
    -----
    Two sizes in a row that gain less than 3 % end the search, and so does the time for it. Of
    sizes that are as good as each other the smaller is taken: progress is told more often.
    """
    best, fewest, size, fruitless = 1, float("inf"), 1, 0
    end = time.perf_counter() + _SECONDS
    while size <= largest and fruitless < 2:
        try:
            seconds = _seconds(run, size)
        except (FailedPrecondition, ResourceExhausted):
            if size == 1:
                raise
            break
        per_row = seconds / size
        if per_row < (1 - _GAIN) * fewest:
            best, fewest, fruitless = size, per_row, 0
        else:
            fruitless += 1
        if time.perf_counter() + 2 * seconds > end:
            break
        size *= 2
    return best


def _seconds(run: Callable[[int], object], size: int) -> float:
    """Return what a batch takes: a slow one the first time, else the best of two repetitions."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run(size)
        times.append(time.perf_counter() - start)
        if times[0] > _SECONDS / 4:
            break
    return min(times)


def beside_others(run: Callable[[Array], Sequence[Array]], x: Array) -> Company:
    """Say what becomes of a row's scores when another row is run beside it.

    Parameters
    ----------
    run
        Returns scores ``[N, ...]`` of ``N`` rows.
    x
        One row ``[1, ...]``.

    Returns
    -------
    Company
        ``same``; ``other`` where the scores depend on that row, as with a softmax over the batch;
        ``fails`` where two rows cannot be run, whatever the file says.
    """
    half = np.random.default_rng(0).random(x.shape) < 0.5
    beside = np.where(half, x, x.dtype.type(0 if x.any() else 1))
    alone = run(x)
    try:
        together = run(np.concatenate([x, beside]))
    except (FailedPrecondition, ResourceExhausted) as error:
        return "same" if error.reason == "MODEL_OUTPUT_NOT_FINITE" else "fails"
    same = all(
        np.abs(one - pair[:1]).max() <= _SAME * np.abs(one).max()
        for one, pair in zip(alone, together, strict=True)
    )
    return "same" if same else "other"


def are_apart(run: Callable[[Array], Sequence[Array]], x: Array) -> bool:
    """Return whether the rows of ``x`` ``[N, ...]`` give together what each gives alone.

    ``run`` returns arrays, ``[N, ...]`` where the model takes rows at all. What others beside it do
    to a row must be little next to what tells the rows apart; rows all alike prove nothing.
    """
    try:
        together = run(x)
        alone = [run(x[row : row + 1]) for row in range(len(x))]
    except FailedPrecondition:
        return False
    told = False
    for batch, *rows in zip(together, *alone, strict=True):
        if not all(len(batch) == len(x) and row.shape == (1, *batch.shape[1:]) for row in rows):
            return False
        each = np.concatenate(rows)
        spread = np.abs(each - each[:1]).max()
        if not np.abs(batch - each).max() <= _SAME * spread:
            return False
        told |= bool(spread > 0)
    return told
