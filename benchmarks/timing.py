"""Ratios of times, taken in turns so that whatever else the machine does hits both sides alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Ratio", "Work", "compare", "summarise"]

Work = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """How many times as long a work took as its base: median and quartiles over the pairs."""

    median: float
    low: float
    high: float
    base_ms: float  # median time of the base


def compare(
    work: Work, base: Work, *, pairs: int, seconds: float = 0.1, warm: bool = True
) -> Ratio:
    """Time ``base`` and ``work`` one right after the other, ``pairs`` times.

    With ``warm`` either side of a pair is repeated until it fills about ``seconds``, after one
    untimed call: by then the threads of the other side's session no longer spin on the CPUs.
    """
    base_side, work_side = _side(base, seconds, warm), _side(work, seconds, warm)
    times = [(base_side(), work_side()) for _ in range(pairs)]
    return summarise([one for one, _ in times], [other for _, other in times])


def summarise(base: Sequence[float], work: Sequence[float]) -> Ratio:
    """Return the ratio of two series of seconds, pair by pair."""
    ratios = [other / one for one, other in zip(base, work, strict=True)]
    low, median, high = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    return Ratio(median, low, high, 1000 * statistics.median(base))


def _side(work: Work, seconds: float, warm: bool) -> Callable[[], float]:
    """Return what measures the seconds of one call."""
    if not warm:
        return lambda: _seconds(work, 1)
    work()
    repeats = max(1, math.ceil(seconds / _seconds(work, 1)))

    def measure() -> float:
        work()
        return _seconds(work, repeats)

    return measure


def _seconds(work: Work, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats
