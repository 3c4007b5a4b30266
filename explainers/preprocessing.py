"""From a decoded picture to the model's input and back: one schema, checked as a whole.

For a pixel value ``v`` in 0..255, ``x = (v (range[1] - range[0]) / 255 + range[0] - mean) / std``.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, Violation, nearest
from PIL import Image

from .fields import Fields, choice, integer, labels, labels_from, number, per_channel, sides
from .images import MAX_PIXELS, Picture

__all__ = ["PRESETS", "Preprocessing", "Resize"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_LAYOUTS = ("NCHW", "NHWC")
_COLOURS = ("RGB", "BGR", "GRAY")
_DTYPES = ("float32", "float16", "float64", "uint8", "int8")
_MAX_SIDE = 8192

_IMAGENET = {"resize": {"short_side": 256, "filter": "bilinear"}, "crop": 224}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "imagenet": _IMAGENET  # torchvision, timm and most exports from PyTorch
    | {"range": [0, 1], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "imagenet_tf": _IMAGENET  # Keras MobileNet, Inception, EfficientNetV2
    | {"layout": "NHWC", "range": [-1, 1]},
    "imagenet_caffe": _IMAGENET  # Caffe, Keras ResNet and VGG; means in the order of BGR
    | {"colour": "BGR", "range": [0, 255], "mean": [103.939, 116.779, 123.68]},
}


@dataclass(frozen=True, kw_only=True)
class Resize:
    """To a short side, keeping proportions, or to a size ``(height, width)``; antialiased."""

    short_side: int | None = None
    size: tuple[int, int] | None = None
    filter: str = "bilinear"

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after resizing; the long side is rounded to the nearest."""
        if self.size is not None:
            return self.size
        short = self.short_side or min(height, width)
        if height <= width:
            return short, (2 * short * width + height) // (2 * height)
        return (2 * short * height + width) // (2 * width), short


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a model's training did to a picture; `from_dict` checks, the constructor only stores.

    Parameters
    ----------
    range
        What pixel values 0 and 255 become before mean and std.
    mean, std
        Per channel, in the order of ``colour``; or one number for all.
    layout, colour, dtype
        Of the model's input: NCHW or NHWC; RGB, BGR or GRAY; float32, float16, ...
    resize, crop
        Resize first, then the central ``crop`` x ``crop`` pixels; a picture smaller than the crop
        is enlarged until its short side fills it. Either may be absent.
    labels
        The classes' names, by index.
    """

    range: tuple[float, float]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "NCHW"
    colour: str = "RGB"
    resize: Resize | None = None
    crop: int | None = None
    dtype: str = "float32"
    labels: tuple[str, ...] | None = None

    @classmethod
    def from_dict(
        cls, given: Mapping[str, Any], *, base: str | os.PathLike[str] | None = None
    ) -> Preprocessing:
        """Check and read the schema.

        Parameters
        ----------
        given
            ``range`` is required; unknown keys are refused.
        base
            Folder that ``labels_file`` is read from, which it cannot leave; without it
            ``labels_file`` is refused, as for what comes from a client.

        Raises
        ------
        InvalidArgument
            ``PREPROCESSING_INVALID`` with everything that is wrong in ``violations``.
        """
        fields = Fields(given, "preprocessing")
        colour = fields.take("colour", "RGB", choice(_COLOURS))
        channels = 1 if colour == "GRAY" else 3
        nested = fields.nested("resize")
        resize = None
        if nested is not None:
            resize = Resize(
                short_side=nested.take("short_side", None, integer(1, _MAX_SIDE)),
                size=nested.take("size", None, sides(_MAX_SIDE)),
                filter=nested.take("filter", "bilinear", choice(_FILTERS)),
            )
            if (resize.short_side is None) == (resize.size is None):
                nested.wrong("", "give either short_side or size")
        crop = fields.take("crop", None, integer(1, _MAX_SIDE))
        smallest = min(resize.size or (resize.short_side or _MAX_SIDE,)) if resize else _MAX_SIDE
        if crop is not None and crop > smallest:
            fields.wrong("crop", f"{crop} is larger than what resize leaves ({smallest})")
        result = cls(
            range=fields.take("range", None, _range, required=True),
            mean=fields.take("mean", (0.0,) * channels, per_channel(channels)),
            std=fields.take("std", (1.0,) * channels, per_channel(channels, positive=True)),
            layout=fields.take("layout", "NCHW", choice(_LAYOUTS)),
            colour=colour,
            resize=resize,
            crop=crop,
            dtype=fields.take("dtype", "float32", choice(_DTYPES)),
            labels=fields.take("labels", None, labels),
        )
        from_file = fields.take("labels_file", None, labels_from(base))
        if result.labels is not None and from_file is not None:
            fields.wrong("labels_file", "give either labels or labels_file")
        fields.finish("PREPROCESSING_INVALID")
        return dataclasses.replace(result, labels=result.labels or from_file)

    @classmethod
    def from_json(
        cls, text: str | bytes, *, base: str | os.PathLike[str] | None = None
    ) -> Preprocessing:
        """Read the schema from JSON text; see `from_dict`."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError) as error:
            message = f"the preprocessing is not JSON: {error}"
            raise InvalidArgument(
                "PREPROCESSING_INVALID", message, violations=[Violation("preprocessing", message)]
            ) from None
        return cls.from_dict(given, base=base)

    @classmethod
    def preset(cls, name: str) -> Preprocessing:
        """Return the preset ``name`` of `PRESETS`."""
        if name not in PRESETS:
            message = f"there is no preprocessing preset {name!r}; {nearest(name, PRESETS)}"
            raise InvalidArgument(
                "PREPROCESSING_INVALID", message, violations=[Violation("preprocessing", message)]
            )
        return cls.from_dict(PRESETS[name])

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as JSON values; `from_dict` reads it back to an equal object."""
        values: dict[str, Any] = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in vars(self).items()
            if value is not None
        }
        if self.resize is not None:
            which = "short_side" if self.resize.size is None else "size"
            side = self.resize.short_side or list(self.resize.size or ())
            values["resize"] = {which: side, "filter": self.resize.filter}
        return values

    @property
    def channels(self) -> int:
        """Channels of the model's input and of `picture`."""
        return 1 if self.colour == "GRAY" else 3

    def picture(self, decoded: Picture) -> Picture:
        """Resize and crop a decoded image, uint8 ``[H, W, 1 or 3]``, to what the model sees.

        The result is in the order RGB (or grey) whatever the model's ``colour``: perturbations,
        segments and overlays live on it.
        """
        image = Image.fromarray(decoded[..., 0] if decoded.shape[-1] == 1 else decoded)
        image = image.convert("L" if self.channels == 1 else "RGB")
        height, width = image.height, image.width
        resample = _FILTERS[(self.resize or Resize()).filter]
        if self.resize is not None:
            height, width = self.resize.target(height, width)
        if self.crop is not None and min(height, width) < self.crop:
            height, width = Resize(short_side=self.crop).target(height, width)
        if height * width > MAX_PIXELS:
            message = (
                f"the image of {image.width} x {image.height} pixels would be {width} x {height} "
                "after resizing to the model's input: too long and narrow; cut it first"
            )
            raise InvalidArgument(
                "IMAGE_TOO_LARGE", message, violations=[Violation("image", message)]
            )
        image = image.resize((width, height), resample)
        if self.crop is not None:
            top, left = round((height - self.crop) / 2), round((width - self.crop) / 2)
            image = image.crop((left, top, left + self.crop, top + self.crop))
        pixels = np.array(image)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def normalise(self, pictures: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return pictures ``[B, H, W, C]``, values 0..255 of any dtype, as the model's input.

        The result is always a new array. Integer inputs are rounded and clipped to their range.
        """
        dtype = np.dtype(self.dtype)
        exact = np.float64 if dtype == np.float64 else np.float32
        scale, offset = (part.astype(exact) for part in self._affine())
        batch, height, width, _ = pictures.shape
        if self.colour == "BGR":
            pictures = pictures[..., ::-1]
        x: npt.NDArray[Any]
        if self.layout == "NCHW":
            x = np.empty((batch, self.channels, height, width), exact)
            x[...] = pictures.transpose(0, 3, 1, 2)
            x *= scale[:, None, None]
            x += offset[:, None, None]
        else:  # scale whole rows: three channels alone are too short for vector instructions
            x = np.empty((batch, height, width, self.channels), exact)
            x[...] = pictures
            rows = x.reshape(batch, height, width * self.channels)
            rows *= np.tile(scale, width)
            rows += np.tile(offset, width)
        if np.issubdtype(dtype, np.integer):
            info = np.iinfo(dtype)
            np.clip(np.rint(x, out=x), info.min, info.max, out=x)
        return x.astype(dtype, copy=False)

    def denormalise(self, x: npt.NDArray[Any]) -> Picture:
        """Show model input ``[C, H, W]`` or ``[H, W, C]``, with or without batch, as pictures.

        The inverse of `normalise`, rounded and clipped to uint8, ``[..., H, W, C]`` in order RGB.
        """
        return np.ascontiguousarray(np.clip(np.rint(self.pixels(x)), 0, 255).astype(np.uint8))

    def pixels(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """As `denormalise`, neither rounded nor clipped: what `normalise` makes ``x`` of."""
        scale, offset = self._affine()
        if self.layout == "NCHW":
            x = np.moveaxis(x, -3, -1)
        values: npt.NDArray[np.float64] = (x.astype(np.float64) - offset) / scale
        return values[..., ::-1] if self.colour == "BGR" else values

    def bounds(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the smallest and the largest input value of each channel, each ``[C]``.

        They are what pixel values 0 and 255 become, in the order of the model's channels.
        """
        scale, offset = self._affine()
        return offset.astype(np.float32), (255 * scale + offset).astype(np.float32)

    def _affine(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return ``(scale, offset)``, each ``[C]``, of ``x = scale v + offset``."""
        low, high = self.range
        mean = np.broadcast_to(np.asarray(self.mean, np.float64), self.channels)
        std = np.broadcast_to(np.asarray(self.std, np.float64), self.channels)
        return (high - low) / (255 * std), (low - mean) / std


def _range(value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(
            f"{value!r} is not [low, high]: what pixel values 0 and 255 become, "
            "such as [0, 1] or [0, 255]"
        )
    low, high = number(value[0]), number(value[1])
    if low >= high:
        raise ValueError(f"[{low:g}, {high:g}] does not rise")
    return low, high
