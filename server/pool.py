"""Explanations run on a few threads off the event loop, with a bounded number waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from onnxplain.explainers import Control
from onnxplain.graph_rewrites import OnnxplainError, ResourceExhausted

from .errors import RETRY_AFTER_MS

__all__ = ["WorkerPool"]

_T = TypeVar("_T")

_RETRY_MS = 1000


class WorkerPool:
    """A bounded pool of threads; all its methods are called on the event loop.

    onnxruntime releases Python's lock while it computes, so threads suffice. A place is taken from
    the moment work is admitted until it has really ended, also when nobody waits for it any more;
    what has not begun by then is let go at once, and its request with it.

    Parameters
    ----------
    workers
        Pieces of work done at once.
    queue
        Pieces of work that may wait beside those.
    """

    def __init__(self, workers: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="explain")
        self._free = asyncio.Semaphore(workers)
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
        control, admitted = Control(), time.perf_counter()
        self._admitted.add(control)
        self._idle.clear()
        try:
            await self._free.acquire()
        except asyncio.CancelledError:
            self._leave(control)
            raise
        waited = 1000 * (time.perf_counter() - admitted)
        try:
            control.check()  # the pool may have been closed
            future = self._executor.submit(work, control)
        except BaseException:
            self._end(control)
            raise
        loop = asyncio.get_running_loop()

        def on_done(_: Future[_T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._end, control)

        future.add_done_callback(on_done)
        try:
            return await asyncio.wrap_future(future), waited
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

    def _end(self, control: Control) -> None:
        self._leave(control)
        self._free.release()

    def _leave(self, control: Control) -> None:
        self._admitted.discard(control)
        if not self._admitted:
            self._idle.set()
