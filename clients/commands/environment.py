"""Where a command reads and writes, and how it ends: injected, so that tests need no process."""

from __future__ import annotations

import enum
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, TextIO

__all__ = ["Environment", "ExitCode", "ProgressBar"]


class ExitCode(enum.IntEnum):
    """How a command ended; part of the public interface."""

    OK = 0
    INTERNAL = 1  # something unforeseen: a bug here, or in the server
    USAGE = 2  # the command line, an image, a tensor or an option is wrong
    NOT_APPLICABLE = 3  # all is well formed, but this model cannot answer it
    NOT_FOUND = 4  # a file, a model or a label does not exist
    UNAVAILABLE = 5  # no server there, or it is busy or too slow; trying again may help
    INTERRUPTED = 130  # Ctrl-C (128 + SIGINT)
    PIPE_CLOSED = 141  # whoever read our output went away (128 + SIGPIPE)


@dataclass(frozen=True)
class Environment:
    """The streams of a command: results go to ``stdout``, words to ``stderr``."""

    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)

    def say(self, words: str) -> None:
        """Write a line for people."""
        print(words, file=self.stderr, flush=True)

    def print(self, text: str) -> None:
        """Write a line of results."""
        print(text, file=self.stdout)

    def print_json(self, value: Any) -> None:
        """Write results for a program."""
        self.print(json.dumps(value, indent=2, ensure_ascii=False))

    def print_table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write results as left-aligned columns, numbers right-aligned."""
        cells = [[str(cell) for cell in row] for row in (header, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        right = [
            bool(rows) and all(_is_number(row[column]) for row in rows)
            for column in range(len(header))
        ]
        for row in cells:
            padded = (
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            )
            self.print("  ".join(padded).rstrip())


def _is_number(cell: object) -> bool:
    try:
        float(str(cell))
    except ValueError:
        return False
    return True


class _Estimate(Protocol):
    @property
    def uncertainty(self) -> float | None: ...


class _Progress(Protocol):
    @property
    def stage(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def estimate(self) -> _Estimate | None: ...


class ProgressBar:
    """A bar on ``stderr`` while work runs; nothing when that is not a terminal, as `shown` says.

    Behind it is the relative error of what was found so far, where that is known.
    """

    _WIDTH = 30
    _SECONDS_BETWEEN = 0.1

    def __init__(self, environment: Environment) -> None:
        self._stream = environment.stderr
        self.shown = self._stream.isatty()
        self._stage, self._next = "", 0.0

    def __call__(self, progress: _Progress) -> None:
        """Show how far the work is: a new stage at once, else at most ten times a second."""
        if not progress.total:
            self.stage(progress.stage)
        elif progress.stage != self._stage or time.monotonic() >= self._next:
            filled = "#" * (self._WIDTH * progress.done // progress.total)
            error = None if progress.estimate is None else progress.estimate.uncertainty
            bar = f"[{filled:<{self._WIDTH}}] {progress.done}/{progress.total}"
            bar += "" if error is None else f" ±{100 * error:.0f} %"
            self._show(progress.stage, bar)

    def stage(self, name: str) -> None:
        """Show what is being done, where nothing says for how long."""
        self._show(name, "...")

    def _show(self, stage: str, how_far: str) -> None:
        self._stage, self._next = stage, time.monotonic() + self._SECONDS_BETWEEN
        if self.shown:
            self._write(f"\r{stage} {how_far}\x1b[K")

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.shown:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
