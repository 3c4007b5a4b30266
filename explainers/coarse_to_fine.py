"""Sensitivity within a budget: squares of pixels first, then smaller ones where it matters."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .finite_differences import Differences, Floats, Move

__all__ = ["coarse_to_fine"]

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


def coarse_to_fine(
    differences: Differences,
    elements: npt.NDArray[np.intp],
    budget: int,
    random: np.random.Generator,
) -> Floats:
    """Return the mean sensitivity ``[H, W, T]`` of pixels in squares of different sizes.

    A square P's sensitivity is the mean of ``|f(x + h s) - f(x - h s)| / (2 h sqrt(|P|))`` over
    random signs ``s``: moved alike, slopes of different signs would cancel. First come equal
    squares, the smallest of which the budget allows 4 signs or more; with what it leaves, those
    with the largest sums are split in four.

    Parameters
    ----------
    elements
        Indices of the input's elements, ``[H, W, C]``.
    budget
        Forward passes.
    """
    height, width, _ = elements.shape
    side = _SMALLEST
    while (n_squares := -(-height // side) * -(-width // side)) > 1:
        if n_squares * _FEWEST * differences.cost <= budget:
            break
        side *= 2
    found: dict[_Square, Floats] = {}
    queue: list[tuple[float, _Square]] = []

    def evaluate(squares: list[_Square], n_signs: int) -> int:
        """Move the squares along so many random signs; return the forward passes spent."""
        n_moves = len(squares) * n_signs
        slopes = differences.slopes(
            _moves(differences, elements, squares, n_signs, random), n_moves
        )
        means = np.abs(slopes).reshape(len(squares), n_signs, -1).mean(axis=1)
        for square, mean in zip(squares, means, strict=True):
            n_elements = elements[square.window].size
            found[square] = mean / n_elements**0.5
            if square.side > _SMALLEST:
                heapq.heappush(queue, (-float(found[square].sum()) * n_elements, square))
        return n_moves * differences.cost

    n_signs = max(budget // (n_squares * differences.cost), 1)
    budget -= evaluate(_squares(0, 0, height, width, side), n_signs)
    n_signs = max(n_signs // 4, _FEWEST)
    cost = 4 * n_signs * differences.cost
    while queue and budget >= cost:
        n_split = min(_SPLIT_AT_ONCE, budget // cost, len(queue))
        split = [heapq.heappop(queue)[1] for _ in range(n_split)]
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
        budget -= evaluate(parts, n_signs)
        for one in split:
            del found[one]
    result = np.empty((height, width, next(iter(found.values())).size))
    for square, value in found.items():
        result[square.window] = value
    return result


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
    for square in squares:
        moved = elements[square.window].ravel()
        for _ in range(n_signs):
            yield moved, step * random.choice([-1.0, 1.0], len(moved))
