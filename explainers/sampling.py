"""When a sampling method ends, and what it tells meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from .control import Control, Estimate

__all__ = ["Floats", "Sampling", "Told", "known", "latest", "relative_error", "worst"]

_T = TypeVar("_T")

_GROWTH = 1 / 4  # of the samples, from one look at the error to the next

Floats = npt.NDArray[np.float64]


class Told(Protocol):
    """What is told how far the work is, and what to warn of: a `Run`."""

    control: Control

    def warn(self, code: str, message: str) -> None:
        """Tell the reader something."""
        ...


class Sampling:
    """Decides after every batch of samples whether they are enough, and reports it.

    Without a tolerance, a time limit or a listener nothing is estimated. With a tolerance the
    error is looked at whenever a quarter more samples are there, listeners or not, so that equal
    options give equal maps.

    Parameters
    ----------
    run
        Is told how far the work is, and when time was what ended it.
    stage, total
        What is sampled, and how many samples there are to be at most.
    estimate
        Returns what so many samples, the first ones, say; ``None`` where that means nothing.
    tolerance
        Relative error that is good enough; 0: none is.
    fewest
        Samples before an estimated error is trusted enough to end by.
    minimum
        Samples without which there is nothing to give, whatever the time.
    """

    def __init__(
        self,
        run: Told,
        stage: str,
        total: int,
        estimate: Callable[[int], Estimate] | None,
        *,
        tolerance: float = 0.0,
        fewest: int = 1,
        minimum: int = 2,
    ) -> None:
        self._run, self._stage, self._total = run, stage, total
        self._estimate, self._latest = estimate, (0, Estimate(None, list))
        self._tolerance, self._look_at, self._minimum = tolerance, max(fewest, minimum), minimum

    def enough(self, done: int, *, last: bool = False) -> bool:
        """Report that so many samples are done, the ``last``; return whether to end with them."""
        control = self._run.control
        late = self._minimum <= done < self._total and not last and control.late
        ends = last or late or done >= self._total or self._precise(done)
        total = done if ends else self._total
        if self._estimate is None or done < self._minimum:
            control.report(self._stage, done, total)
        else:
            control.report(self._stage, done, total, lambda: self._of(done))
        if late:
            self._warn(done)
        return ends

    def _of(self, done: int) -> Estimate:
        if self._estimate is not None and self._latest[0] != done:
            self._latest = done, self._estimate(done)
        return self._latest[1]

    def _precise(self, done: int) -> bool:
        if not self._tolerance or done < self._look_at:
            return False
        self._look_at = done + int(done * _GROWTH) + 1
        error = self._of(done).uncertainty
        return error is not None and error < self._tolerance

    def _warn(self, done: int) -> None:
        message = f"the time ended after {done} of {self._total} {self._stage}"
        error = self._of(done).uncertainty
        if error is not None:
            message += f"; the map's estimated error is {error:.0%} of its variation"
        self._run.warn("STOPPED_EARLY", message)


def latest(fit: Callable[[Floats], _T]) -> Callable[[Floats], _T]:
    """Return ``fit``, a function of an array that only grows, with its last answer kept."""
    kept: list[tuple[int, _T]] = []

    def of(values: Floats) -> _T:
        if not kept or kept[0][0] != len(values):
            kept[:] = [(len(values), fit(values))]
        return kept[0][1]

    return of


def relative_error(error: Floats, variation: Floats) -> Floats:
    """Return errors as shares of the variation; infinite where nothing varies but the error."""
    found = np.where(error > 0, np.inf, 0.0)
    np.divide(error, variation, out=found, where=variation > 0)
    return found


def worst(errors: Floats) -> float | None:
    """Return the largest error; ``None`` where one is not known."""
    largest = float(errors.max())
    return largest if np.isfinite(largest) else None


def known(**measures: float) -> dict[str, float]:
    """Return a result's measures without those that are not known: infinite ones."""
    return {name: float(value) for name, value in measures.items() if np.isfinite(value)}
