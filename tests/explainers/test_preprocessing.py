"""The schema is checked as a whole; its numbers are those of the formula, pixel by pixel."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxplain.explainers.preprocessing import PRESETS, Preprocessing, Resize
from onnxplain.graph_rewrites import InvalidArgument
from PIL import Image

RNG = np.random.default_rng(0)
EXAMPLE = {
    "layout": "NCHW",
    "colour": "RGB",
    "resize": {"short_side": 256, "filter": "bicubic"},
    "crop": 224,
    "range": [0, 255],
    "mean": [127, 127, 127],
    "std": [128, 128, 128],
    "dtype": "float32",
    "labels": ["cat", "dog"],
}


def naive(picture, *, layout, colour, range, mean, std):
    """One pixel value at a time, as the schema's formula is written."""
    height, width, channels = picture.shape
    shape = (channels, height, width) if layout == "NCHW" else (height, width, channels)
    x = np.empty(shape)
    for row in np.arange(height):
        for column in np.arange(width):
            for channel in np.arange(channels):
                source = channels - 1 - channel if colour == "BGR" else channel
                value = float(picture[row, column, source]) * (range[1] - range[0]) / 255 + range[0]
                value = (value - mean[channel]) / std[channel]
                x[(channel, row, column) if layout == "NCHW" else (row, column, channel)] = value
    return x


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["RGB", "BGR", "GRAY"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5), ("float16", 5e-3)]
)
def test_the_input_is_the_formula_at_every_pixel(layout, colour, dtype, tolerance):
    channels = 1 if colour == "GRAY" else 3
    numbers = {
        "range": [-1, 2],
        "mean": [0.4, 0.5, 0.6][:channels],
        "std": [0.2, 0.3, 2][:channels],
    }
    given = {"layout": layout, "colour": colour, "dtype": dtype, **numbers}
    pictures = RNG.integers(0, 256, (2, 5, 4, channels), dtype=np.uint8)
    x = Preprocessing.from_dict(given).normalise(pictures)
    expected = [naive(one, layout=layout, colour=colour, **numbers) for one in pictures]
    assert x.dtype == dtype
    np.testing.assert_allclose(x, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "range", "low", "high"),
    [("uint8", [0, 255], 0, 255), ("int8", [-128, 127], -128, 127)],
)
def test_integer_inputs_are_rounded_and_clipped(dtype, range, low, high):
    preprocessing = Preprocessing.from_dict({"colour": "GRAY", "range": range, "dtype": dtype})
    x = preprocessing.normalise(np.array([-9, 0, 99.6, 255, 300]).reshape(1, 1, 5, 1))
    assert x.dtype == dtype
    assert x.ravel().tolist() == [low, low, 100 + low, high, high]


@pytest.mark.parametrize("name", PRESETS)
def test_pixels_come_back_from_the_input(name):
    preprocessing = Preprocessing.preset(name)
    pictures = RNG.integers(0, 256, (2, 6, 7, preprocessing.channels), dtype=np.uint8)
    x = preprocessing.normalise(pictures)
    np.testing.assert_array_equal(preprocessing.denormalise(x), pictures)
    np.testing.assert_array_equal(preprocessing.denormalise(x[1]), pictures[1])


def test_inputs_outside_the_pixels_range_are_shown_clipped():
    preprocessing = Preprocessing.from_dict({"range": [0, 1]})
    assert preprocessing.denormalise(np.full((3, 1, 1), 7.0)).ravel().tolist() == [255] * 3
    assert preprocessing.denormalise(np.full((3, 1, 1), -7.0)).ravel().tolist() == [0] * 3


