"""Heatmaps as pictures: over the photo, with a scale in numbers; several on one sheet.

Everything is drawn with Pillow and Matplotlib's colour tables, without the state of pyplot that
threads would share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, Violation
from PIL import Image, ImageDraw, ImageFont

from .palette import Floats, Palette, Scale

__all__ = ["contact_sheet", "font_of", "overlay", "strongest_segments"]

Colour: TypeAlias = tuple[int, int, int]

_MIN_SIDE = 320  # pictures are enlarged until their longer side has so many pixels
_INK: Colour = (40, 40, 40)
_PAPER: Colour = (255, 255, 255)
_FONT = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def overlay(
    picture: npt.NDArray[np.uint8],
    heatmap: npt.NDArray[Any],
    *,
    colormap: str | None = None,
    opacity: float = 0.85,
    signed: bool | None = None,
    segments: npt.NDArray[np.integer[Any]] | None = None,
    colour_bar: bool = True,
) -> Image.Image:
    """Draw a heatmap over the picture it explains, which is shown in grey.

    Where the map says nothing the picture shows through; the stronger the evidence, the more it is
    covered. A few values far above all others are cut off at the 99.5th percentile; the colour bar
    then says so.

    Parameters
    ----------
    picture
        uint8 ``[H, W, 1 or 3]``.
    heatmap
        ``[H, W]``, finite.
    colormap
        Name of a Matplotlib colormap; by default ``inferno``, or ``bwr`` for signed maps.
    opacity
        Of the strongest evidence, 0 to 1.
    signed
        Whether colours are symmetric about 0; by default when the map has values below 0.
    segments
        int ``[H, W]``: superpixels to outline.
    colour_bar
        Whether to add the scale on the right; without it the result has the picture's proportions.

    Raises
    ------
    InvalidArgument
        ``HEATMAP_INVALID``, or ``OPTION_OUT_OF_RANGE`` for the colormap or the opacity.
    """
    values = np.asarray(heatmap, np.float64)
    if values.shape != picture.shape[:2]:
        raise _invalid(f"{values.shape} is not the picture's size {picture.shape[:2]}")
    if not np.isfinite(values).all():
        raise _invalid("it holds NaN or infinity")
    palette = Palette(colormap, opacity, Scale.of(values, signed))
    drawn = palette.paint(values, _grey(picture))
    image = _outlined(_enlarged(drawn), segments)
    if not values.any():
        _note(image, "zero everywhere")
    return _beside(image, palette) if colour_bar else image


def strongest_segments(
    picture: npt.NDArray[np.uint8],
    segments: npt.NDArray[np.integer[Any]],
    coefficients: npt.NDArray[np.floating[Any]],
    *,
    show: int = 5,
) -> Image.Image:
    """Show the segments that speak most for a class, and the rest of the picture faded to grey.

    Parameters
    ----------
    picture
        uint8 ``[H, W, 1 or 3]``.
    segments
        int ``[H, W]``, labels 0 to K - 1.
    coefficients
        ``[K]``; only segments with a coefficient above 0 are shown.
    show
        How many segments, at most.
    """
    strongest = np.argsort(-coefficients, kind="stable")[:show]
    shown = np.isin(segments, strongest[coefficients[strongest] > 0])[..., None]
    faded = 0.35 * _grey(picture) + 0.65 * 255
    image = _outlined(_enlarged(np.where(shown, picture, faded)), shown[..., 0])
    if not shown.any():
        _note(image, "no segment speaks for this class")
    return image


def contact_sheet(
    tiles: Sequence[tuple[Image.Image, str]], *, columns: int | None = None, title: str = ""
) -> Image.Image:
    """Put pictures on one sheet, each with its caption below.

    Parameters
    ----------
    tiles
        Pictures and captions, row by row.
    columns
        By default as many as make the sheet about as wide as high, at most 4.
    title
        Above all of them.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one picture")
    columns = columns or min(4, int(np.ceil(len(tiles) ** 0.5)))
    columns = min(columns, len(tiles))
    n_rows = -(-len(tiles) // columns)
    width, height = (max(image.size[side] for image, _ in tiles) for side in (0, 1))
    size = max(13, width // 32)
    font, margin, line = font_of(size), size, 4 * size // 3
    captions = [_wrapped(caption, font, width) for _, caption in tiles]
    below = line * max(len(caption) for caption in captions) + margin

    above = margin + (3 * size if title else 0)
    sheet = Image.new(
        "RGB",
        (margin + columns * (width + margin), above + n_rows * (height + below + margin // 2)),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((margin, margin), title, _INK, font_of(line))
    for index, ((image, _), caption) in enumerate(zip(tiles, captions, strict=True)):
        row, column = divmod(index, columns)
        left = margin + column * (width + margin)
        top = above + row * (height + below + margin // 2)
        sheet.paste(image, (left, top + height - image.height))
        draw.multiline_text(
            (left, top + height + margin // 3),
            "\n".join(caption),
            _INK,
            font,
            spacing=line - size,
        )
    return sheet


def _beside(image: Image.Image, palette: Palette) -> Image.Image:
    """Return the image with the colour bar on its right: numbers at the ends and the middle."""
    size = max(12, image.height // 32)
    font, texts = font_of(size), palette.scale.texts
    gap, bar = size // 2, size
    width = image.width + 3 * gap + bar + round(max(map(font.getlength, texts)))
    result = Image.new("RGB", (width, image.height), _PAPER)
    result.paste(image)
    left, bottom = image.width + gap, image.height - 1
    ends = palette.scale.high, palette.scale.low
    values = np.repeat(np.linspace(*ends, image.height)[:, None], bar, axis=1)
    strip = palette.paint(values, np.full((image.height, bar, 1), 128.0))
    result.paste(_image(strip), (left, 0))
    draw = ImageDraw.Draw(result)
    draw.rectangle((left, 0, left + bar - 1, bottom), outline=_INK)
    anchors = ["la", "lm", "ld"]
    for text, share, anchor in zip(texts, (0, 0.5, 1), anchors, strict=False):
        draw.text((left + bar + gap, share * bottom), text, _INK, font, anchor)
    return result


def _note(image: Image.Image, text: str) -> None:
    """Write a line on the lower edge of the image."""
    size = max(12, image.height // 32)
    box = (0, image.height - 9 * size // 5, image.width, image.height)
    draw = ImageDraw.Draw(image)
    draw.rectangle(box, _PAPER)
    draw.text((image.width / 2, (box[1] + box[3]) / 2), text, _INK, font_of(size), "mm")


def _outlined(image: Image.Image, segments: npt.NDArray[Any] | None) -> Image.Image:
    """Return the image with thin lines where neighbouring pixels differ in their segment."""
    if segments is None:
        return image
    rows = np.arange(image.height) * segments.shape[0] // image.height
    columns = np.arange(image.width) * segments.shape[1] // image.width
    labels = segments[rows][:, columns]
    edge = np.zeros(labels.shape, np.bool_)
    edge[1:] = labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    pixels = np.asarray(image, np.float64)
    return _image(np.where(edge[..., None], 0.35 * pixels + 0.65 * np.array(_INK), pixels))


def _grey(picture: npt.NDArray[np.uint8]) -> Floats:
    """Return the luma ``[H, W, 1]`` of a picture."""
    if picture.shape[-1] == 1:
        return picture.astype(np.float64)
    luma: Floats = picture @ np.array([0.299, 0.587, 0.114])
    return luma[..., None]


def _enlarged(pixels: Floats) -> Image.Image:
    """Return the pixels as an image large enough to see, by a whole factor."""
    image = _image(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    factor = -(-_MIN_SIDE // max(image.size))
    smooth = Image.Resampling.BICUBIC if factor == 2 else Image.Resampling.NEAREST
    return image.resize((factor * image.width, factor * image.height), smooth)


def _image(pixels: npt.NDArray[Any]) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8))


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """Load the font anew: a font object is not for several threads."""
    return ImageFont.truetype(_FONT, size, layout_engine=ImageFont.Layout.BASIC)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text into lines of at most ``width`` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _invalid(message: str) -> InvalidArgument:
    text = f"the heatmap cannot be drawn: {message}"
    return InvalidArgument("HEATMAP_INVALID", text, violations=[Violation("heatmap", text)])
