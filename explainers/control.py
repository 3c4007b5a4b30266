"""Progress out, limits and cancellation in: shared between a caller and one running explanation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import Cancelled, OnnxplainError

from .checkpoint import Checkpoint

__all__ = ["Control", "Estimate", "Progress"]

_SECONDS_BETWEEN_ESTIMATES = 0.5
_SHARE_OF_ESTIMATES = 1 / 20  # of the time, at most


@dataclass(frozen=True)
class Estimate:
    """The maps as they would be if the work ended now.

    Attributes
    ----------
    uncertainty
        The estimated standard error of the map as a share of the map's own variation, of the
        target where it is largest; ``None`` where it is not known.
    heatmaps
        Makes the maps: one for each target, float32 ``[H, W]``; from any thread, at any time.
    """

    uncertainty: float | None
    heatmaps: Callable[[], list[npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class Progress:
    """How far an explanation is: ``done`` of ``total`` samples, steps or windows of this ``stage``.

    ``total`` is 0 while it is not known. Methods that sample add the latest `Estimate`.
    """

    stage: str
    done: int
    total: int
    estimate: Estimate | None = field(default=None, compare=False)


class _Terminable(Protocol):
    terminate: bool


class Control:
    """The caller's hold on a running explanation; all its methods may be called from any thread.

    Parameters
    ----------
    on_progress
        Called with every `Progress`, on the explaining thread; what it raises ends the explanation.
    clock
        Seconds from some moment on.

    Attributes
    ----------
    checkpoint
        Where a method that can be resumed keeps what it has, if anywhere.
    """

    def __init__(
        self,
        on_progress: Callable[[Progress], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.checkpoint: Checkpoint | None = None
        self._listeners = [] if on_progress is None else [on_progress]
        self._clock = clock
        self._deadline: float | None = None
        self._estimate: Estimate | None = None
        self._estimate_due = 0.0
        self._lock = threading.Lock()
        self._error: OnnxplainError | None = None
        self._running: set[_Terminable] = set()

    def cancel(self, error: OnnxplainError | None = None) -> None:
        """End the explanation within milliseconds; it raises ``error``, by default `Cancelled`."""
        with self._lock:
            self._error = self._error or error or Cancelled()
            for run_options in self._running:
                run_options.terminate = True

    def check(self) -> None:
        """Raise the error of `cancel` if it was called."""
        if self._error is not None:
            raise self._error

    def report(
        self,
        stage: str,
        done: int,
        total: int,
        estimate: Callable[[], Estimate | None] | None = None,
    ) -> None:
        """Tell how far the work is, and check for cancellation.

        ``estimate`` is called only when somebody listens, at the end of the stage, and before that
        as often as takes a twentieth of the time at most.
        """
        self.check()
        if not self._listeners:
            return
        began = self._clock()
        if done == 0:
            self._estimate, self._estimate_due = None, began + _SECONDS_BETWEEN_ESTIMATES
        if estimate is not None and (done == total or began >= self._estimate_due):
            self._estimate = estimate()
            ended = self._clock()
            pause = (ended - began) / _SHARE_OF_ESTIMATES
            self._estimate_due = ended + max(pause, _SECONDS_BETWEEN_ESTIMATES)
        for listener in tuple(self._listeners):
            listener(Progress(stage, done, total, self._estimate))

    @contextmanager
    def telling(self, listener: Callable[[Progress], None]) -> Iterator[None]:
        """While inside, ``listener`` is called as ``on_progress`` is."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """While inside, methods that can end early are to do so after the seconds; `late` says."""
        outer = self._deadline
        self._deadline = outer if seconds is None else self._clock() + seconds
        try:
            yield
        finally:
            self._deadline = outer

    @contextmanager
    def sharing(self, n: int) -> Iterator[None]:
        """While inside, there is the ``n``-th part of the time left, if that is limited."""
        left = None if self._deadline is None else self._deadline - self._clock()
        with self.within(None if left is None else left / n):
            yield

    @property
    def late(self) -> bool:
        """Whether the time has ended."""
        return self._deadline is not None and self._clock() >= self._deadline

    @contextmanager
    def terminating(self, run_options: _Terminable) -> Iterator[None]:
        """While inside, `cancel` also sets ``run_options.terminate`` of an onnxruntime run."""
        with self._lock:
            self.check()
            self._running.add(run_options)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(run_options)
