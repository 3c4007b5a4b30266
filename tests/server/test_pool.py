import asyncio
import gc
import threading
import weakref

import pytest
from onnxplain.graph_rewrites import Cancelled, ResourceExhausted, Unavailable
from onnxplain.server.pool import WorkerPool

SECONDS = 30


class Work:
    """Work that begins, and ends when told to or when cancelled."""

    def __init__(self):
        self.began, self.release, self.ended = (threading.Event() for _ in range(3))
        self.error = None

    def __call__(self, control):
        self.began.set()
        try:
            while not self.release.wait(0.001):
                control.check()
        except Exception as error:
            self.error = error
            raise
        finally:
            self.ended.set()
        return "done"

    async def beginning(self):
        assert await asyncio.to_thread(self.began.wait, SECONDS)

    async def ending(self):
        assert await asyncio.to_thread(self.ended.wait, SECONDS)


def in_pool(workers=1, queue=0):
    """Run the decorated coroutine function, a test, with a pool on an event loop."""

    def decorate(test):
        def run():
            async def main():
                pool = WorkerPool(workers, queue)
                try:
                    async with asyncio.timeout(SECONDS):
                        await test(pool)
                finally:
                    assert await pool.close(Unavailable("DRAINING", "the test is over"), SECONDS)

            asyncio.run(main())

        run.__name__ = test.__name__
        return run

    return decorate


@in_pool()
async def test_work_runs_on_a_thread_of_its_own(pool):
    thread, waited = await pool.run(lambda control: threading.current_thread())
    assert thread is not threading.current_thread()
    assert 0 <= waited < 1000 * SECONDS


@in_pool()
async def test_what_work_raises_is_raised(pool):
    def fail(control):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pool.run(fail)


@in_pool(workers=2, queue=1)
async def test_more_than_workers_and_queue_is_refused_at_once_and_fits_again_later(pool):
    works = [Work() for _ in range(3)]
    running = [asyncio.create_task(pool.run(work)) for work in works]
    await works[0].beginning()
    await works[1].beginning()
    for _ in range(20):  # being refused many times wears nothing out
        with pytest.raises(ResourceExhausted, match="3 explanations are running or waiting") as e:
            await pool.run(Work())
        assert e.value.reason == "QUEUE_FULL"
        assert int(e.value.metadata["retry_after_ms"]) > 0
    assert not works[2].began.is_set()
    for work in works:
        work.release.set()
    answers = await asyncio.gather(*running)
    assert [answer for answer, _ in answers] == ["done"] * 3
    assert answers[2][1] > 0
    await pool.idle()
    assert (await pool.run(lambda control: 5))[0] == 5


@in_pool()
async def test_cancelling_the_call_ends_its_work(pool):
    work = Work()
    running = asyncio.create_task(pool.run(work))
    await work.beginning()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await work.ending()
    assert isinstance(work.error, Cancelled)
    await pool.idle()
    assert (await pool.run(lambda control: 5))[0] == 5


@in_pool()
async def test_abandoned_work_keeps_its_place_until_it_has_really_ended(pool):
    deaf, began = threading.Event(), threading.Event()

    def work(control):
        began.set()
        assert deaf.wait(SECONDS)

    running = asyncio.create_task(pool.run(work))
    assert await asyncio.to_thread(began.wait, SECONDS)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ResourceExhausted):
        await pool.run(Work())
    deaf.set()
    await pool.idle()


@in_pool(workers=1, queue=1)
async def test_work_cancelled_while_it_waits_never_begins(pool):
    first, second = Work(), Work()
    running = asyncio.create_task(pool.run(first))
    await first.beginning()
    waiting = asyncio.create_task(pool.run(second))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.release.set()
    await running
    await pool.idle()
    assert not second.began.is_set()


@in_pool(workers=1, queue=1)
async def test_work_cancelled_while_it_waits_is_let_go_while_others_run(pool):
    first = Work()
    running = asyncio.create_task(pool.run(first))
    await first.beginning()
    alive = weakref.WeakSet()
    for _ in range(20):
        waiting = asyncio.create_task(pool.run(abandoned := Work()))
        alive.add(abandoned)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    gc.collect()
    assert len(alive) <= 2  # the newest, and one that its error's traceback may hold
    first.release.set()
    await running


@in_pool(workers=1, queue=1)
async def test_closing_ends_running_and_waiting_work_with_its_error(pool):
    works = Work(), Work()
    running = [asyncio.create_task(pool.run(work)) for work in works]
    await works[0].beginning()
    assert await pool.close(Unavailable("DRAINING", "stopping"), SECONDS)
    for one in running:
        with pytest.raises(Unavailable, match="stopping"):
            await one
    assert not works[1].began.is_set()
    with pytest.raises(Unavailable, match="stopping"):
        await pool.run(Work())


@in_pool()
async def test_closing_tells_when_work_does_not_end(pool):
    deaf, began = threading.Event(), threading.Event()

    def work(control):
        began.set()
        assert deaf.wait(SECONDS)

    running = asyncio.create_task(pool.run(work))
    assert await asyncio.to_thread(began.wait, SECONDS)
    assert not await pool.close(Unavailable("DRAINING", "stopping"), 0.01)
    deaf.set()
    await running
