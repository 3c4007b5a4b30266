"""Every bad input gets its typed status and a message that says what to do; the server lives on."""

import io
import struct
import zlib

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxplain.clients.python import ExplainError
from onnxplain.proto import explain_pb2, explain_pb2_grpc
from onnxplain.proto.methods_pb2 import GradCamOptions, MethodSpec, SaliencyOptions
from onnxplain.proto.types_pb2 import (
    ClassList,
    ClassRef,
    EncodedImage,
    Input,
    ModelRef,
    Target,
    Tensor,
)
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


@pytest.fixture
def still_serving(client, picture):
    """Check after the test that the server answers as before."""
    yield
    assert client.explain(picture, model="cnn").heatmap.shape == (32, 32)


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


# The Python client checks methods and options itself: these requests come from other clients.

GOOD = explain_pb2.ExplainRequest(
    model=ModelRef(name="cnn"),
    method=MethodSpec(saliency=SaliencyOptions()),
    input=Input(image=EncodedImage(data=encoded("PNG"))),
)


def changed(**fields):
    request = explain_pb2.ExplainRequest()
    request.CopyFrom(GOOD)
    for name, value in fields.items():
        request.ClearField(name)
        getattr(request, name).MergeFrom(value)
    return request


def tensor(datatype, shape, data):
    return changed(input=Input(tensor=Tensor(datatype=datatype, shape=shape, data=data)))


BAD_REQUESTS = {
    "an empty request": (
        explain_pb2.ExplainRequest(),
        "REQUEST_INVALID",
        ["model.name", "method", "input"],
    ),
    "no method": (changed(method=MethodSpec()), "UNKNOWN_METHOD", ["method"]),
    "a method of the future": (
        changed(method=MethodSpec.FromString(b"\x9a\x3f\x00")), "UNKNOWN_METHOD", ["method"],
    ),
    "an option of the future": (
        changed(method=MethodSpec(grad_cam=GradCamOptions.FromString(b"\x9a\x3f\x00"))),
        "UNKNOWN_OPTION",
        ["method.grad_cam"],
    ),
    "a choice of the future": (
        changed(method=MethodSpec(saliency=SaliencyOptions.FromString(b"\x08\x63"))),
        "OPTION_OUT_OF_RANGE",
        ["method.saliency.reduction"],
    ),
    "neither image nor tensor": (changed(input=Input()), "INPUT_INVALID", ["input"]),
    "an unknown datatype": (
        tensor("FP8", [1], b"1"), "TENSOR_INVALID", ["input.tensor.datatype"],
    ),
    "fewer bytes than the shape": (
        tensor("FP32", [3, 32, 32], b"12"), "TENSOR_INVALID", ["input.tensor.data"],
    ),
    "a shape beyond memory": (
        tensor("FP32", [2**31, 2**31], b"12"), "TENSOR_INVALID", ["input.tensor.data"],
    ),
    "a class that is none": (
        changed(target=Target(classes=ClassList(classes=[ClassRef(), ClassRef(index=1)]))),
        "TARGET_INVALID",
        ["target.classes.classes[0]"],
    ),
    "a label that means many classes": (
        changed(target=Target(label="top100000")), "TARGET_INVALID", ["target.label"],
    ),
    "a file as preset": (
        changed(input=Input(image=EncodedImage(data=b"x"), preset="preprocessing.json")),
        "PREPROCESSING_INVALID",
        ["input.preprocessing"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server) as channel:
        yield channel


def status_of(error):
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    return status


def details(status, kind):
    found = []
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            found.append(detail)
    return found


@pytest.mark.parametrize("what", BAD_REQUESTS)
@pytest.mark.usefixtures("still_serving")
def test_a_bad_request_names_all_its_bad_fields(what, channel):
    request, reason, fields = BAD_REQUESTS[what]
    with pytest.raises(grpc.RpcError) as caught:
        explain_pb2_grpc.ExplainServiceStub(channel).Explain(request, timeout=30)
    assert caught.value.code() is INVALID
    status = status_of(caught.value)
    (info,) = details(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "onnxplain")
    (bad_request,) = details(status, error_details_pb2.BadRequest)
    assert [violation.field for violation in bad_request.field_violations] == fields


@pytest.mark.usefixtures("still_serving")
def test_what_is_no_message_at_all_is_an_error_of_the_call_only(channel):
    call = channel.unary_unary("/onnxplain.v1.ExplainService/Explain")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff garbage", timeout=30)
    assert caught.value.code() is INVALID
    (info,) = details(status_of(caught.value), error_details_pb2.ErrorInfo)
    assert info.reason == "REQUEST_INVALID"


@pytest.mark.usefixtures("still_serving")
def test_an_unknown_call_is_unimplemented(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/onnxplain.v1.ExplainService/Guess")(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_request_does_worse_than_a_typed_refusal(data, channel):
    wire = bytearray(GOOD.SerializeToString())
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(wire) - 1))
        wire[position] = data.draw(st.integers(0, 255))
    call = channel.unary_unary("/onnxplain.v1.ExplainService/Explain").future(bytes(wire), 30)
    assert call.code() in (grpc.StatusCode.OK, INVALID, NOT_FOUND, PRECONDITION), call.details()
    if call.code() is not grpc.StatusCode.OK:
        assert details(status_of(call), error_details_pb2.ErrorInfo)
