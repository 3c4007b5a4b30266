import pytest
from onnxplain.proto.codec import CodecError
from onnxplain.proto.preprocessing import preprocessing_from_json, preprocessing_to_json
from onnxplain.proto.types_pb2 import Preprocessing

FULL = {
    "layout": "NHWC",
    "colour": "BGR",
    "resize": {"short_side": 256, "filter": "bicubic"},
    "crop": 224,
    "range": [0.0, 1.0],
    "mean": [0.1, 0.2, 0.3],
    "std": [1.0],
    "dtype": "float32",
}


@pytest.mark.parametrize(
    "spec", [{}, FULL, FULL | {"resize": {"size": [28, 30], "filter": "nearest"}}]
)
def test_preprocessing_survives_the_wire(spec):
    wire = preprocessing_from_json(spec).SerializeToString()
    assert preprocessing_to_json(Preprocessing.FromString(wire)) == spec


def test_scalars_and_missing_steps_are_understood():
    message = preprocessing_from_json({"mean": 127, "std": 128.0, "crop": None, "resize": None})
    assert preprocessing_to_json(message) == {"mean": [127.0], "std": [128.0]}


def test_labels_are_left_out():
    assert preprocessing_to_json(preprocessing_from_json({"labels": ["cat"]})) == {}


def test_everything_wrong_is_named_at_once():
    with pytest.raises(CodecError) as caught:
        preprocessing_from_json({"color": "RGB", "layout": "NCWH", "resize": {"filter": "box"}})
    assert caught.value.reason == "PREPROCESSING_INVALID"
    assert {field for field, _ in caught.value.violations} == {
        "preprocessing.color",
        "preprocessing.layout",
        "preprocessing.resize",
    }
