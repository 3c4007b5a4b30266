"""Explanations run on a few threads off the event loop, with a bounded number waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from onnxplain.explainers import Control
from onnxplain.graph_rewrites import OnnxplainError, ResourceExhausted

from .errors import RETRY_AFTER_MS

__all__ = ["WorkerPool"]

_T = TypeVar("_T")

_RETRY_MS = 1000


class WorkerPool:
    """A bounded pool of threads; all its methods are called on the event loop.

    onnxruntime releases Python's lock while it computes, so threads suffice. A place is taken from
    the moment work is admitted until it has really ended, also when nobody waits for it any more.

    Parameters
    ----------
    workers
        Pieces of work done at once.
    queue
        Pieces of work that may wait beside those.
    """

    def __init__(self, workers: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="explain")
        self._limit = workers + queue
        self._admitted: set[Control] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed: OnnxplainError | None = None

    async def run(self, work: Callable[[Control], _T]) -> tuple[_T, float]:
        """Return what ``work`` returns, and the milliseconds it waited for a free thread.

        When the awaiting task is cancelled, because the client went away or its deadline passed,
        work that has not begun never begins and other work is told by its `Control` to end.

        Raises
        ------
        ResourceExhausted
            ``QUEUE_FULL``: every thread is busy and every place in the queue taken.
        OnnxplainError
            The error of `close`.
        """
        if self._closed is not None:
            raise self._closed
        if len(self._admitted) >= self._limit:
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"the server is busy: {self._limit} explanations are running or waiting; "
                "try again later",
                metadata={"limit": str(self._limit), RETRY_AFTER_MS: str(_RETRY_MS)},
            )
        control = Control()
        future = self._executor.submit(_timed(work, control))
        self._admit(control, future)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            control.cancel()
            raise

    async def idle(self) -> None:
        """Wait until there is no work."""
        await self._idle.wait()

    async def close(self, error: OnnxplainError, timeout: float) -> bool:
        """Take no more work and end what there is; return whether it ended within the seconds.

        Everyone who waits for work, or asks for some from now on, gets ``error``.
        """
        self._closed = error
        for control in self._admitted:
            control.cancel(error)
        self._executor.shutdown(wait=False)
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _admit(self, control: Control, future: Future[Any]) -> None:
        loop = asyncio.get_running_loop()
        self._admitted.add(control)
        self._idle.clear()

        def ended() -> None:
            self._admitted.discard(control)
            if not self._admitted:
                self._idle.set()

        def on_done(_: Future[Any]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended)

        future.add_done_callback(on_done)


def _timed(work: Callable[[Control], _T], control: Control) -> Callable[[], tuple[_T, float]]:
    admitted = time.perf_counter()

    def timed() -> tuple[_T, float]:
        waited = 1000 * (time.perf_counter() - admitted)
        control.check()
        return work(control), waited

    return timed
