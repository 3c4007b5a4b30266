"""Every way in gives the same picture; every bad way in gives a typed error and no warning."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxplain.explainers.images import decode
from onnxplain.graph_rewrites import InvalidArgument, NotFound, OnnxplainError
from PIL import Image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (17, 23, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (17, 23), dtype=np.uint8)


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int = 8, colour: int = 2, rows: bytes = b"") -> bytes:
    """A PNG written by hand, chunk by chunk."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def refused(image: object, **options: object) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        decode(image, **options)
    assert [violation.subject for violation in caught.value.violations] == ["image"]
    return caught.value


def test_path_bytes_pil_and_array_give_the_same_picture(tmp_path):
    data = encode(Image.fromarray(RGB))
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    for image in (path, str(path), data, bytearray(data), memoryview(data), Image.fromarray(RGB)):
        np.testing.assert_array_equal(decode(image), RGB)
    np.testing.assert_array_equal(decode(RGB), RGB)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_allowed_formats_give_uint8_hwc(format):
    flat = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    picture = decode(encode(Image.fromarray(flat), format))
    assert picture.dtype == np.uint8
    assert picture.shape == (20, 30, 3)
    assert np.abs(picture.astype(int) - flat).max() <= 4


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(format):
    error = refused(encode(Image.fromarray(RGB), format))
    assert error.reason == "IMAGE_UNDECODABLE"
    assert "PNG, JPEG or WebP" in error.message


def test_grey_keeps_one_channel():
    for image in (GREY, GREY[..., None], encode(Image.fromarray(GREY)), Image.fromarray(GREY)):
        np.testing.assert_array_equal(decode(image), GREY[..., None])
    bits = Image.fromarray(GREY > 99)
    np.testing.assert_array_equal(decode(encode(bits))[..., 0], np.where(GREY > 99, 255, 0))


def test_the_picture_is_the_callers_own():
    source = RGB.copy()
    decode(source)[:] = 0
    np.testing.assert_array_equal(source, RGB)
    assert decode(RGB).flags.writeable


def on_white(colour, alpha):
    colour, alpha = colour.astype(float), alpha.astype(float)[..., None] / 255
    return colour * alpha + 255 * (1 - alpha)


def test_transparency_is_composited_on_white():
    alpha = RNG.integers(0, 256, GREY.shape, dtype=np.uint8)
    rgba = np.dstack([RGB, alpha])
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    for image in (rgba, encode(Image.fromarray(rgba))):
        assert np.abs(decode(image) - on_white(RGB, alpha)).max() <= 1
    for image in (la, encode(la)):
        assert decode(image).shape == (17, 23, 1)
        assert np.abs(decode(image) - on_white(GREY[..., None], alpha)).max() <= 1


def test_palettes_with_and_without_transparency():
    palette = Image.fromarray(RGB).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(decode(encode(palette)), expected)
    index = int(np.asarray(palette)[0, 0])
    for transparency in (index, bytes(0 if i == index else 255 for i in range(16))):
        picture = decode(encode(palette, transparency=transparency))
        hidden = np.asarray(palette) == index
        np.testing.assert_array_equal(picture[hidden], 255)
        np.testing.assert_array_equal(picture[~hidden], expected[~hidden])


def test_a_transparent_colour_key_becomes_white():
    flat = np.full((4, 4, 3), 7, np.uint8)
    flat[0] = 99
    picture = decode(encode(Image.fromarray(flat), transparency=(7, 7, 7)))
    np.testing.assert_array_equal(picture[0], 99)
    np.testing.assert_array_equal(picture[1:], 255)


