"""The server's services as any client sees them, and the same floats as without a server."""

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from onnxplain.explainers import load
from onnxplain.graph_rewrites import list_methods
from onnxplain.proto import explain_pb2, explain_pb2_grpc
from onnxplain.proto.codec import tensor_from_array
from onnxplain.proto.specs import spec_from_options
from onnxplain.proto.types_pb2 import Input, ModelRef

from tests.conftest import LABELS
from tests.models import PREPROCESSING
from tests.running import RunningServer

SERVICES = {
    "onnxplain.v1.ExplainService",
    "onnxplain.v1.CatalogService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "grpc.reflection.v1.ServerReflection",
}


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server) as channel:
        yield channel


def reflect(channel, request, version="v1"):
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return next(call(iter([request]), timeout=20))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services(channel, version):
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = reflect(channel, request, version)
    assert {service.name for service in answer.list_services_response.service} == SERVICES


def test_reflection_tells_the_messages_of_a_call(channel):
    symbol = "onnxplain.v1.ExplainService"
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    answer = reflect(channel, request).file_descriptor_response.file_descriptor_proto
    files = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in answer]
    assert {file.name for file in files} >= {
        "onnxplain/proto/explain.proto",
        "onnxplain/proto/methods.proto",
        "onnxplain/proto/types.proto",
    }


def test_reflection_can_be_switched_off(repository):
    with (
        RunningServer("--port", 0, "--model-repository", repository, "--no-reflection") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            reflect(channel, reflection_pb2.ServerReflectionRequest(list_services=""))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("", "SERVING"),
        ("onnxplain.v1.ExplainService", "SERVING"),
        ("onnxplain.v1.CatalogService", "SERVING"),
        ("onnxplain.v1.ExplainService/cnn", "SERVING"),
        ("onnxplain.v1.ExplainService/not_onnx", "NOT_SERVING"),
    ],
)
def test_health_tells_of_the_server_its_services_and_its_models(channel, name, status):
    request = health_pb2.HealthCheckRequest(service=name)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=20)
    assert health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == status


@pytest.mark.parametrize("method", [method.name for method in list_methods()])
def test_the_server_gives_the_floats_of_the_library(method, client, repository, picture):
    options = {"n_samples": 60, "segmenter": "grid"} if method == "lime" else {}
    local = load(
        repository / "cnn" / "1" / "model.onnx", preprocessing=PREPROCESSING, labels=LABELS
    ).explain(picture, method=method, target="dog", **options)
    remote = client.explain(picture, model="cnn", method=method, target="dog", **options)
    for name in ("attribution", "heatmap", "native_heatmap", "segments", "coefficients"):
        mine, its = getattr(local, name), getattr(remote, name)
        assert (mine is None) == (its is None), name
        if mine is not None:
            assert its.dtype == mine.dtype
            np.testing.assert_array_equal(its, mine, strict=True)
    assert (remote.target, remote.label, remote.score_kind) == (3, "dog", local.score_kind)
    assert remote.score == local.score
    assert remote.measures == local.measures
    assert remote.residual == local.residual
    assert remote.provenance.options == local.provenance.options
    assert remote.provenance.model_sha256 == local.provenance.model_sha256
    assert remote.provenance.layer == local.provenance.layer
    assert remote.provenance.seed == local.provenance.seed
    assert remote.provenance.preprocessing == local.to_dict()["provenance"]["preprocessing"]
    assert remote.prediction.top[0].index == local.prediction.top[0].index


def test_an_answer_holds_what_was_asked_for_and_its_request_id(channel):
    request = explain_pb2.ExplainRequest(
        model=ModelRef(name="cnn"),
        method=spec_from_options("saliency", {}),
        input=Input(tensor=tensor_from_array(np.zeros((1, 3, 32, 32), np.float32))),
    )
    stub = explain_pb2_grpc.ExplainServiceStub(channel)
    metadata = (("x-request-id", "my-request-7"),)
    answer, call = stub.Explain.with_call(request, timeout=20, metadata=metadata)
    assert dict(call.trailing_metadata())["x-request-id"] == "my-request-7"
    (attribution,) = answer.attributions
    assert list(attribution.heatmap.shape) == [32, 32]  # the default output
    assert not attribution.HasField("attribution")
    assert len(answer.prediction.top) == 5
    assert not answer.provenance.HasField("preprocessing")
    assert answer.timings.total_ms >= answer.timings.queue_ms >= 0
    assert {"predict", "run", "encode"} <= set(answer.timings.stages_ms)
    request.output.native_heatmap = True
    answer = stub.Explain(request, timeout=20)
    assert answer.attributions[0].HasField("native_heatmap")
    assert not answer.attributions[0].HasField("heatmap")
    assert not answer.HasField("prediction")
