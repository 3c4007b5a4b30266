"""Pictures of heatmaps: the colours say what the numbers are, and nothing is pretended."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl
import numpy as np
import pytest
from onnxplain.explainers.palette import Scale
from onnxplain.explainers.rendering import contact_sheet, overlay, strongest_segments
from onnxplain.graph_rewrites import InvalidArgument
from PIL import Image
from skimage.data import chelsea

RNG = np.random.default_rng(0)
PHOTO = np.ascontiguousarray(chelsea()[:224, 100:324])
FLAT = np.full((320, 320, 3), 100, np.uint8)  # large enough not to be enlarged
SIGNED = RNG.normal(size=(224, 224))


def pixels(image):
    assert image.mode == "RGB"
    return np.asarray(image, dtype=np.int64)


@pytest.mark.parametrize("shape", [(224, 224), (28, 28), (1, 1), (7, 300), (500, 333)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_keeps_its_proportions_and_is_large_enough_to_see(shape, channels):
    picture = RNG.integers(0, 256, (*shape, channels), dtype=np.uint8)
    image = overlay(picture, RNG.random(shape), colour_bar=False)
    assert image.height * shape[1] == image.width * shape[0]
    assert max(image.size) >= 320
    with_bar = overlay(picture, RNG.random(shape))
    assert with_bar.height == image.height
    assert image.width + 20 < with_bar.width < image.width + 200


def test_no_evidence_leaves_the_grey_picture():
    heatmap = np.zeros((320, 320))
    heatmap[0, 0] = 1
    image = pixels(overlay(FLAT, heatmap, colour_bar=False))
    assert np.all(image[10:] == 100)
    assert np.any(image[0, 0] != 100)


def test_the_strongest_evidence_has_the_last_colour():
    heatmap = np.zeros((320, 320))
    heatmap[:, 160:] = 3
    image = pixels(overlay(FLAT, heatmap, colormap="viridis", opacity=1, colour_bar=False))
    last = 255 * np.array(mpl.colormaps["viridis"](1.0)[:3])
    np.testing.assert_allclose(image[:, 160:], np.broadcast_to(last, (320, 160, 3)), atol=1)


def test_signed_maps_are_symmetric_about_zero():
    heatmap = np.zeros((320, 320))
    heatmap[:100], heatmap[220:] = 1, -4
    image = pixels(overlay(FLAT, heatmap, opacity=1, colour_bar=False))
    (red, _, blue), (none, *_), (low_red, _, low_blue) = image[0, 0], image[160, 0], image[300, 0]
    assert low_blue > low_red
    assert red > blue
    assert low_blue - low_red > red - blue  # -4 is stronger than 1
    assert none == image[160, 0, 2]  # zero has no colour
    opposite = pixels(overlay(FLAT, -heatmap, opacity=1, colour_bar=False))
    np.testing.assert_allclose(image[..., ::-1], opposite, atol=3)


def test_no_opacity_shows_the_picture_alone():
    image = pixels(overlay(FLAT, RNG.random((320, 320)), opacity=0, colour_bar=False))
    assert np.all(image == 100)


@pytest.mark.parametrize(
    ("values", "signed", "low", "high", "cut"),
    [
        ([0, 1, 2], None, 0, 2, False),
        ([-1, 1, 2], None, -2, 2, False),
        ([1, 2], True, -2, 2, False),
        ([-1, 2], False, 0, 2, False),
        ([10, 11], None, 10, 11, False),
        ([3, 3], None, 0, 3, False),
        ([-3, -3], None, -3, 3, False),
        ([0, 0], None, 0, 0, False),
        ([0.0] * 999 + [5], None, 0, 5, False),  # too sparse for a percentile
        ([1.0] * 500 + [0.0] * 498 + [90, 99], None, 0, 1, True),
    ],
)
def test_the_scale_of_a_map(values, signed, low, high, cut):
    assert Scale.of(np.array(values, np.float64), signed) == Scale(low, high, cut)


@pytest.mark.parametrize(
    ("scale", "texts"),
    [
        (Scale(0, 0.3712, True), ["\u2265 0.37", "0.19", "0"]),
        (Scale(-2e-7, 2e-7, True), ["\u2265 2e-07", "0", "\u2264 -2e-07"]),
        (Scale(10, 11, False), ["11", "10.5", "10"]),
        (Scale(0, 0, False), ["0"]),
    ],
)
def test_the_numbers_beside_the_colours(scale, texts):
    assert scale.texts == texts


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-30, 1e30])
def test_a_constant_map_is_drawn(value):
    image = overlay(PHOTO, np.full((224, 224), value))
    assert image.height == 448


def test_a_map_of_zeros_says_so():
    with_note = pixels(overlay(FLAT, np.zeros((320, 320)), colour_bar=False))
    assert np.all(with_note[:200] == 100)
    assert np.any(with_note[300:] == 255)


def test_outliers_do_not_hide_the_rest():
    heatmap = RNG.random((224, 224))
    spiked = heatmap.copy()
    spiked[0, :3] = 1e6
    before, after = (pixels(overlay(PHOTO, one, colour_bar=False)) for one in (heatmap, spiked))
    assert np.abs(before - after)[20:].max() < 10


def test_segments_are_outlined():
    segments = np.zeros((320, 320), np.int32)
    segments[:, 160:] = 1
    image = pixels(overlay(FLAT, np.full((320, 320), 1e-9), segments=segments, colour_bar=False))
    edges = np.any(image != image[:, :1], axis=(0, 2))
    assert np.flatnonzero(edges).tolist() == [160]


def test_the_strongest_segments_are_shown_in_colour_and_the_rest_in_grey():
    segments = (np.arange(320) // 80)[None].repeat(320, axis=0)
    picture = np.broadcast_to(np.array([200, 100, 50], np.uint8), (320, 320, 3))
    image = pixels(strongest_segments(picture, segments, np.array([3.0, -9.0, 1.0, 2.0]), show=2))
    shown = np.all(image[100] == [200, 100, 50], axis=-1)
    assert shown[2:78].all()
    assert shown[242:].all()
    assert not shown[80:238].any()
    assert np.all(np.ptp(image[100, 82:238], axis=-1) == 0)


def test_where_no_segment_speaks_for_the_class_nothing_is_shown():
    segments = np.arange(4).repeat(4).reshape(4, 4)
    image = pixels(strongest_segments(PHOTO[:4, :4], segments, np.full(4, -1.0)))
    assert np.all(np.ptp(image, axis=-1) == 0)


@pytest.mark.parametrize(
    ("heatmap", "options", "subject"),
    [
        (np.full((224, 224), np.nan), {}, "heatmap"),
        (np.full((224, 224), np.inf), {}, "heatmap"),
        (SIGNED[:100], {}, "heatmap"),
        (SIGNED, {"colormap": "infreno"}, "colormap"),
        (SIGNED, {"opacity": 1.1}, "opacity"),
        (SIGNED, {"opacity": float("nan")}, "opacity"),
    ],
)
def test_what_cannot_be_drawn_is_refused(heatmap, options, subject):
    with pytest.raises(InvalidArgument) as caught:
        overlay(PHOTO, heatmap, **options)
    assert [one.subject for one in caught.value.violations] == [subject]


def test_an_unknown_colormap_is_refused_with_the_nearest():
    with pytest.raises(InvalidArgument, match="did you mean inferno"):
        overlay(PHOTO, SIGNED, colormap="infreno")


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_a_contact_sheet_shows_every_tile_whole(count):
    tiles = [
        (Image.new("RGB", (200 + n, 150 - n), (n, 200, 7)), f"caption {n} " * 6)
        for n in range(count)
    ]
    sheet = pixels(contact_sheet(tiles, title="All of them"))
    for n, (tile, _) in enumerate(tiles):
        assert np.sum(np.all(sheet == [n, 200, 7], axis=-1)) == tile.width * tile.height


def test_captions_stay_in_their_column():
    tile = Image.new("RGB", (200, 50), "black")
    caption = "many words that need several lines " * 3
    sheet = pixels(contact_sheet([(tile, caption), (tile, "")], columns=2))
    assert np.all(sheet[70:, 230:] == 255)
    assert np.any(sheet[70:, :213] < 200)


def test_an_empty_sheet_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def test_threads_draw_the_same_as_one():
    maps = [RNG.normal(size=(224, 224)) + n for n in range(4)]
    expected = [overlay(PHOTO, one).tobytes() for one in maps]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: overlay(PHOTO, maps[n % 4]).tobytes(), range(24)))
    assert found == expected * 6


def test_pyplot_is_not_imported():
    assert "matplotlib.pyplot" not in sys.modules
