"""How many rows one forward pass takes best."""

from __future__ import annotations

import time
from collections.abc import Callable

from onnxplain.graph_rewrites import FailedPrecondition, ResourceExhausted

__all__ = ["best_batch_size"]

_SECONDS = 0.5
_GAIN = 0.03


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
