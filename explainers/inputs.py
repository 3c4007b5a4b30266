"""One input to explain: the model's numbers, and the picture they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import FailedPrecondition, InvalidArgument, Violation

from .classifier import Classifier
from .images import ImageLike, decode
from .preprocessing import Preprocessing

__all__ = ["PreparedInput", "prepare"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PreparedInput:
    """One input.

    Attributes
    ----------
    x
        The model's input, ``[1, ...]``.
    picture
        uint8 ``[H, W, 1 or 3]``: what the model sees, for eyes.
    perturbed
        What black-box methods change, ``[H, W, C]``: the picture, or for a tensor ``x`` itself.
    as_input
        Turns a batch of ``perturbed`` into model inputs.
    preprocessing
        What made ``x`` of the picture; ``None`` for a tensor.
    known
        The model's preprocessing as far as it is known, for a tensor too.
    """

    x: Array
    picture: npt.NDArray[np.uint8]
    perturbed: Array
    as_input: Callable[[Array], Array]
    preprocessing: Preprocessing | None
    known: Preprocessing | None

    def bounds(self, channel_axis: int) -> tuple[Array, Array] | None:
        """Return each channel's smallest and largest value, broadcastable to ``x``, if known.

        They are what the preprocessing makes of 0 and 255.
        """
        if self.known is None or self.known.channels != self.x.shape[channel_axis]:
            return None
        shape = [1, 1, 1, 1]
        shape[channel_axis] = -1
        low, high = self.known.bounds()
        return low.reshape(shape), high.reshape(shape)

    @property
    def from_tensor(self) -> bool:
        """Whether the caller gave the model's own input."""
        return self.preprocessing is None

    @property
    def segmentation_picture(self) -> npt.NDArray[np.uint8]:
        """The picture as uint8 ``[H, W, 3]``, grey repeated."""
        return np.broadcast_to(self.picture, (*self.picture.shape[:2], 3))


def prepare(
    image: ImageLike | Sequence[ImageLike] | None,
    tensor: npt.ArrayLike | None,
    preprocessing: Preprocessing | None,
    classifier: Classifier,
) -> list[PreparedInput]:
    """Return the inputs that an image, a list of images or a tensor stands for.

    Raises
    ------
    InvalidArgument
        ``INPUT_INVALID``, ``TENSOR_INVALID``, ``PREPROCESSING_INVALID`` where a preprocessing makes
        what the model does not take, or what `decode` finds wrong.
    FailedPrecondition
        ``PREPROCESSING_MISSING``: an image, and nothing says how it becomes the model's input.
    """
    if image is None:
        if tensor is None:
            raise _invalid("input", "give an image or a tensor")
        rows = classifier.as_input(tensor)[:, None]
        return [_from_tensor(x, classifier.interface.layout, preprocessing) for x in rows]
    if tensor is not None:
        raise _invalid("input", "give either an image or a tensor, not both")
    images = image if isinstance(image, list | tuple) else [cast("ImageLike", image)]
    if not images:
        raise _invalid("image", "the list of images is empty")
    if preprocessing is None:
        raise FailedPrecondition(
            "PREPROCESSING_MISSING",
            "nothing says how an image becomes this model's input: give preprocessing (a preset "
            "such as imagenet, or a JSON file), put NAME.json beside NAME.onnx, or give the "
            "model's own input as a tensor",
            violations=[Violation("preprocessing", "is missing")],
        )
    return [_from_image(item, preprocessing, classifier) for item in images]


def _from_image(
    image: ImageLike, preprocessing: Preprocessing, classifier: Classifier
) -> PreparedInput:
    """Decode, resize, crop and normalise an image."""
    picture = preprocessing.picture(decode(image))

    def as_input(pictures: Array) -> Array:
        made = preprocessing.normalise(pictures)
        try:
            return classifier.as_input(made)
        except InvalidArgument as error:
            raise _unfit(error, made) from error

    x = as_input(picture[None])
    return PreparedInput(x, picture, picture, as_input, preprocessing, preprocessing)


def _from_tensor(
    x: Array, layout: Literal["NCHW", "NHWC"], known: Preprocessing | None
) -> PreparedInput:
    """Take the model's own input ``[1, ...]``.

    Its picture is ``x`` by the inverse of the model's preprocessing where ``known``, else scaled
    from its own range to 0..255.
    """
    channel_axis = 1 if layout == "NCHW" else 3
    pixels = np.moveaxis(x, channel_axis, -1)[0]

    def as_input(pictures: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(pictures, -1, channel_axis)).astype(x.dtype)

    if known is not None and known.channels != pixels.shape[-1]:
        known = None
    picture = _stretched(pixels) if known is None else known.denormalise(x)[0]
    return PreparedInput(x, picture, pixels, as_input, None, known)


def _unfit(error: InvalidArgument, made: Array) -> InvalidArgument:
    """Say what is to be changed about a preprocessing whose tensors the model does not take."""
    (subject,) = {violation.subject for violation in error.violations}
    change = {
        "tensor.datatype": "its dtype",
        "tensor.shape": "its layout, its colour, or the size that its resize and crop leave",
    }.get(subject, "its range, mean and std")
    return InvalidArgument(
        "PREPROCESSING_INVALID",
        f"the preprocessing makes {made.dtype} {list(made.shape)} of a picture, and "
        f"{error.message}; change {change}",
        violations=[Violation("preprocessing", error.message)],
    )


def _stretched(pixels: Array) -> npt.NDArray[np.uint8]:
    """Scale values to 0..255; channels that are not colours become their mean."""
    values = pixels.astype(np.float64)
    if values.shape[-1] not in (1, 3):
        values = values.mean(axis=-1, keepdims=True)
    low, high = values.min(), values.max()
    scaled = (values - low) * (255 / (high - low) if high > low else 0)
    return np.asarray(np.rint(scaled), np.uint8)


def _invalid(subject: str, message: str) -> InvalidArgument:
    return InvalidArgument("INPUT_INVALID", message, violations=[Violation(subject, message)])