@pytest.mark.parametrize("name", PRESETS)
def test_bounds_are_the_inputs_of_black_and_white(name):
    preprocessing = Preprocessing.preset(name)
    low, high = preprocessing.bounds()
    black_and_white = np.array([0, 255], np.uint8).repeat(3).reshape(1, 1, 2, 3)
    x = preprocessing.normalise(black_and_white)[0]
    pixels = x if preprocessing.layout == "NHWC" else np.moveaxis(x, 0, -1)
    np.testing.assert_allclose([[low, high]], pixels, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_any_input_has_the_pixels_that_it_is_made_of(name):
    preprocessing = Preprocessing.preset(name)
    x = RNG.normal(size=preprocessing.normalise(np.zeros((2, 5, 4, 3))).shape)
    np.testing.assert_allclose(preprocessing.normalise(preprocessing.pixels(x)), x, atol=1e-4)


def test_normalising_leaves_the_pictures_alone():
    pictures = RNG.random((1, 4, 4, 3)).astype(np.float32)
    before = pictures.copy()
    Preprocessing.from_dict({"range": [0, 255], "layout": "NHWC"}).normalise(pictures)[...] = 0
    np.testing.assert_array_equal(pictures, before)


def test_a_picture_is_resized_and_cropped_as_torchvision_does():
    decoded = RNG.integers(0, 256, (100, 133, 3), dtype=np.uint8)
    given = {"resize": {"short_side": 40, "filter": "bicubic"}, "crop": 32, "range": [0, 1]}
    picture = Preprocessing.from_dict(given).picture(decoded)
    resized = Image.fromarray(decoded).resize((53, 40), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(picture, np.asarray(resized)[4:36, 10:42])


@pytest.mark.parametrize(
    ("resize", "before", "after"),
    [
        (Resize(short_side=256), (300, 451), (256, 385)),
        (Resize(short_side=256), (451, 300), (385, 256)),
        (Resize(short_side=8), (8, 9), (8, 9)),
        (Resize(size=(20, 10)), (451, 300), (20, 10)),
    ],
)
def test_sizes_after_resizing(resize, before, after):
    assert resize.target(*before) == after


def test_a_picture_smaller_than_the_crop_is_enlarged_to_fill_it():
    picture = Preprocessing.from_dict({"crop": 32, "range": [0, 1]}).picture(
        np.full((5, 9, 3), 77, np.uint8)
    )
    assert picture.shape == (32, 32, 3)
    assert np.all(picture == 77)


@pytest.mark.parametrize(("colour", "channels"), [("GRAY", 1), ("RGB", 3), ("BGR", 3)])
@pytest.mark.parametrize("decoded", [1, 3])
def test_a_picture_has_the_channels_of_the_model(colour, channels, decoded):
    preprocessing = Preprocessing.from_dict({"colour": colour, "range": [0, 1]})
    picture = preprocessing.picture(np.full((4, 6, decoded), 9, np.uint8))
    assert picture.shape == (4, 6, channels)
    assert np.all(picture == 9)


def test_a_thin_strip_is_refused_before_it_fills_the_memory():
    preprocessing = Preprocessing.preset("imagenet")
    with pytest.raises(InvalidArgument, match="too long and narrow") as caught:
        preprocessing.picture(np.zeros((1, 1_000_000, 3), np.uint8))
    assert caught.value.reason == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize("given", [EXAMPLE, *PRESETS.values(), {"range": [0, 1], "mean": 0.5}])
def test_a_schema_survives_json(given):
    preprocessing = Preprocessing.from_dict(given)
    again = Preprocessing.from_json(json.dumps(preprocessing.to_dict()))
    assert again == preprocessing


def test_a_default_object_survives_json():
    preprocessing = Preprocessing(range=(0, 1), resize=Resize(size=(4, 5), filter="box"))
    again = Preprocessing.from_dict(preprocessing.to_dict())
    pictures = RNG.integers(0, 256, (1, 4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(again.normalise(pictures), preprocessing.normalise(pictures))
    assert again.resize == preprocessing.resize


def test_one_number_stands_for_all_channels():
    several = {"range": [0, 1], "mean": [0.5] * 3, "std": [2] * 3}
    for mean, std in [(0.5, 2), ([0.5], [2.0])]:
        one = Preprocessing.from_dict({"range": [0, 1], "mean": mean, "std": std})
        assert one == Preprocessing.from_dict(several)


def test_everything_wrong_is_reported_at_once():
    with pytest.raises(InvalidArgument) as caught:
        Preprocessing.from_dict(
            {
                "layout": "NCWH",
                "color": "RGB",
                "resize": {"short_side": 0, "size": [1, 2], "filtre": "box"},
                "crop": 2.5,
                "mean": [1, 2],
                "std": [1, 0, 1],
                "dtype": "int4",
                "labels": ["cat", 3],
                "labels_file": "labels.txt",
            }
        )
    assert caught.value.reason == "PREPROCESSING_INVALID"
    found = {violation.subject: violation.description for violation in caught.value.violations}
    assert found.keys() == {
        "preprocessing.layout",
        "preprocessing.color",
        "preprocessing.resize.short_side",
        "preprocessing.resize.filtre",
        "preprocessing.crop",
        "preprocessing.range",
        "preprocessing.mean",
        "preprocessing.std",
        "preprocessing.dtype",
        "preprocessing.labels",
        "preprocessing.labels_file",
    }
    assert "did you mean colour?" in found["preprocessing.color"]
    assert "did you mean filter?" in found["preprocessing.resize.filtre"]
    assert "missing" in found["preprocessing.range"]
    assert "has 2 numbers where the colour has 3" in found["preprocessing.mean"]
    assert "entry 1 is 3" in found["preprocessing.labels"]


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"range": [1, 0]}, "range"),
        ({"range": [0, float("inf")]}, "range"),
        ({"range": 255}, "range"),
        ({"mean": True}, "mean"),
        ({"mean": 10**400}, "mean"),
        ({"mean": float("nan")}, "mean"),
        ({"labels": []}, "labels"),
        ({"resize": 256}, "resize"),
        ({"resize": {}}, "resize"),
        ({"resize": {"short_side": 4, "size": [4, 4]}}, "resize"),
        ({"resize": {"size": [4]}}, "resize.size"),
        ({"resize": {"short_side": 100}}, "crop"),
        ({"resize": {"size": [300, 100]}}, "crop"),
        ({"crop": 10**6}, "crop"),
    ],
)
def test_what_is_wrong_is_named(change, subject):
    with pytest.raises(InvalidArgument) as caught:
        Preprocessing.from_dict(EXAMPLE | change)
    assert f"preprocessing.{subject}" in [one.subject for one in caught.value.violations]


