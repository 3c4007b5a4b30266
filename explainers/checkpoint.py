"""What was measured so far in a file, so that a run which ended early goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, Violation

__all__ = ["Checkpoint", "digest"]

_SECONDS_BETWEEN = 30.0

Floats = npt.NDArray[np.float64]


class Checkpoint:
    """A file ``.npz`` of rows measured one after the other.

    Parameters
    ----------
    path
        The file, which need not exist.
    identity
        What the rows are of, by name: a run that has anything else does not go on from them.
    clock
        Seconds from some moment on.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        identity: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._identity = Path(path), dict(identity)
        self._clock, self._due = clock, 0.0

    def restore(self, values: Floats, further: Mapping[str, str]) -> int:
        """Fill the first rows of ``values`` from the file; return how many those are.

        A file that does not exist is made, for if that is impossible one wants to know now.
        ``further`` is the method's own part of the identity.

        Raises
        ------
        InvalidArgument
            ``CHECKPOINT_MISMATCH``: it is of another run; the violations say in what.
            ``CHECKPOINT_INVALID``: it is not such a file.
        OSError
            It cannot be read or written.
        """
        self._identity |= further
        if not self._path.exists():
            self.save(values[:0])
            return 0
        try:
            with self._path.open("rb") as given, np.load(given, allow_pickle=False) as file:
                rows = np.asarray(file["rows"], np.float64)
                identity = dict(json.loads(str(file["identity"])))
        except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
            message = "the file is no checkpoint; give another name, or delete it"
            raise _invalid("CHECKPOINT_INVALID", [Violation("checkpoint", message)]) from None
        violations = [
            Violation(
                f"checkpoint.{name}",
                f"{name} was {identity.get(name, 'not there')}, and is {self._identity.get(name)}",
            )
            for name in sorted({*identity, *self._identity})
            if identity.get(name) != self._identity.get(name)
        ]
        if violations:
            raise _invalid("CHECKPOINT_MISMATCH", violations)
        values[: len(rows)] = rows
        self._due = self._clock() + _SECONDS_BETWEEN
        return len(rows)

    def keep(self, rows: Floats) -> None:
        """Save the rows if half a minute has passed since that was done."""
        if self._clock() >= self._due:
            self.save(rows)

    def save(self, rows: Floats) -> None:
        """Write the rows; whatever happens meanwhile, the file is the old or the new one."""
        descriptor, part = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, rows=rows, identity=np.array(json.dumps(self._identity)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._path)
        except BaseException:
            os.unlink(part)
            raise
        self._due = self._clock() + _SECONDS_BETWEEN


def digest(array: npt.NDArray[Any]) -> str:
    """Return what tells this array from others."""
    found = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{array.dtype} {list(array.shape)} {found[:16]}"


def _invalid(reason: str, violations: list[Violation]) -> InvalidArgument:
    what = "; ".join(violation.description for violation in violations)
    message = what
    if reason == "CHECKPOINT_MISMATCH":
        message = f"the checkpoint is of another run: {what}; give another name, or what it was"
    return InvalidArgument(reason, message, violations=violations)
