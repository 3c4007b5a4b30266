"""Between a MethodSpec and what Python callers write: a method's name and keyword options.

The messages' descriptors are the only list of methods and options here, so a method added to
methods.proto needs no line of this file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnxplain.proto.codec import (
    CodecError,
    array_from_tensor,
    choice_from_enum,
    enum_from_choice,
    tensor_from_array,
)
from onnxplain.proto.methods_pb2 import MethodSpec
from onnxplain.proto.types_pb2 import Tensor

__all__ = ["options_from_spec", "spec_from_options"]


def spec_from_options(method: str, options: Mapping[str, Any]) -> MethodSpec:
    """Return the message of a method by its name and options; options that are None stay unset.

    A repeated field takes one value or several.

    Raises
    ------
    CodecError
        ``UNKNOWN_METHOD``, ``UNKNOWN_OPTION`` or ``OPTION_OUT_OF_RANGE``, all options at once.
    """
    methods = MethodSpec.DESCRIPTOR.fields_by_name
    if method not in methods:
        text = f"there is no method {method!r}; {_nearest(method, methods)}"
        raise CodecError("UNKNOWN_METHOD", [("method", text)])
    spec = MethodSpec()
    message = getattr(spec, method)
    message.SetInParent()
    fields = message.DESCRIPTOR.fields_by_name
    reason, violations = "OPTION_OUT_OF_RANGE", []
    for name, value in options.items():
        if name not in fields:
            reason = "UNKNOWN_OPTION"
            text = f"{method} has no option {name!r}; {_nearest(name, fields)}"
            violations.append((f"method.{method}", text))
        elif value is not None:
            try:
                if fields[name].is_repeated:
                    alone = isinstance(value, str | int | float | np.ndarray)
                    _extend(getattr(message, name), fields[name], [value] if alone else value)
                elif fields[name].message_type:
                    _write(getattr(message, name), value)
                else:
                    setattr(message, name, _field_value(fields[name], value))
            except (TypeError, ValueError) as error:
                violations.append((f"method.{method}.{name}", f"option {name}: {error}"))
    if violations:
        raise CodecError(reason, violations)
    return spec


def options_from_spec(spec: MethodSpec) -> tuple[str, dict[str, Any]]:
    """Return the method's name and the options that are set.

    Raises
    ------
    CodecError
        ``UNKNOWN_METHOD`` when none is set, ``OPTION_OUT_OF_RANGE`` for unknown enum values.
    """
    method = spec.WhichOneof("method")
    if method is None:
        known = ", ".join(sorted(spec.DESCRIPTOR.fields_by_name))
        text = f"no method this server knows is set in MethodSpec; set one of {known}"
        raise CodecError("UNKNOWN_METHOD", [("method", text)])
    options: dict[str, Any] = {}
    violations = []
    for field, value in getattr(spec, method).ListFields():
        try:
            if field.enum_type:
                value = choice_from_enum(field.enum_type, value)
            elif field.is_repeated:
                values = [_read(one) if field.message_type else one for one in value]
                value = values[0] if len(values) == 1 else values
            elif field.message_type:
                value = _read(value)
        except ValueError as error:
            text = f"option {field.name}: {error}"
            violations.append((f"method.{method}.{field.name}", text))
        if value is not None:
            options[field.name] = value
    if violations:
        raise CodecError("OPTION_OUT_OF_RANGE", violations)
    return method, options


def _extend(repeated: Any, field: Any, values: Iterable[Any]) -> None:
    for value in values:
        if field.message_type:
            _write(repeated.add(), value)
        else:
            repeated.append(value)


def _write(message: Message, value: Any) -> None:
    """Write an array to a Tensor, or a value to the field of its kind."""
    if isinstance(message, Tensor):
        message.CopyFrom(tensor_from_array(value))
        return
    array = isinstance(value, np.ndarray)
    (field,) = (one for one in message.DESCRIPTOR.fields if bool(one.message_type) == array)
    if array:
        _write(getattr(message, field.name), value)
    else:
        setattr(message, field.name, _field_value(field, value))


def _read(message: Message) -> Any:
    """Return what `_write` wrote."""
    if isinstance(message, Tensor):
        return array_from_tensor(message)
    for field, value in message.ListFields():
        if field.message_type:
            return _read(value)
        if field.enum_type and (choice := choice_from_enum(field.enum_type, value)):
            return choice
    kinds = " or ".join(field.name for field in message.DESCRIPTOR.fields)
    raise ValueError(f"is empty; set {kinds}")


def _field_value(field: Any, value: Any) -> Any:
    if field.enum_type:
        return enum_from_choice(field.enum_type, value)
    integer = field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    if integer and isinstance(value, float) and value.is_integer():
        return int(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL and not isinstance(value, bool | np.bool_):
        raise ValueError(f"{value!r} is not true or false")
    return value


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
