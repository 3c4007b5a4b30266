"""Every bad input gets its typed status and a message that says what to do; the server lives on."""

import io
import struct
import zlib

import grpc
import numpy as np
import pytest
from onnxplain.clients.python import ExplainError
from PIL import Image

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def encoded(form, size=(40, 50)):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


JPEG = encoded("JPEG", (200, 200))
TENSOR = np.zeros((3, 32, 32), np.float32)
NAN = np.where(np.arange(3 * 32 * 32).reshape(TENSOR.shape) == 7, np.nan, TENSOR)

# what is wrong: (the call's arguments, status, reason, field at fault, what the message says)
BAD_CALLS = {
    "zero bytes": ({"image": b""}, INVALID, "IMAGE_EMPTY", "input.image", "give a PNG"),
    "not an image": (
        {"image": b"Dear server, this is a letter."},
        INVALID, "IMAGE_UNDECODABLE", "input.image", "not a PNG, JPEG or WebP",
    ),
    "truncated JPEG": (
        {"image": JPEG[: len(JPEG) // 2]},
        INVALID, "IMAGE_UNDECODABLE", "input.image", "give the whole file",
    ),
    "30000x30000 PNG header": (
        {"image": png_header(30000, 30000)},
        INVALID, "IMAGE_TOO_LARGE", "input.image", "scale it down",
    ),
    "wrong tensor shape": (
        {"tensor": np.zeros((3, 16, 32), np.float32)},
        INVALID, "TENSOR_INVALID", "input.tensor.shape", "3, 32, 32",
    ),
    "a batch of tensors": (
        {"tensor": np.zeros((2, 3, 32, 32), np.float32)},
        INVALID, "TENSOR_INVALID", "input.tensor.shape", "one input",
    ),
    "NaN tensor": (
        {"tensor": NAN}, INVALID, "TENSOR_INVALID", "input.tensor.data", "give finite numbers",
    ),
    "infinite tensor": (
        {"tensor": TENSOR + np.inf},
        INVALID, "TENSOR_INVALID", "input.tensor.data", "give finite numbers",
    ),
    "unknown model": ({"model": "cmn"}, NOT_FOUND, "MODEL_NOT_FOUND", None, "did you mean cnn"),
    "unknown version": (
        {"model": "versions", "version": "3"},
        NOT_FOUND, "VERSION_NOT_FOUND", None, "it has 2, 10",
    ),
    "no model": ({"model": ""}, INVALID, "REQUEST_INVALID", "model.name", "ListModels"),
    "unknown label": ({"target": "beee"}, NOT_FOUND, "UNKNOWN_LABEL", None, "did you mean bee"),
    "class index out of range": (
        {"target": 5}, INVALID, "TARGET_OUT_OF_RANGE", "target", "its classes are 0 to 4",
    ),
    "negative class index": (
        {"target": -1}, INVALID, "TARGET_OUT_OF_RANGE", "target", "its classes are 0 to 4",
    ),
    "more top classes than classes": (
        {"target": "top6"}, INVALID, "TARGET_OUT_OF_RANGE", "target", "only 5 classes",
    ),
    "too many targets": (
        {"target": "top33"}, INVALID, "TARGET_INVALID", "target.top_k", "1 to 32 are allowed",
    ),
    "no targets": (
        {"target": []}, INVALID, "TARGET_INVALID", "target.classes", "1 to 32 are allowed",
    ),
    "a sum of too little": (
        {"target": {0: 0.0}}, INVALID, "TARGET_INVALID", "target", "not all of them 0",
    ),
    "a weight that is none": (
        {"target": {0: float("nan")}}, INVALID, "TARGET_INVALID", "target", "finite",
    ),
    "a sum for a method of one class": (
        {"target": {0: 1, 1: -1}, "method": "deconvnet"},
        INVALID, "CONTRAST_UNSUPPORTED", "target", "explains one class",
    ),
    "too many sums": (
        {"target": [{0: 1}] * 33}, INVALID, "TARGET_INVALID", "target.sums", "1 to 32 are allowed",
    ),
    "too many layers": (
        {"target": "top3", "layer": ["relu1"] * 11},
        INVALID, "TARGET_INVALID", "target.top_k", "3 targets times 11 layers",
    ),
    "option out of range": (
        {"method": "lime", "n_samples": 1},
        INVALID, "OPTION_OUT_OF_RANGE", "method.lime.n_samples", "below 2",
    ),
    "unknown layer": (
        {"layer": "conv9"}, INVALID, "UNKNOWN_LAYER", "method.grad_cam.layer", "did you mean conv2",
    ),
    "unknown preset": (
        {"preprocessing": "imagnet"},
        INVALID, "PREPROCESSING_INVALID", "input.preprocessing", "did you mean imagenet",
    ),
    "bad preprocessing": (
        {"preprocessing": {"mean": [1, 2]}},
        INVALID, "PREPROCESSING_INVALID", "input.preprocessing.mean", "3 channels",
    ),
    "no preprocessing": (
        {"model": "versions"}, PRECONDITION, "PREPROCESSING_MISSING", None, "give preprocessing",
    ),
    "unknown colormap": (
        {"overlay": {"colormap": "virdis"}},
        INVALID, "OPTION_OUT_OF_RANGE", "output.overlay.colormap", "viridis",
    ),
    "impossible opacity": (
        {"overlay": {"opacity": float("nan")}},
        INVALID, "OPTION_OUT_OF_RANGE", "output.overlay.opacity", "between 0 and 1",
    ),
    "a file that is not ONNX": (
        {"model": "not_onnx"}, PRECONDITION, "NOT_ONNX", None, "export the model to ONNX",
    ),
    "external data outside": (
        {"model": "evil"}, PRECONDITION, "MODEL_UNSAFE", None, "in the model's own folder",
    ),
    "a model without a file": (
        {"model": "hollow"}, PRECONDITION, "MODEL_FILE_NOT_FOUND", None, "VERSION/model.onnx",
    ),
    "grad_cam without convolutions": (
        {"model": "mlp"}, PRECONDITION, "NO_FEATURE_LAYER", None, "saliency or lime",
    ),
    "cam without convolutions": (
        {"model": "mlp", "method": "cam"}, PRECONDITION, "NO_FEATURE_LAYER", None, "saliency",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_CALLS)
@pytest.mark.usefixtures("still_serving")
def test_bad_input_is_refused_with_what_to_do(what, client, picture, repository):
    arguments, code, reason, field, advice = BAD_CALLS[what]
    if "tensor" not in arguments:
        arguments = {"image": picture} | arguments
    with pytest.raises(ExplainError) as caught:
        client.explain(**{"model": "cnn"} | arguments)
    error = caught.value
    assert (error.code, error.reason) == (code, reason), error.message
    assert advice in error.message
    assert str(repository) not in error.message
    assert "/etc" not in error.message
    if field is not None:
        assert [violation.subject.startswith(field) for violation in error.violations] == [True]
    assert error.request_id


@pytest.mark.parametrize("method", ["saliency", "lime"])
def test_a_model_without_convolutions_answers_what_needs_none(method, client, picture):
    options = {"n_samples": 50} if method == "lime" else {}
    result = client.explain(picture, model="mlp", method=method, **options)
    assert np.isfinite(result.heatmap).all()
    assert result.heatmap.any()
