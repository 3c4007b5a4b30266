"""Sessions kept for the next call, within a budget of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Any

__all__ = ["SHARED", "SessionCache"]


class SessionCache:
    """What is made of models and holds sessions; beyond a budget the least recently used goes.

    Parameters
    ----------
    budget
        Bytes that the sessions may take together; see `Session.n_bytes`. The newest one stays even
        if it alone takes more.
    """

    def __init__(self, budget: int = 2 * 2**30) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Hashable, Hashable], tuple[Any, int]] = OrderedDict()
        self._gone: deque[Hashable] = deque()

    @property
    def n_bytes(self) -> int:
        """What the sessions take together, by estimate."""
        with self._lock:
            self._sweep()
            return self._total()

    def find(self, owner: Hashable, key: Hashable) -> Any | None:
        """Return what was kept under this key of this owner; ``None`` where it is not there."""
        with self._lock:
            self._sweep()
            if (owner, key) not in self._kept:
                return None
            self._kept.move_to_end((owner, key))
            return self._kept[owner, key][0]

    def keep(self, owner: Hashable, key: Hashable, value: Any, n_bytes: int) -> None:
        """Keep ``value``, and give up what was not used for the longest time if need be."""
        with self._lock:
            self._sweep()
            self._kept[owner, key] = value, n_bytes
            while self._total() > self.budget and len(self._kept) > 1:
                self._kept.popitem(last=False)

    def forget(self, owner: Hashable) -> None:
        """Give up all that is kept of an owner.

        A finalizer may call this in the middle of any method here, on the same thread: what cannot
        be done at once is done by the next call.
        """
        self._gone.append(owner)
        if self._lock.acquire(blocking=False):
            try:
                self._sweep()
            finally:
                self._lock.release()

    def _sweep(self) -> None:
        while self._gone:
            owner = self._gone.popleft()
            for one in [one for one in self._kept if one[0] == owner]:
                del self._kept[one]

    def _total(self) -> int:
        return sum(n_bytes for _, n_bytes in self._kept.values())


#: Of all models that are loaded without a cache of their own.
SHARED = SessionCache()
