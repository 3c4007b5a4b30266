"""Pictures in: from a path, encoded bytes, a PIL image or an array to one uint8 picture."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, NotFound, Violation
from PIL import ExifTags, Image, UnidentifiedImageError

__all__ = ["FORMATS", "MAX_PIXELS", "ImageLike", "Picture", "decode"]

Picture: TypeAlias = npt.NDArray[np.uint8]
ImageLike: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | npt.NDArray[np.uint8]
)

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000

# EXIF orientation -> what turns the stored pixels upright; 1 is upright, others are invalid.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_QUIET = threading.Lock()


def decode(image: ImageLike, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Return the image as an upright uint8 picture.

    Transparent parts become white, palettes and CMYK become RGB, 16-bit values keep their high
    byte, and of an animation the first frame is taken.

    Parameters
    ----------
    image
        A path, the bytes of a PNG, JPEG or WebP file, a PIL image, or a uint8 array ``[H, W]``,
        ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]`` (the fourth channel is opacity).
    max_pixels
        Larger images are refused from their header, before any pixel is decoded.

    Returns
    -------
    uint8 array ``[H, W, C]``
        Red, green, blue, or one grey channel; the caller owns it.

    Raises
    ------
    InvalidArgument
        ``IMAGE_EMPTY``, ``IMAGE_UNDECODABLE`` (also truncated) or ``IMAGE_TOO_LARGE``.
    NotFound
        ``IMAGE_NOT_FOUND``: there is no file at the path.
    """
    if isinstance(image, np.ndarray):
        return _picture(_from_array(image), max_pixels, "the image")
    if isinstance(image, Image.Image):
        return _picture(image, max_pixels, "the image")
    if isinstance(image, bytes | bytearray | memoryview):
        return _from_bytes(bytes(image), max_pixels, "the image")
    if isinstance(image, str | os.PathLike):
        return _from_bytes(_read(Path(image)), max_pixels, f"the image {os.fspath(image)}")
    raise _error(
        "IMAGE_UNDECODABLE",
        "an image is a path, the bytes of a PNG, JPEG or WebP file, a PIL image or a uint8 array; "
        f"got {type(image).__name__}",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            "IMAGE_NOT_FOUND",
            f"there is no image file {path}; check the path",
            metadata={"resource_type": "image", "resource_name": str(path)},
        ) from None
    except (OSError, ValueError) as error:  # a directory, no permission, a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise _error(
            "IMAGE_UNDECODABLE", f"the image file {path} cannot be read: {reason}"
        ) from None


def _from_bytes(data: bytes, max_pixels: int, what: str) -> Picture:
    if not data:
        raise _error("IMAGE_EMPTY", f"{what} is empty (0 bytes); give a PNG, JPEG or WebP file")
    try:
        with _quiet():
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _error(
            "IMAGE_TOO_LARGE",
            f"{what} has more pixels than the {max_pixels:,} allowed; scale it down",
        ) from None
    except UnidentifiedImageError:
        raise _error(
            "IMAGE_UNDECODABLE", f"{what} is not a PNG, JPEG or WebP file, or its header is damaged"
        ) from None
    except MemoryError:
        raise
    except Exception:  # the parsers raise a dozen types on hostile bytes
        raise _error(
            "IMAGE_UNDECODABLE", f"the header of {what} is damaged; give the whole original file"
        ) from None
    with image:
        return _picture(image, max_pixels, what)


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    if array.size == 0:
        raise _error("IMAGE_EMPTY", f"the image array is empty: shape {list(array.shape)}")
    planes = 1 if array.ndim == 2 else array.shape[-1]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or planes not in (1, 3, 4):
        raise _error(
            "IMAGE_UNDECODABLE",
            "an image array is uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; "
            f"got {array.dtype} {list(array.shape)}; "
            "give values in the model's own units as tensor instead",
        )
    return Image.fromarray(array[..., 0] if array.ndim == 3 and planes == 1 else array)


def _picture(image: Image.Image, max_pixels: int, what: str) -> Picture:
    """Decode the pixels of an image whose header is known to be sound."""
    width, height = image.size
    if width * height > max_pixels:
        raise _error(
            "IMAGE_TOO_LARGE",
            f"{what} has {width} x {height} pixels, more than the {max_pixels:,} allowed; "
            "scale it down",
        )
    if width * height == 0:
        raise _error("IMAGE_EMPTY", f"{what} has no pixels: {width} x {height}")
    try:
        image.load()
    except MemoryError:
        raise
    except Exception:  # as above: codecs raise many types
        raise _error(
            "IMAGE_UNDECODABLE",
            f"{what} is truncated or damaged: its header is sound, its pixels cannot be read; "
            "give the whole file",
        ) from None
    turn = _UPRIGHT.get(_orientation(image))
    image = _eight_bit(image, what)
    picture = np.array(image if turn is None else image.transpose(turn))
    return picture[..., None] if picture.ndim == 2 else picture


def _eight_bit(image: Image.Image, what: str) -> Image.Image:
    """Return the image in mode L or RGB, transparent parts on white."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):  # as Pillow reads 16-bit colour: the high byte
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise _error(
            "IMAGE_UNDECODABLE",
            f"{what} has {'integer' if image.mode == 'I' else 'floating-point'} pixels whose range "
            "is not known; convert it to 8 bit",
        )
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        image = image.convert("LA" if grey else "RGBA")
        canvas = Image.new("L" if grey else "RGB", image.size, "white")
        canvas.paste(image.convert(canvas.mode), mask=image.getchannel("A"))
        return canvas
    return image.convert("L" if image.mode == "1" else "RGB")


def _orientation(image: Image.Image) -> int:
    try:
        with _quiet():
            return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except MemoryError:
        raise
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Pillow's warnings; only for headers, since Python's filters belong to all threads."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _error(reason: str, message: str) -> InvalidArgument:
    return InvalidArgument(reason, message, violations=[Violation("image", message)])
