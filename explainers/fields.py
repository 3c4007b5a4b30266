"""Reading a mapping from outside: every field checked, everything wrong reported at once.

A check is a function that returns the value or raises ``ValueError`` saying what is allowed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from onnxplain.graph_rewrites import InvalidArgument, Violation, nearest

__all__ = ["Fields", "choice", "integer", "labels", "labels_from", "number", "per_channel", "sides"]

_MAX_LABELS_BYTES = 16 * 2**20

Check = Callable[[Any], Any]


class Fields:
    """The fields of one mapping; ``subject`` names it in violations, ``subject.field`` a field."""

    def __init__(
        self, given: object, subject: str, violations: list[Violation] | None = None
    ) -> None:
        self._subject = subject
        self._violations: list[Violation] = [] if violations is None else violations
        self._taken: list[str] = []
        self._children: list[Fields] = []
        self._given: Mapping[str, Any] = {}
        if isinstance(given, Mapping):
            self._given = given
        else:
            self.wrong("", f"{_shown(given)} is not a mapping of names to values")

    def take(self, name: str, default: Any, check: Check, *, required: bool = False) -> Any:
        """Return the checked field, or the default where it is absent, null or wrong."""
        self._taken.append(name)
        value = self._given.get(name)
        if value is None and not required:
            return default
        try:
            return check(value)
        except ValueError as error:
            self.wrong(name, "is missing: " * (value is None) + str(error))
            return default

    def nested(self, name: str) -> Fields | None:
        """Return the fields of the mapping ``name``, None where it is absent or null."""
        self._taken.append(name)
        if self._given.get(name) is None:
            return None
        child = Fields(self._given[name], f"{self._subject}.{name}", self._violations)
        self._children.append(child)
        return child

    def wrong(self, name: str, description: str) -> None:
        """Note that the field ``name``, or with "" the mapping itself, is wrong."""
        self._violations.append(
            Violation(f"{self._subject}.{name}" if name else self._subject, description)
        )

    def finish(self, reason: str) -> None:
        """Raise ``InvalidArgument`` with all violations, unknown fields among them, if any."""
        for fields in (self, *self._children):
            for name in fields._given.keys() - set(fields._taken):
                close = nearest(str(name), fields._taken)
                fields.wrong(str(name), f"is not a field here; {close}")
        if self._violations:
            found = sorted(self._violations, key=lambda violation: violation.subject)
            text = "; ".join(f"{violation.subject}: {violation.description}" for violation in found)
            raise InvalidArgument(reason, text, violations=found)


def choice(allowed: Iterable[str]) -> Check:
    """Check for one of the names."""
    names = tuple(allowed)

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"{_shown(value)} is not one of {', '.join(names)}")
        return value

    return check


def integer(low: int, high: int) -> Check:
    """Check for an integer from ``low`` to ``high``."""

    def check(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{_shown(value)} is not an integer from {low} to {high}")
        return value

    return check


def sides(high: int) -> Check:
    """Check for ``[height, width]``, each from 1 to ``high``."""
    side = integer(1, high)

    def check(value: Any) -> tuple[int, int]:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise ValueError(f"{_shown(value)} is not [height, width]")
        return side(value[0]), side(value[1])

    return check


def number(value: Any) -> float:
    """Check for a finite number."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not numeric or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{_shown(value)} is not a finite number")
    return float(value)


def per_channel(channels: int, *, positive: bool = False) -> Check:
    """Check for one finite number per channel; a single number, or a list of it, is for all."""

    def check(value: Any) -> tuple[float, ...]:
        values = value if isinstance(value, list | tuple) else [value]
        if len(values) == 1:
            values = [values[0]] * channels
        if len(values) != channels:
            raise ValueError(f"has {len(values)} numbers where the colour has {channels} channels")
        numbers = tuple(number(one) for one in values)
        if positive and min(numbers) <= 0:
            raise ValueError(f"{_shown(value)} is not above 0")
        return numbers

    return check


def labels(value: Any) -> tuple[str, ...]:
    """Check for a list of names."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{_shown(value)} is not a list of names, one per class")
    wrong = [position for position, name in enumerate(value) if not isinstance(name, str)]
    if wrong:
        raise ValueError(f"entry {wrong[0]} is {_shown(value[wrong[0]])}, not a name")
    return tuple(value)


def labels_from(base: str | os.PathLike[str] | None) -> Check:
    """Check for the name of a text file inside the folder ``base`` and return its lines."""

    def check(value: Any) -> tuple[str, ...]:
        if base is None:
            raise ValueError("is read only beside a model's own file; give labels instead")
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError(f"{_shown(value)} is not a file name")
        folder = Path(base).resolve()
        try:
            file = (folder / value).resolve()
            if not file.is_relative_to(folder):
                raise ValueError(f"{value!r} is outside the model's folder")
            if not file.is_file() or file.stat().st_size > _MAX_LABELS_BYTES:
                raise ValueError(f"{value!r} is not a text file of at most 16 MiB")
            return labels(file.read_text(encoding="utf-8").splitlines())
        except OSError as error:
            raise ValueError(f"{value!r} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{value!r} is not UTF-8 text") from None

    return check


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
