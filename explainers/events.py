"""An explanation as a stream of events, worked out on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass

from .control import Control, Progress
from .explanation import Explanation

__all__ = ["Event", "Explained", "stream"]


@dataclass(frozen=True, eq=False)
class Explained:
    """The last event: what `Model.explain_all` returns."""

    explanations: list[Explanation]


Event = Progress | Explained


class _Slot:
    """The latest event; a reader who is slow misses those before it, never the end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._progress: Progress | None = None
        self._end: Explained | BaseException | None = None

    def put(self, event: Progress | Explained | BaseException) -> None:
        with self._changed:
            if isinstance(event, Progress):
                self._progress = event
            else:
                self._end = event
            self._changed.notify()

    def take(self) -> Progress | Explained | BaseException:
        """Wait for something to read; the end comes last."""
        with self._changed:
            self._changed.wait_for(lambda: self._progress or self._end)
            found, self._progress = self._progress or self._end, None
            assert found is not None
            return found


def stream(work: Callable[[], list[Explanation]], control: Control) -> Generator[Event, None, None]:
    """Yield how far ``work`` is, then what it returns; raise what it raises.

    It begins with the first event asked for. Closing the generator cancels it by ``control``, and
    returns when it has ended.
    """
    slot = _Slot()

    def run() -> None:
        try:
            with control.telling(slot.put):
                slot.put(Explained(work()))
        except BaseException as error:
            slot.put(error)

    thread = threading.Thread(target=run, name="explain")
    thread.start()
    ended = False
    try:
        while isinstance(event := slot.take(), Progress):
            yield event
        ended = True
        if isinstance(event, BaseException):
            raise event
        yield event
    finally:
        if not ended:
            control.cancel()
        thread.join()
