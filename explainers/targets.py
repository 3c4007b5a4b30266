"""Which scores are explained: of classes by index, label or rank, or weighted sums of these."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, NotFound, Violation, nearest

__all__ = ["Target", "Targets", "WeighedClasses", "is_several", "resolve_targets"]

_One: TypeAlias = int | str | Mapping[Any, float]
Target: TypeAlias = _One | Sequence[_One] | None
Floats: TypeAlias = npt.NDArray[np.float64]

_TOP = re.compile(r"top-?(\d{1,6})")


@dataclass(frozen=True)
class WeighedClasses:
    """The score of a class, or of several by ``weights``, none of them 0."""

    weights: Mapping[int, float]

    @property
    def index(self) -> int | None:
        """The class; ``None`` where it is not one class that counts once."""
        (first, *_), values = self.weights, list(self.weights.values())
        return first if values == [1.0] else None

    def label(self, names: Sequence[str] | None) -> str | None:
        """Return it in words, such as ``cat - 0.5 dog``; ``None`` without names."""
        if names is None:
            return None
        text = ""
        for index, weight in self.weights.items():
            factor = "" if abs(weight) == 1 else f"{abs(weight):g} "
            text += f" {'-' if weight < 0 else '+'} {factor}{names[index]}"
        return text.removeprefix(" + ").lstrip()

    def row(self, n_classes: int) -> Floats:
        """Return the weight of every class."""
        weights = np.zeros(n_classes)
        weights[list(self.weights)] = list(self.weights.values())
        return weights


@dataclass(frozen=True)
class Targets:
    """What is explained, in order, of a model of ``n_classes``."""

    items: tuple[WeighedClasses, ...]
    n_classes: int

    @property
    def columns(self) -> tuple[int, ...]:
        """Where each one's score stands in what `extend` returns."""
        behind = itertools.count(self.n_classes)
        return tuple(next(behind) if one.index is None else one.index for one in self.items)

    def extend(self, scores: Floats) -> Floats:
        """Return scores ``[N, n_classes]`` with those of sums behind them, as of more classes."""
        rows = [one.row(self.n_classes) for one in self.items if one.index is None]
        return np.concatenate([scores, *(scores @ row[:, None] for row in rows)], axis=1)

    def start(self, columns: Sequence[int]) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
        """Return what a rewritten graph takes as targets for columns of `extend`.

        That is ``target`` int64 ``[N]`` where all are classes, else ``target_weights`` float32
        ``[N, n_classes]``.
        """
        if max(columns) < self.n_classes:
            return np.asarray(columns, np.int64)
        return self.extend(np.eye(self.n_classes))[:, columns].T.astype(np.float32)


def resolve_targets(target: Target, scores: Floats, labels: Sequence[str] | None) -> Targets:
    """Return the scores meant.

    Parameters
    ----------
    target
        An index, a label, ``"top3"`` for the three highest scores, highest first, a mapping of
        classes to weights for the weighted sum of their scores, a list of these, or ``None`` for
        the highest score.
    scores
        Of one image, ``[n_classes]``.
    labels
        The classes' names.

    Raises
    ------
    InvalidArgument
        ``TARGET_OUT_OF_RANGE``, ``TARGET_INVALID`` or ``LABEL_AMBIGUOUS``.
    NotFound
        ``UNKNOWN_LABEL``.
    """
    found = _weighed("top1" if target is None else target, scores, labels)
    return Targets(found, len(scores))


def is_several(target: Target) -> bool:
    """Return whether this way of naming targets stands for a list of results."""
    if isinstance(target, str):
        top = _TOP.fullmatch(target)
        return top is not None and int(top[1]) > 1
    return isinstance(target, Sequence | np.ndarray)


def _weighed(
    target: Target, scores: Floats, labels: Sequence[str] | None
) -> tuple[WeighedClasses, ...]:
    if isinstance(target, str):
        return tuple(WeighedClasses({index: 1.0}) for index in _by_name(target, scores, labels))
    if isinstance(target, Mapping):
        return (WeighedClasses(_sum(target, len(scores), labels)),)
    if isinstance(target, Sequence | np.ndarray):
        if len(target) == 0:
            raise _invalid("TARGET_INVALID", "the list of targets is empty; name a class")
        return tuple(one for item in target for one in _weighed(item, scores, labels))
    return (WeighedClasses({_index(target, len(scores)): 1.0}),)


def _sum(
    target: Mapping[Any, Any], n_classes: int, labels: Sequence[str] | None
) -> dict[int, float]:
    found: dict[int, float] = {}
    for name, weight in target.items():
        index = _labelled(name, labels) if isinstance(name, str) else _index(name, n_classes)
        if index in found:
            raise _invalid("TARGET_INVALID", f"target {dict(target)} weighs class {index} twice")
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            raise _invalid("TARGET_INVALID", f"the weight {weight!r} of {name!r} is not a number")
        found[index] = float(weight)
    if not any(found.values()) or not np.isfinite(list(found.values())).all():
        text = f"target {dict(target)}: weights are finite numbers, and not all of them 0"
        raise _invalid("TARGET_INVALID", text)
    return {index: weight for index, weight in found.items() if weight}


def _index(target: object, n_classes: int) -> int:
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        raise _invalid(
            "TARGET_INVALID", f"target {target!r} is not a class index, a label or such as 'top3'"
        )
    index = int(target.__index__())
    if not 0 <= index < n_classes:
        raise _invalid(
            "TARGET_OUT_OF_RANGE",
            f"target {index} is not a class of this model: its classes are 0 to {n_classes - 1}",
        )
    return index


def _by_name(name: str, scores: Floats, labels: Sequence[str] | None) -> tuple[int, ...]:
    if name not in (labels or ()) and (top := _TOP.fullmatch(name)):
        count = int(top[1])
        if count == 0:
            raise _invalid("TARGET_INVALID", f"target {name}: at least one class is needed")
        if count > len(scores):
            raise _invalid(
                "TARGET_OUT_OF_RANGE", f"target {name}: the model has only {len(scores)} classes"
            )
        return tuple(int(index) for index in np.argsort(-scores, kind="stable")[:count])
    return (_labelled(name, labels),)


def _labelled(name: str, labels: Sequence[str] | None) -> int:
    """Return the class of this label, whatever its case where no label is the very same."""
    found = [index for index, label in enumerate(labels or ()) if label == name]
    if not found:
        folded = name.casefold()
        found = [index for index, label in enumerate(labels or ()) if label.casefold() == folded]
    if len(found) > 1:
        indices = ", ".join(map(str, found))
        raise _invalid(
            "LABEL_AMBIGUOUS", f"label {name!r} is the name of classes {indices}; give the index"
        )
    if not found:
        hint = (
            f"; {nearest(name, labels)}"
            if labels
            else ": the model has no labels; give the class index"
        )
        raise NotFound(
            "UNKNOWN_LABEL",
            f"no class has the label {name!r}{hint}"[:500],
            metadata={"resource_type": "label", "resource_name": name},
        )
    return found[0]


def _invalid(reason: str, message: str) -> InvalidArgument:
    return InvalidArgument(reason, message, violations=[Violation("target", message)])