def test_sixteen_bit_values_keep_their_high_byte():
    deep = RNG.integers(0, 65536, (5, 6), dtype=np.uint16)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(deep)))[..., 0], deep >> 8)
    rgb = RNG.integers(0, 65536, (5, 6, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)
    np.testing.assert_array_equal(decode(png(6, 5, depth=16, rows=rows)), rgb >> 8)


def test_cmyk_becomes_rgb():
    flat = Image.new("RGB", (16, 16), (250, 120, 20)).convert("CMYK")
    for image in (flat, encode(flat, "JPEG", quality=95)):
        np.testing.assert_allclose(decode(image)[8, 8], (250, 120, 20), atol=6)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(mode):
    assert refused(Image.new(mode, (4, 4))).reason == "IMAGE_UNDECODABLE"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_applied(orientation, format):
    upright = np.zeros((40, 60), np.uint8)
    upright[:20, :30], upright[:20, 30:], upright[20:, :30] = 250, 160, 80
    inverse = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: np.rot90,
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    stored = Image.fromarray(np.ascontiguousarray(inverse(upright))).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encode(stored, format, exif=exif))
    assert picture.shape == (40, 60, 3)
    assert np.abs(picture[..., 0].astype(int) - upright).mean() < 3


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0" * 9])
def test_damaged_exif_is_ignored_without_a_warning(exif):
    np.testing.assert_array_equal(decode(encode(Image.fromarray(RGB), exif=exif)), RGB)


@pytest.mark.parametrize("image", [b"", np.empty((0, 3, 3), np.uint8), Image.new("RGB", (0, 5))])
def test_empty_images(image):
    assert refused(image).reason == "IMAGE_EMPTY"


@pytest.mark.parametrize("data", [b"\0", b"hello", b"<html></html>", b"\x89PNG\r\n\x1a\n", b"RIFF"])
def test_what_is_not_an_image(data):
    error = refused(data)
    assert error.reason == "IMAGE_UNDECODABLE"
    assert "BytesIO" not in error.message
    assert "0x" not in error.message


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(format, part):
    noise = Image.fromarray(RNG.integers(0, 256, (99, 99, 3), dtype=np.uint8))
    data = encode(noise, format)
    assert refused(data[: int(len(data) * part)]).reason == "IMAGE_UNDECODABLE"


@pytest.mark.parametrize("side", [8_000, 10_000, 30_000, 2**31 - 1])
def test_large_headers_are_refused_before_decoding(side):
    error = refused(png(side, side))
    assert error.reason == "IMAGE_TOO_LARGE"
    assert "50,000,000" in error.message


def test_the_pixel_limit_is_a_parameter_and_holds_for_every_source(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(RGB).save(path)
    for image in (RGB, Image.fromarray(RGB), encode(Image.fromarray(RGB)), path):
        assert decode(image, max_pixels=17 * 23).shape == RGB.shape
        assert refused(image, max_pixels=17 * 23 - 1).reason == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize(
    "array",
    [
        RGB.astype(np.float32),
        RGB.transpose(2, 0, 1),
        RGB[None],
        RGB[..., :2],
        RGB[0, 0],
        RGB.astype(np.int64),
    ],
)
def test_arrays_of_another_kind_are_refused_with_the_shape_wanted(array):
    error = refused(array)
    assert error.reason == "IMAGE_UNDECODABLE"
    assert "[H, W, 3]" in error.message
    assert "tensor" in error.message


def test_paths_that_cannot_be_read(tmp_path):
    missing = tmp_path / "missing.png"
    with pytest.raises(NotFound, match=r"missing\.png") as caught:
        decode(missing)
    assert caught.value.reason == "IMAGE_NOT_FOUND"
    assert caught.value.metadata == {"resource_type": "image", "resource_name": str(missing)}
    assert "directory" in refused(tmp_path).message
    assert refused("a\0b").reason == "IMAGE_UNDECODABLE"
    assert "NoneType" in refused(None).message


SAMPLES = [encode(Image.fromarray(RGB), f) for f in ("PNG", "JPEG", "WEBP")]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=20),
)
def test_damaged_files_decode_or_raise_our_error(data, damage):
    damaged = bytearray(data)
    for position, value in damage:
        damaged[position % len(damaged)] = value
    try:
        outcome = decode(bytes(damaged)).shape[-1]
    except OnnxplainError as error:
        outcome = error.reason
    assert outcome in (1, 3, "IMAGE_UNDECODABLE", "IMAGE_TOO_LARGE", "IMAGE_EMPTY")
