"""What callers write as image, target and preprocessing, as messages."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt
from onnxplain.proto.codec import CodecError, tensor_from_array
from onnxplain.proto.preprocessing import preprocessing_from_json
from onnxplain.proto.types_pb2 import (
    ClassList,
    ClassRef,
    ClassSum,
    ClassSumList,
    EncodedImage,
    Input,
    Target,
    WeighedClass,
)

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageLike", "TargetLike", "input_message", "target_message"]

ImageLike: TypeAlias = Union[
    str, os.PathLike[str], bytes, bytearray, memoryview, "Image.Image", npt.NDArray[np.uint8]
]
_OneTarget: TypeAlias = int | str | Mapping[Any, float]
TargetLike: TypeAlias = _OneTarget | Sequence[_OneTarget] | None

_TOP = re.compile(r"top-?([1-9]\d{0,5})")
_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}


def input_message(
    image: ImageLike | None,
    tensor: npt.ArrayLike | None,
    preprocessing: str | Mapping[str, Any] | None,
) -> Input:
    """Return the message of an image or a tensor.

    Raises
    ------
    CodecError
        ``INPUT_INVALID``, ``TENSOR_INVALID`` or ``PREPROCESSING_INVALID``.
    OSError
        The image is a path that cannot be read.
    """
    message = Input()
    if (image is None) == (tensor is None):
        raise CodecError("INPUT_INVALID", [("input", "give either an image or a tensor")])
    if image is not None:
        message.image.CopyFrom(EncodedImage(data=_encoded(image)))
    elif tensor is not None:
        message.tensor.CopyFrom(tensor_from_array(tensor))
    if isinstance(preprocessing, str):
        message.preset = preprocessing
    elif preprocessing is not None:
        message.preprocessing.CopyFrom(preprocessing_from_json(preprocessing))
    return message


def target_message(target: TargetLike) -> Target | None:
    """Return the message of a target.

    That is a class index, a label, ``"top3"``, a mapping of indices or labels to weights, or a list
    of indices, labels and mappings.

    Raises
    ------
    CodecError
        ``TARGET_INVALID``: it is none of these.
    """
    if target is None:
        return None
    if isinstance(target, str):
        top = _TOP.fullmatch(target)
        return Target(top_k=int(top[1])) if top else Target(label=target)
    if isinstance(target, Mapping):
        return Target(sums=ClassSumList(sums=[_sum(target)]))
    if isinstance(target, Sequence | np.ndarray):
        if any(isinstance(one, Mapping) for one in target):
            return Target(sums=ClassSumList(sums=map(_sum, target)))
        return Target(classes=ClassList(classes=map(_class, target)))
    return Target(class_index=_index(target))


def _sum(target: object) -> ClassSum:
    if not isinstance(target, Mapping):
        return ClassSum(classes=[WeighedClass(class_ref=_class(target), weight=1)])
    try:
        return ClassSum(
            classes=[
                WeighedClass(class_ref=_class(name), weight=weight)
                for name, weight in target.items()
            ]
        )
    except TypeError:
        text = f"target {dict(target)!r}: a weight is a number"
        raise CodecError("TARGET_INVALID", [("target", text)]) from None


def _class(name: object) -> ClassRef:
    return ClassRef(label=name) if isinstance(name, str) else ClassRef(index=_index(name))


def _index(target: object) -> int:
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        text = f"target {target!r} is not a class index, a label or such as 'top3'"
        raise CodecError("TARGET_INVALID", [("target", text)])
    index = int(target.__index__())
    if not -(2**63) <= index < 2**63:
        raise CodecError("TARGET_INVALID", [("target", f"target {index} is out of all range")])
    return index


def _encoded(image: ImageLike) -> bytes:
    """Return the bytes of a picture file: those given, or a PNG."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        text = "install Pillow to send arrays, or give a path or the bytes of a PNG, JPEG or WebP"
        raise ModuleNotFoundError(text, name=error.name) from error
    if isinstance(image, np.ndarray):
        image = Image.fromarray(_pixels(image))
    if not isinstance(image, Image.Image):
        text = (
            "an image is a path, the bytes of a PNG, JPEG or WebP file, a PIL image or a uint8 "
            f"array; got {type(image).__name__}"
        )
        raise CodecError("IMAGE_UNDECODABLE", [("input.image", text)])
    exif = image.getexif()  # its orientation is applied by the server
    if image.mode not in _PNG_MODES:
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1, exif=exif)
    return file.getvalue()


def _pixels(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    planes = 1 if array.ndim == 2 else array.shape[-1]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or planes not in (1, 3, 4):
        text = (
            "an image array is uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; got "
            f"{array.dtype} {list(array.shape)}; give the model's own input as tensor instead"
        )
        raise CodecError("IMAGE_UNDECODABLE", [("input.image", text)])
    if array.size == 0:
        text = f"the image array is empty: shape {list(array.shape)}"
        raise CodecError("IMAGE_EMPTY", [("input.image", text)])
    return array[..., 0] if array.ndim == 3 and planes == 1 else array
