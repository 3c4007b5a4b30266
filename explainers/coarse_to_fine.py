"""Sensitivity within a budget: squares of pixels first, then smaller ones where it matters."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .cells import Cells
from .control import Estimate
from .finite_differences import Differences, Floats, Move
from .sampling import Sampling, Told, relative_error, worst

__all__ = ["CoarseMap", "coarse_to_fine"]

_FEWEST = 4  # sign patterns that a square is moved along
_SMALLEST = 2  # side of the smallest square, in pixels
_SPLIT_AT_ONCE = 16


@dataclass(frozen=True, order=True)
class _Square:
    top: int
    left: int
    side: int

    @property
    def window(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)


@dataclass(frozen=True, eq=False)
class CoarseMap:
    """The mean sensitivity of pixels in squares of different sizes.

    Attributes
    ----------
    values
        ``[H, W, T]``.
    errors
        ``[H, W, T]``, their standard errors; infinite where they are not known.
    """

    values: Floats
    errors: Floats

    @property
    def relative_error(self) -> Floats:
        """The errors (root mean square) as a share of the values' variation, ``[T]``."""
        error = np.sqrt(np.square(self.errors).mean(axis=(0, 1)))
        return relative_error(error, self.values.std(axis=(0, 1)))

    @property
    def heatmaps(self) -> list[npt.NDArray[np.float32]]:
        """One for each target."""
        return [one.astype(np.float32) for one in np.moveaxis(self.values, -1, 0)]


