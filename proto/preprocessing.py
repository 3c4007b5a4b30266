"""Between a Preprocessing message and its JSON form, the one of the file beside a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnxplain.proto.codec import CodecError, choice_from_enum, enum_from_choice
from onnxplain.proto.types_pb2 import Colour, Filter, ImageSize, Layout, Preprocessing, Resize

__all__ = ["preprocessing_from_json", "preprocessing_to_json"]


def preprocessing_to_json(message: Preprocessing) -> dict[str, Any]:
    """Return the JSON form, which names only what the message sets.

    Raises
    ------
    CodecError
        ``PREPROCESSING_INVALID``: an enum value that this version does not know.
    """
    spec: dict[str, Any] = {}
    try:
        layout = choice_from_enum(Layout.DESCRIPTOR, message.layout)
        colour = choice_from_enum(Colour.DESCRIPTOR, message.colour)
        sampling = choice_from_enum(Filter.DESCRIPTOR, message.resize.filter)
    except ValueError as error:
        raise CodecError("PREPROCESSING_INVALID", [("input.preprocessing", str(error))]) from None
    if layout:
        spec["layout"] = layout.upper()
    if colour:
        spec["colour"] = colour.upper()
    if message.HasField("resize"):
        exact = message.resize.exact
        spec["resize"] = (
            {"size": [exact.height, exact.width]}
            if message.resize.WhichOneof("size") == "exact"
            else {"short_side": message.resize.short_side}
        )
        if sampling:
            spec["resize"]["filter"] = sampling
    if message.crop:
        spec["crop"] = message.crop
    if message.HasField("range"):
        spec["range"] = [message.range.low, message.range.high]
    if message.mean:
        spec["mean"] = list(message.mean)
    if message.std:
        spec["std"] = list(message.std)
    if message.dtype:
        spec["dtype"] = message.dtype
    return spec


def preprocessing_from_json(spec: Mapping[str, Any]) -> Preprocessing:
    """Return the message of a JSON form; its labels are not part of the message.

    Raises
    ------
    CodecError
        ``PREPROCESSING_INVALID``: a key or a value that the message has no place for.
    """
    message = Preprocessing()
    known = {*_SETTERS, "labels", "labels_file"}
    violations = [
        (f"preprocessing.{key}", f"preprocessing has no key {key!r}; known: {', '.join(_SETTERS)}")
        for key in spec
        if key not in known
    ]
    for key in _SETTERS.keys() & spec.keys():
        try:
            _SETTERS[key](message, spec[key])
        except (TypeError, ValueError, KeyError) as error:
            violations.append((f"preprocessing.{key}", f"preprocessing {key}: {error}"))
    if violations:
        raise CodecError("PREPROCESSING_INVALID", violations)
    return message


def _set_layout(message: Preprocessing, value: str) -> None:
    message.layout = Layout.ValueType(enum_from_choice(Layout.DESCRIPTOR, value))


def _set_colour(message: Preprocessing, value: str) -> None:
    message.colour = Colour.ValueType(enum_from_choice(Colour.DESCRIPTOR, value))


def _set_resize(message: Preprocessing, value: Mapping[str, Any] | None) -> None:
    if value is None:
        return
    unknown = set(value) - {"short_side", "size", "filter"}
    if unknown or ("short_side" in value) == ("size" in value):
        raise ValueError("takes short_side or size, and filter")
    resize = Resize()
    if "filter" in value:
        number = enum_from_choice(Filter.DESCRIPTOR, value["filter"])
        resize.filter = Filter.ValueType(number)
    if "size" in value:
        height, width = value["size"]
        resize.exact.CopyFrom(ImageSize(height=height, width=width))
    else:
        resize.short_side = value["short_side"]
    message.resize.CopyFrom(resize)


def _set_crop(message: Preprocessing, value: int | None) -> None:
    message.crop = value or 0


def _set_range(message: Preprocessing, value: Sequence[float]) -> None:
    message.range.low, message.range.high = value


def _set_mean(message: Preprocessing, value: float | Sequence[float]) -> None:
    message.mean.extend([value] if isinstance(value, int | float) else value)


def _set_std(message: Preprocessing, value: float | Sequence[float]) -> None:
    message.std.extend([value] if isinstance(value, int | float) else value)


def _set_dtype(message: Preprocessing, value: str) -> None:
    message.dtype = value


_SETTERS: dict[str, Callable[[Preprocessing, Any], None]] = {
    "layout": _set_layout,
    "colour": _set_colour,
    "resize": _set_resize,
    "crop": _set_crop,
    "range": _set_range,
    "mean": _set_mean,
    "std": _set_std,
    "dtype": _set_dtype,
}
