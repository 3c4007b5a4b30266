"""Slopes of the scores at an input, from forward passes alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .classifier import ScoreKind
from .input_run import InputRun

__all__ = ["Differences", "Move"]

Floats: TypeAlias = npt.NDArray[np.float64]
Move: TypeAlias = tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]

_COPIES = 8


class Differences:
    """Central or forward differences at a run's input.

    Parameters
    ----------
    run
        Gives the input and the scores.
    step
        Share of the input's range; ``None`` is 0.001, or 0.01 where the input or the model is of
        integers. Integers move by one level at least.
    central
        ``(f(x + h) - f(x - h)) / 2h``; else ``(f(x + h) - f(x)) / h``.
    score
        What is explained.

    Attributes
    ----------
    steps
        ``h`` of every element of the input, flat.
    cost
        Forward passes of one move.
    """

    def __init__(self, run: InputRun, step: float | None, central: bool, score: ScoreKind) -> None:
        self._run, self._score, self._central = run, score, central
        self._x = run.x.ravel()
        self._integer = np.issubdtype(self._x.dtype, np.integer)
        share = step or (1e-2 if self._integer or run.quantised else 1e-3)
        steps = share * np.broadcast_to(run.high - run.low, run.x.shape).astype(np.float64)
        self.steps: Floats = np.where(steps > 0, steps, share).ravel()
        if self._integer:
            self.steps = np.maximum(np.rint(self.steps), 1)
        self.cost = 2 if central else 1
        self._base: Floats | None = None

    def stream(self, moves: Iterable[Move]) -> Generator[Floats, None, None]:
        """Yield the targets' slopes ``[B, T]`` along moves: elements of the input, and how far.

        A slope is per unit that an element moves on average.
        """
        run, moves = self._run, iter(moves)
        widths: deque[Floats] = deque()

        def batches() -> Iterator[npt.NDArray[Any]]:
            while batch := list(islice(moves, run.batch_size)):
                *rows, width = self._moved(batch)
                widths.append(width)
                yield from (self._as_inputs(side) for side in rows)

        if not self._central and self._base is None:
            self._base = self._scores(self._x[None])
        with closing(run.stream(batches(), self._score)) as found:
            for scores in found:
                ahead = scores[:, run.targets]
                behind = self._base if self._base is not None else next(found)[:, run.targets]
                yield (ahead - behind) / widths.popleft()

    def noise_floor(self, random: np.random.Generator) -> Floats:
        """Return the slopes ``[T]`` that rounding alone would give one element.

        Rounding is measured on copies of the input whose elements differ by one unit in the last
        place. Integers have none.
        """
        if self._integer:
            return np.zeros(len(self._run.targets))
        towards = random.choice(np.array([-np.inf, np.inf], self._x.dtype), (_COPIES, self._x.size))
        scores = self._scores(np.nextafter(self._x, towards))
        width = self.steps.mean() * self.cost
        return np.asarray(np.sqrt(2) * scores.std(axis=0, ddof=1) / width)

    def _moved(self, moves: list[Move]) -> list[npt.NDArray[Any]]:
        """Return the flat inputs ahead, those behind if any, and how far apart, ``[B, 1]``."""
        ahead = np.repeat(self._x[None], len(moves), axis=0)
        behind = ahead.copy() if self._central else None
        widths = np.empty((len(moves), 1))
        for row, (elements, amounts) in enumerate(moves):
            here = self._x[elements].astype(np.float64)
            ahead[row, elements] = self._rounded(here + amounts)
            far = ahead[row, elements].astype(np.float64)
            near = here
            if behind is not None:
                behind[row, elements] = self._rounded(here - amounts)
                near = behind[row, elements].astype(np.float64)
            widths[row] = np.abs(far - near).mean()
        return [ahead, widths] if behind is None else [ahead, behind, widths]

    def _rounded(self, values: Floats) -> npt.NDArray[Any]:
        """Return the values in the input's type."""
        if self._integer:
            info = np.iinfo(self._x.dtype)
            values = np.clip(np.rint(values), info.min, info.max)
        return values.astype(self._x.dtype)

    def _scores(self, rows: npt.NDArray[Any]) -> Floats:
        return self._run.scores(self._as_inputs(rows), self._score)[:, self._run.targets]

    def _as_inputs(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return rows.reshape(-1, *self._run.x.shape[1:])