def coarse_to_fine(
    run: Told,
    differences: Differences,
    elements: npt.NDArray[np.intp],
    budget: int,
    random: np.random.Generator,
) -> CoarseMap:
    """Return the sensitivity of squares of pixels, smaller ones where it matters.

    A square P's sensitivity is the mean of ``|f(x + h s) - f(x - h s)| / (2 h sqrt(|P|))`` over
    random signs ``s``: moved alike, slopes of different signs would cancel. First come equal
    squares, the smallest of which the budget allows 4 signs or more; with what it leaves, those
    with the largest sums are split in four.

    Parameters
    ----------
    run
        Is told how far the work is; see `Sampling`.
    elements
        Indices of the input's elements, ``[H, W, C]``.
    budget
        Forward passes.
    """
    height, width, _ = elements.shape
    n_moves = budget // differences.cost
    side = _SMALLEST
    while (n_squares := -(-height // side) * -(-width // side)) > 1:
        if n_squares * _FEWEST <= n_moves:
            break
        side *= 2
    rows, columns = (np.arange(size) // side for size in (height, width))
    cells = Cells(np.asarray(rows[:, None] * (columns[-1] + 1) + columns, np.int32))
    found = _Found(elements, cells)

    def estimate(_: int) -> Estimate:
        now = found.map()
        return Estimate(worst(now.relative_error), lambda: now.heatmaps)

    sampling = Sampling(run, "differences", n_moves, estimate, minimum=1)

    def measure(squares: list[_Square], n_signs: int) -> bool:
        """Move the squares along so many random signs each; return whether to go on."""
        moves = _moves(differences, elements, squares, n_signs, random)
        with closing(differences.stream(moves)) as batches:
            for slopes in batches:
                found.add(squares, slopes)
                if sampling.enough(found.n_moves):
                    return False
        return True

    sampling.enough(0)
    n_signs = max(n_moves // n_squares, 1)
    whole = _squares(0, 0, height, width, side)
    going = measure([whole[label] for label in cells.order], n_signs)
    if found.n_moves < n_squares:
        run.warn(
            "NOT_ALL_MEASURED",
            f"{found.n_moves} of {n_squares} squares were moved; the others have the value of the "
            "nearest of these",
        )
        return found.map()
    found.settle(1)
    n_signs = max(n_signs // 4, _FEWEST)
    while going and found.queue and n_moves - found.n_moves >= 4 * n_signs:
        left = (n_moves - found.n_moves) // (4 * n_signs)
        split = found.take(min(_SPLIT_AT_ONCE, left))
        parts = [
            part
            for one in split
            for part in _squares(
                one.top,
                one.left,
                min(one.top + one.side, height),
                min(one.left + one.side, width),
                one.side // 2,
            )
        ]
        going = measure(parts, n_signs)
        found.settle(n_signs, instead_of=split)
    if going:
        sampling.enough(found.n_moves, last=True)
    return found.map()


class _Found:
    """What squares have, and which of them are to be split first.

    ``n_moves`` counts the moves that were measured, ``queue`` is a heap of squares with what they
    are worth.
    """

    def __init__(self, elements: npt.NDArray[np.intp], cells: Cells) -> None:
        self.n_moves = 0
        self.queue: list[tuple[float, _Square]] = []
        self._elements, self._cells = elements, cells
        self._settled: dict[_Square, Floats] = {}  # [2, T]: value and standard error
        self._squares: list[_Square] = []
        self._slopes: list[Floats] = []

    def add(self, squares: list[_Square], slopes: Floats) -> None:
        """Add a batch of slopes ``[B, T]``: of all the squares for one sign, then for the next."""
        self._squares = squares
        self._slopes.append(np.abs(slopes))
        self.n_moves += len(slopes)

    def take(self, n: int) -> list[_Square]:
        """Take those off the queue that matter most."""
        return [heapq.heappop(self.queue)[1] for _ in range(min(n, len(self.queue)))]

    def settle(self, fewest: int, instead_of: Iterable[_Square] = ()) -> None:
        """Let what was added last, with the ``fewest`` signs at least, replace other squares."""
        slopes, self._slopes = np.concatenate(self._slopes), []
        n_signs = len(slopes) // len(self._squares)
        if n_signs < fewest:
            return
        for one in instead_of:
            del self._settled[one]
        for square, found in self._values(slopes):
            self._settled[square] = found
            if square.side > _SMALLEST:
                worth = float(found[0].sum()) * self._elements[square.window].size
                heapq.heappush(self.queue, (-worth, square))

    def map(self) -> CoarseMap:
        """Return the map of what is settled, or else of what was added so far."""
        found = list(self._settled.items()) or self._values(np.concatenate(self._slopes))
        result = np.empty((*self._elements.shape[:2], *found[0][1].shape))
        for square, value in found:
            result[square.window] = value
        return CoarseMap(result[:, :, 0], result[:, :, 1])

    def _values(self, slopes: Floats) -> list[tuple[_Square, Floats]]:
        n_signs = len(slopes) // len(self._squares)
        if n_signs == 0:  # of the first squares, some
            slopes, n_signs = self._cells.filled(slopes)[self._cells.order], 1
        each = slopes[: n_signs * len(self._squares)].reshape(n_signs, len(self._squares), -1)
        errors = np.full(each.shape[1:], np.inf)
        if n_signs > 1:
            errors = each.std(axis=0, ddof=1) / n_signs**0.5
        found = np.stack([each.mean(axis=0), errors], axis=1)
        sizes = [self._elements[square.window].size for square in self._squares]
        return [
            (square, values / size**0.5)
            for square, values, size in zip(self._squares, found, sizes, strict=True)
        ]


def _squares(top: int, left: int, bottom: int, right: int, side: int) -> list[_Square]:
    return [
        _Square(row, column, side)
        for row in range(top, bottom, side)
        for column in range(left, right, side)
    ]


def _moves(
    differences: Differences,
    elements: npt.NDArray[np.intp],
    squares: list[_Square],
    n_signs: int,
    random: np.random.Generator,
) -> Iterator[Move]:
    step = differences.steps.mean()
    for _ in range(n_signs):
        for square in squares:
            moved = elements[square.window].ravel()
            yield moved, step * random.choice([-1.0, 1.0], len(moved))
