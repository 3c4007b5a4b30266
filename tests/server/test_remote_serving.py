"""A server beside another: it explains the other's model, and waits for it."""

from __future__ import annotations

import asyncio
import json
import socket

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnxplain.explainers import load
from onnxplain.proto import explain_pb2, explain_pb2_grpc
from onnxplain.proto.codec import array_from_tensor, tensor_from_array
from onnxplain.proto.specs import spec_from_options
from onnxplain.proto.types_pb2 import Input, ModelRef
from onnxplain.server import grpc_server
from onnxplain.server.grpc_server import Server
from onnxplain.server.settings import Settings

from tests.models import PREPROCESSING, tiny_mlp

oip = pytest.importorskip("tests.oip", exc_type=ImportError)

X = np.random.default_rng(0).random((3, 32, 32), np.float32)
NAME = "onnxplain.v1.ExplainService/net"
SERVING = health_pb2.HealthCheckResponse.SERVING


def request(method, **options):
    return explain_pb2.ExplainRequest(
        model=ModelRef(name="net"),
        method=spec_from_options(method, options),
        input=Input(tensor=tensor_from_array(X)),
    )


def serve(tmp_path, address, test):
    """Run the test with a server of the model at this address, and a channel to it."""
    folder = tmp_path / "net" / "1"
    folder.mkdir(parents=True)
    (folder / "model.url").write_text(f"oip://{address}/mlp\n")
    (folder / "preprocessing.json").write_text(json.dumps(PREPROCESSING))

    async def main():
        server = Server(Settings(port=0, model_repository=(tmp_path,)))
        own = await server.start()
        try:
            await server.load_models()
            async with asyncio.timeout(30), grpc.aio.insecure_channel(own) as channel:
                await test(channel)
        finally:
            assert await server.stop(lame_duck=0, grace=5, hurry=asyncio.Event())

    asyncio.run(main())


async def health(channel):
    asked = health_pb2.HealthCheckRequest(service=NAME)
    return (await health_pb2_grpc.HealthStub(channel).Check(asked)).status


def test_it_explains_the_model_of_the_other(tmp_path):
    model = tiny_mlp()

    async def test(channel):
        stub = explain_pb2_grpc.ExplainServiceStub(channel)
        answer = await stub.Explain(request("rise", n_samples=50))
        expected = load(model).explain(tensor=X, method="rise", n_samples=50)
        found = array_from_tensor(answer.attributions[0].heatmap)
        np.testing.assert_allclose(found, expected.heatmap, rtol=1e-4)
        with pytest.raises(grpc.aio.AioRpcError, match="graph is needed") as caught:
            await stub.Explain(request("saliency"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    with oip.serving(oip.OipServer(model.SerializeToString())) as address:
        serve(tmp_path, address, test)


def test_it_waits_for_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(grpc_server, "_SECONDS_TO_NEXT_LOOK", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as unheard:
        port = unheard.getsockname()[1]

    async def test(channel):
        stub = explain_pb2_grpc.ExplainServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Explain(request("rise", n_samples=10))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await health(channel) != SERVING
        with oip.serving(oip.OipServer(tiny_mlp().SerializeToString()), port):
            while await health(channel) != SERVING:
                await asyncio.sleep(0.05)
            assert (await stub.Explain(request("rise", n_samples=10))).attributions

    serve(tmp_path, f"127.0.0.1:{port}", test)
