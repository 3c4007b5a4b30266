"""Progress out, cancellation in: shared between a caller and one running explanation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from onnxplain.graph_rewrites import Cancelled, OnnxplainError

__all__ = ["Control", "Progress"]


@dataclass(frozen=True)
class Progress:
    """How far an explanation is: ``done`` of ``total`` model evaluations in this ``stage``.

    ``total`` is 0 while it is not known.
    """

    stage: str
    done: int
    total: int


class _Terminable(Protocol):
    terminate: bool


class Control:
    """The caller's hold on a running explanation; all its methods may be called from any thread.

    Parameters
    ----------
    on_progress
        Called with every `Progress`, on the explaining thread; what it raises ends the explanation.
    """

    def __init__(self, on_progress: Callable[[Progress], None] | None = None) -> None:
        self._on_progress = on_progress
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

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell how far the work is, and check for cancellation."""
        self.check()
        if self._on_progress is not None:
            self._on_progress(Progress(stage, done, total))

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
