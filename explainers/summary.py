"""What a method of several inputs finds out about them together, besides a map of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Clusters", "Group", "Picks", "Split", "Summary", "Tree"]

Floats: TypeAlias = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Picks:
    """The inputs that show most of what the model goes by.

    Attributes
    ----------
    picked
        The inputs, counted from 0, the most telling one first.
    coverage
        After each of these, the share of all importance that they show together.
    axis
        What the inputs have in common: ``cells`` at the same place, or ``appearance``, groups of
        superpixels that look alike.
    importance
        Of each cell or group.
    colours
        Of each group the mean colour, ``#rrggbb``; of cells nothing.
    """

    picked: tuple[int, ...]
    coverage: Floats
    axis: Literal["cells", "appearance"]
    importance: Floats
    colours: tuple[str, ...]
    kind: Literal["picks"] = "picks"


@dataclass(frozen=True, kw_only=True)
class Split:
    """What parts a group: whether the mean of ``channel`` over ``cell`` is at most ``threshold``.

    ``low`` and ``high`` are the groups of those where it is, and is not.
    """

    cell: int
    channel: int
    threshold: float
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """Inputs that share a surrogate: ``score = intercept + sum of coefficients times features``.

    Attributes
    ----------
    size
        How many they are.
    members
        Which, counted from 0; empty where these are samples of one input.
    own
        Whether the surrogate was fitted to them; they were too few otherwise, and it is that of
        all.
    r2
        The share of their scores' variance that it explains.
    intercept, coefficients
        The surrogate. A feature is the mean of a channel over a cell, 0 to 1: all channels of the
        first cell first; or of samples, whether the cell is shown.
    split
        What parts the group further, in a tree.
    """

    size: int
    members: tuple[int, ...]
    own: bool
    r2: float
    intercept: float
    coefficients: Floats
    split: Split | None = None


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Groups of inputs that look alike, and the surrogate of all.

    ``group_of`` says of each input which of the ``groups`` it is in.
    """

    n_channels: int
    everything: Group
    groups: tuple[Group, ...]
    group_of: tuple[int, ...]
    kind: Literal["clusters"] = "clusters"


@dataclass(frozen=True, kw_only=True)
class Tree:
    """Groups parted again and again: the first of ``groups`` is the root, with all inputs.

    ``group_of`` says of each input which of the ``groups`` is its leaf.
    """

    n_channels: int
    groups: tuple[Group, ...]
    group_of: tuple[int, ...]
    kind: Literal["tree"] = "tree"


Summary: TypeAlias = Picks | Clusters | Tree
