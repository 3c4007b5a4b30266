"""One option of a method: its type, its bounds and its meaning, read from an annotation."""

from __future__ import annotations

import inspect
import itertools
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = [
    "Averaged",
    "Colours",
    "Help",
    "Option",
    "PerChannel",
    "Range",
    "Several",
    "in_words",
    "one_by_one",
    "options_of",
]


@dataclass(frozen=True)
class Help:
    """Annotation: what an option means, in one sentence."""

    text: str


@dataclass(frozen=True)
class Range:
    """Annotation: inclusive bounds of a number; ``None`` is unbounded."""

    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Several:
    """Annotation: callers may give several values, and the method is carried out for each."""


@dataclass(frozen=True)
class PerChannel:
    """Annotation: one value for all channels, or one for each; the method gets them together."""


@dataclass(frozen=True)
class Averaged:
    """Annotation: callers may give several values, and the answer is the mean over all of them."""


@dataclass(frozen=True)
class Colours:
    """Annotation: beside the choices, which have names, any colour as ``#rrggbb``."""


class Together(tuple[Any, ...]):
    """Values that belong together: one for each channel, or all those to average over."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a method, as read from the declaring function's signature.

    ``arrays`` says that beside the choices an array of numbers is taken.
    """

    name: str
    type: type[bool] | type[int] | type[float] | type[str] | type[np.ndarray[Any, Any]]
    default: bool | int | float | str | None
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    optional: bool = False
    several: bool = False
    together: bool = False
    colours: bool = False
    arrays: bool = False

    def check(self, value: Any) -> Any:
        """Return ``value`` as this option's type; raise ``ValueError`` saying what is allowed.

        Where there may be ``several`` values, a list is a tuple of them; where they belong
        ``together``, one value is too.
        """
        if value is None and self.optional:
            return None
        if self.together and not self.arrays and isinstance(value, np.ndarray):
            value = value.ravel().tolist()
        if self.several and isinstance(value, list | tuple):
            if not value:
                raise ValueError("the list is empty; leave the option out, or give a value")
            values = (self._check_one(one) for one in value)
            return Together(values) if self.together else tuple(values)
        return Together([self._check_one(value)]) if self.together else self._check_one(value)

    def _check_one(self, value: Any) -> Any:
        if self.type is np.ndarray:
            return _label_map(value)
        if self.arrays and isinstance(value, np.ndarray):
            return _numbers(value)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.type is float and number:
            value = float(value)
        elif self.type is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        beside = ", nor a NumPy array" * self.arrays
        if type(value) is not self.type and not (self.type is int and _is_integer(value)):
            raise ValueError(f"{value!r} is not {_ARTICLES[self.type]}{beside}")
        if self.choices and value not in self.choices:
            if not self.colours:
                raise ValueError(f"{value!r} is not one of {', '.join(self.choices)}{beside}")
            if not _COLOUR.fullmatch(value):
                names = ", ".join(self.choices)
                raise ValueError(f"{value!r} is not one of {names}, nor a colour as #rrggbb")
        if self.type in (int, float):
            if not math.isfinite(value):
                raise ValueError(f"{value!r} is not finite")
            if self.minimum is not None and value < self.minimum:
                raise ValueError(f"{value!r} is below {self.minimum:g}")
            if self.maximum is not None and value > self.maximum:
                raise ValueError(f"{value!r} is above {self.maximum:g}")
        return self.type(value)

    def parse(self, text: str) -> Any:
        """Read one value from text, as a command line gives it; arrays have no text."""
        if self.optional and text.lower() in ("", "none"):
            return None
        if self.type is bool:
            words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
            if text.lower() not in words:
                raise ValueError(f"{text!r} is not true or false")
            return words[text.lower()]
        if self.type is np.ndarray:
            raise ValueError("is an array, not a text")
        try:
            value = typing.cast("Callable[[str], Any]", self.type)(text)
        except ValueError:
            raise ValueError(f"{text!r} is not {_ARTICLES[self.type]}") from None
        return self._check_one(value)


_ARTICLES = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    np.ndarray: "an array",
}
_COLOUR = re.compile("#[0-9a-fA-F]{6}")


def _label_map(value: object) -> np.ndarray[Any, Any]:
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in "iu":
        raise ValueError("is not a NumPy array [H, W] of whole numbers, one for each pixel")
    if not value.size:
        raise ValueError(f"the array {list(value.shape)} is empty")
    return value


def _numbers(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if value.dtype.kind not in "fiu" or not np.isfinite(value).all():
        raise ValueError(f"the array {value.dtype} {list(value.shape)} is not of finite numbers")
    return value


def _is_integer(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def in_words(value: Any) -> Any:
    """Return an option's value as JSON has it, of an array only its type and shape."""
    if isinstance(value, tuple | list):
        return [in_words(one) for one in value]
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else value


def one_by_one(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return resolved options once for each value of those that were given several."""
    several = {name: value for name, value in options.items() if type(value) is tuple}
    return [
        dict(options, **dict(zip(several, values, strict=True)))
        for values in itertools.product(*several.values())
    ]


def options_of(function: Callable[..., Any]) -> tuple[Option, ...]:
    """Return the options that a function's keyword-only parameters declare."""
    hints = typing.get_type_hints(function, include_extras=True)
    return tuple(
        _option(parameter.name, hints[parameter.name], parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    )


def _option(name: str, hint: Any, default: Any) -> Option:
    base, *extras = (
        typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
    )
    union = typing.get_origin(base) in (typing.Union, types.UnionType)
    parts = typing.get_args(base) if union else (base,)
    base, *arrays = [part for part in parts if part is not type(None)]
    choices: tuple[str, ...] = ()
    if typing.get_origin(base) is Literal:
        choices, base = typing.get_args(base), str
    base = typing.get_origin(base) or base  # of an array its elements are no matter
    help_text = next(extra.text for extra in extras if isinstance(extra, Help))
    bounds = next((extra for extra in extras if isinstance(extra, Range)), Range())
    return Option(
        name=name,
        type=base,
        default=default,
        help=help_text,
        choices=choices,
        minimum=bounds.minimum,
        maximum=bounds.maximum,
        optional=type(None) in parts,
        several=any(isinstance(extra, Several | PerChannel | Averaged) for extra in extras),
        together=any(isinstance(extra, PerChannel | Averaged) for extra in extras),
        colours=any(isinstance(extra, Colours) for extra in extras),
        arrays=bool(arrays),
    )