@pytest.mark.parametrize("text", ["", "{", "[]", '"imagenet"', b"\xff", "[" * 100_000])
def test_what_is_not_a_json_object_is_refused(text):
    with pytest.raises(InvalidArgument) as caught:
        Preprocessing.from_json(text)
    assert caught.value.reason == "PREPROCESSING_INVALID"


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(InvalidArgument, match=r"did you mean imagenet"):
        Preprocessing.preset("image_net")


def test_labels_are_read_from_a_file_beside_the_model(tmp_path):
    (tmp_path / "labels.txt").write_text("tabby\nZürich\n", encoding="utf-8")
    given = {"range": [0, 1], "labels_file": "labels.txt"}
    assert Preprocessing.from_dict(given, base=tmp_path).labels == ("tabby", "Zürich")


def test_labels_files_elsewhere_or_damaged_are_refused(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret\n")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "latin.txt").write_bytes(b"\xe9\n")
    (folder / "empty.txt").write_text("")
    bad = [
        "../secret.txt",
        "link.txt",
        "/etc/passwd",
        "latin.txt",
        "empty.txt",
        "none.txt",
        ".",
        "",
    ]
    for name in [*bad, "a\0b", 3]:
        with pytest.raises(InvalidArgument) as caught:
            Preprocessing.from_dict({"range": [0, 1], "labels_file": name}, base=folder)
        assert [one.subject for one in caught.value.violations] == ["preprocessing.labels_file"]
        assert "secret\n" not in caught.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(
    change=st.dictionaries(st.sampled_from([*EXAMPLE, "labels_file", "x"]), json_values, max_size=4)
)
def test_any_json_is_read_or_refused_with_a_typed_error(change):
    try:
        preprocessing = Preprocessing.from_dict(EXAMPLE | change)
    except InvalidArgument:
        return
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing
