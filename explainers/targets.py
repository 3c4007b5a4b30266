"""Which classes are explained: indices, labels, the most likely ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, NotFound, Violation, nearest

__all__ = ["Target", "is_several", "resolve_targets"]

Target: TypeAlias = int | str | Sequence[int | str] | None

_TOP = re.compile(r"top-?(\d{1,6})")


def resolve_targets(
    target: Target, scores: npt.NDArray[np.float64], labels: Sequence[str] | None
) -> tuple[int, ...]:
    """Return the indices of the classes meant.

    Parameters
    ----------
    target
        An index, a label, ``"top3"`` for the three highest scores, highest first, a list of
        these, or ``None`` for the highest score.
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
    if target is None:
        target = "top1"
    if isinstance(target, str):
        return _by_name(target, scores, labels)
    if isinstance(target, Sequence | np.ndarray):
        if len(target) == 0:
            raise _invalid("TARGET_INVALID", "the list of targets is empty; name a class")
        return tuple(index for item in target for index in resolve_targets(item, scores, labels))
    return (_index(target, len(scores)),)


def is_several(target: Target) -> bool:
    """Return whether this way of naming targets stands for a list of results."""
    if isinstance(target, str):
        top = _TOP.fullmatch(target)
        return top is not None and int(top[1]) > 1
    return isinstance(target, Sequence | np.ndarray)


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


def _by_name(
    name: str, scores: npt.NDArray[np.float64], labels: Sequence[str] | None
) -> tuple[int, ...]:
    found = [index for index, label in enumerate(labels or ()) if label == name]
    if not found and (top := _TOP.fullmatch(name)):
        count = int(top[1])
        if count == 0:
            raise _invalid("TARGET_INVALID", f"target {name}: at least one class is needed")
        if count > len(scores):
            raise _invalid(
                "TARGET_OUT_OF_RANGE", f"target {name}: the model has only {len(scores)} classes"
            )
        return tuple(int(index) for index in np.argsort(-scores, kind="stable")[:count])
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
    return (found[0],)


def _invalid(reason: str, message: str) -> InvalidArgument:
    return InvalidArgument(reason, message, violations=[Violation("target", message)])
