"""Requests that the Python client would not send: what other clients may get wrong."""

import io

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxplain.proto import explain_pb2, explain_pb2_grpc
from onnxplain.proto.methods_pb2 import GradCamOptions, MethodSpec, SaliencyOptions
from onnxplain.proto.types_pb2 import (
    ClassList,
    ClassRef,
    ClassSum,
    ClassSumList,
    EncodedImage,
    Input,
    ModelRef,
    Target,
    Tensor,
    WeighedClass,
)
from PIL import Image

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def png():
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


GOOD = explain_pb2.ExplainRequest(
    model=ModelRef(name="cnn"),
    method=MethodSpec(saliency=SaliencyOptions()),
    input=Input(image=EncodedImage(data=png())),
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
    "a sum of a class that is none, and of one twice": (
        changed(
            target=Target(
                sums=ClassSumList(
                    sums=[
                        ClassSum(
                            classes=[
                                WeighedClass(weight=1),
                                WeighedClass(class_ref=ClassRef(index=1), weight=1),
                                WeighedClass(class_ref=ClassRef(index=1), weight=2),
                            ]
                        )
                    ]
                )
            )
        ),
        "TARGET_INVALID",
        ["target.sums.sums[0].classes[0].class_ref", "target.sums.sums[0].classes[2]"],
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
