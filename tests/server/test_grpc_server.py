"""The server in this process, at the moments of its life that are over too soon from outside."""

import asyncio

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnxplain.proto import catalog_pb2, catalog_pb2_grpc, explain_pb2, explain_pb2_grpc
from onnxplain.proto.codec import tensor_from_array
from onnxplain.proto.specs import spec_from_options
from onnxplain.proto.types_pb2 import Input, ModelRef
from onnxplain.server.grpc_server import ModelError, Server
from onnxplain.server.settings import NamedModel, Settings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

REQUEST = explain_pb2.ExplainRequest(
    model=ModelRef(name="cnn"),
    method=spec_from_options("saliency", {}),
    input=Input(tensor=tensor_from_array(np.zeros((3, 32, 32), np.float32))),
)


def with_server(model="cnn", **settings):
    """Run the decorated test with a server that has not loaded its model, and a channel."""

    def decorate(test):
        def run(repository):
            async def main():
                named = NamedModel("cnn", repository / model / "1" / "model.onnx")
                server = Server(Settings(port=0, model=(named,), **settings))
                address = await server.start()
                try:
                    async with asyncio.timeout(30), grpc.aio.insecure_channel(address) as channel:
                        await test(server, channel)
                finally:
                    assert await server.stop(lame_duck=0, grace=5, hurry=asyncio.Event())

            asyncio.run(main())

        return run

    return decorate


async def health(channel, name):
    request = health_pb2.HealthCheckRequest(service=name)
    return (await health_pb2_grpc.HealthStub(channel).Check(request)).status


@with_server()
async def test_a_server_says_that_its_models_are_loading(server, channel):
    stub = explain_pb2_grpc.ExplainServiceStub(channel)
    catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Explain(REQUEST)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "still being loaded; try again" in caught.value.details()
    assert ("grpc-retry-pushback-ms", "1000") in tuple(caught.value.trailing_metadata())
    (model,) = (await catalog.ListModels(catalog_pb2.ListModelsRequest())).models
    assert (model.state, model.reason) == (catalog_pb2.MODEL_STATE_LOADING, "MODEL_LOADING")
    assert await health(channel, "") == NOT_SERVING
    assert await health(channel, "onnxplain.v1.CatalogService") == SERVING

    await server.load_models()
    assert (await stub.Explain(REQUEST)).attributions
    for name in ("", "onnxplain.v1.ExplainService", "onnxplain.v1.ExplainService/cnn"):
        assert await health(channel, name) == SERVING


@with_server(model="not_onnx")
async def test_a_server_without_a_good_model_is_not_serving(server, channel):
    await server.load_models()
    assert await health(channel, "") == NOT_SERVING
    assert await health(channel, "onnxplain.v1.ExplainService/cnn") == NOT_SERVING


@with_server(model="not_onnx", exit_on_error=True)
async def test_exit_on_error_raises_what_is_wrong(server, channel):
    with pytest.raises(ModelError, match="model 'cnn' could not be loaded"):
        await server.load_models()


@with_server()
async def test_new_calls_are_answered_while_health_tells_to_go(server, channel):
    await server.load_models()
    stub = explain_pb2_grpc.ExplainServiceStub(channel)
    hurry = asyncio.Event()
    stopping = asyncio.create_task(server.stop(lame_duck=3600, grace=3600, hurry=hurry))
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    while (await watch.read()).status != NOT_SERVING:
        pass
    assert (await stub.Explain(REQUEST)).attributions
    hurry.set()
    assert await stopping
