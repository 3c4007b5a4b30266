"""Between messages and Python values: tensors as NumPy arrays, enum values as lower-case words.

Both ends of the wire use these functions, so they trust nothing: what does not fit raises
`CodecError`, and no size claimed by a message is believed before its bytes are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor import EnumDescriptor
from onnxplain.proto.types_pb2 import Tensor

__all__ = [
    "DATATYPES",
    "CodecError",
    "array_from_tensor",
    "choice_from_enum",
    "enum_from_choice",
    "tensor_from_array",
]

#: NumPy types of the Open Inference Protocol's datatype names, little-endian as on the wire.
DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"{kind.upper()}{n}": np.dtype(f"{kind}{n}").newbyteorder("<")
       for kind in ("int", "uint") for n in (8, 16, 32, 64)},
    **{f"FP{n}": np.dtype(f"float{n}").newbyteorder("<") for n in (16, 32, 64)},
}  # fmt: skip

_MAX_AXES = 16


class CodecError(ValueError):
    """A value that does not fit its message, or a message that is not what it claims.

    Attributes
    ----------
    reason
        Stable identifier: ``TENSOR_INVALID``, ``UNKNOWN_METHOD``, ``UNKNOWN_OPTION``,
        ``OPTION_OUT_OF_RANGE`` or ``PREPROCESSING_INVALID``.
    violations
        ``(field, description)`` of everything that is wrong.
    """

    def __init__(self, reason: str, violations: Iterable[tuple[str, str]]) -> None:
        self.reason = reason
        self.violations = tuple(violations)
        super().__init__("; ".join(description for _, description in self.violations))


def tensor_from_array(array: npt.ArrayLike) -> Tensor:
    """Return ``array`` as a message, in C order and little-endian.

    Raises
    ------
    CodecError
        ``TENSOR_INVALID``: its element type has no name in the Open Inference Protocol.
    """
    array = np.asarray(array)
    wire = array.dtype.newbyteorder("<")
    for name, dtype in DATATYPES.items():
        if dtype == wire:
            return Tensor(datatype=name, shape=array.shape, data=array.astype(wire).tobytes())
    known = ", ".join(DATATYPES)
    raise _tensor_error("datatype", f"elements of type {array.dtype} cannot be sent; use {known}")


def array_from_tensor(tensor: Tensor) -> npt.NDArray[Any]:
    """Return the message's array: a read-only view of its bytes in the machine's own byte order.

    Raises
    ------
    CodecError
        ``TENSOR_INVALID``: unknown datatype, an axis below 1, or bytes that do not fit the shape.
    """
    shape = tuple(tensor.shape)
    if tensor.datatype not in DATATYPES:
        known = ", ".join(DATATYPES)
        raise _tensor_error("datatype", f"datatype {tensor.datatype!r} is not one of {known}")
    if len(shape) > _MAX_AXES:
        raise _tensor_error("shape", f"shape has {len(shape)} axes, more than {_MAX_AXES}")
    if any(length < 1 for length in shape):
        raise _tensor_error("shape", f"shape {list(shape)} has an axis shorter than 1")
    dtype = DATATYPES[tensor.datatype]
    expected = math.prod(shape) * dtype.itemsize  # exact: Python integers do not overflow
    if len(tensor.data) != expected:
        text = f"{tensor.datatype} {list(shape)} takes {expected} bytes, not {len(tensor.data)}"
        raise _tensor_error("data", text)
    array = np.frombuffer(tensor.data, dtype=dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _tensor_error(field: str, description: str) -> CodecError:
    return CodecError("TENSOR_INVALID", [(field, description)])


def choice_from_enum(enum: EnumDescriptor, number: int) -> str | None:
    """Return an enum value's name without prefix, lower-cased; ``None`` for its ``UNSPECIFIED``.

    Raises
    ------
    ValueError
        ``enum`` has no such number: the message is from a newer version of the protocol.
    """
    if number == 0:
        return None
    if number not in enum.values_by_number:
        known = ", ".join(_choices(enum))
        raise ValueError(f"{number} is not a {enum.name}; known: {known}")
    return enum.values_by_number[number].name.removeprefix(_prefix(enum)).lower()


def enum_from_choice(enum: EnumDescriptor, choice: str) -> int:
    """Return the number of an enum value named as `choice_from_enum` names it, in any case.

    Raises
    ------
    ValueError
        ``enum`` has no such value.
    """
    numbers = _choices(enum)
    if not isinstance(choice, str) or choice.lower() not in numbers:
        raise ValueError(f"{choice!r} is not one of {', '.join(numbers)}")
    return numbers[choice.lower()]


def _choices(enum: EnumDescriptor) -> dict[str, int]:
    return {v.name.removeprefix(_prefix(enum)).lower(): v.number for v in enum.values if v.number}


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
