import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from onnxplain.graph_rewrites import ResourceExhausted
from onnxplain.proto import catalog_pb2, catalog_pb2_grpc
from onnxplain.server.errors import RETRY_AFTER_MS
from onnxplain.server.interceptor import CallInterceptor
from onnxplain.server.logs import LOGGER


class Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    """One call that works, one with a bug, one with a typed error."""

    async def GetServerInfo(self, request, context):
        return catalog_pb2.GetServerInfoResponse(version="7")

    async def ListMethods(self, request, context):
        raise ZeroDivisionError("/secret/path")

    async def ListModels(self, request, context):
        raise ResourceExhausted("QUEUE_FULL", "busy", metadata={RETRY_AFTER_MS: "1500"})


def calls(test):
    """Run a test with a stub of a guarded server and the lines it logs."""

    def run(caplog, monkeypatch):
        monkeypatch.setattr(LOGGER, "propagate", True)
        caplog.set_level("INFO", LOGGER.name)

        async def main():
            server = grpc.aio.server(interceptors=[CallInterceptor()])
            catalog_pb2_grpc.add_CatalogServiceServicer_to_server(Catalog(), server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            try:
                async with asyncio.timeout(30), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as c:
                    await test(catalog_pb2_grpc.CatalogServiceStub(c), caplog)
            finally:
                await server.stop(None)

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


def logged(caplog):
    """The server's own lines; gRPC's event loops have words of their own now and then."""
    return [record for record in caplog.records if record.name == LOGGER.name]


def failure(caught):
    trailers = dict(caught.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return info, trailers


@calls
async def test_a_bug_is_logged_with_its_stack_and_told_by_its_request_id(stub, caplog):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListMethods(
            catalog_pb2.ListMethodsRequest(), metadata=(("x-request-id", "call-1"),)
        )
    info, trailers = failure(caught)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert info.reason == "INTERNAL_BUG"
    assert trailers["x-request-id"] == "call-1"
    assert "call-1" in caught.value.details()
    assert "secret" not in repr(caught.value)
    (bug,) = (record for record in logged(caplog) if record.exc_info)
    assert bug.fields == {"request_id": "call-1"}
    assert "/secret/path" in caplog.text


@calls
async def test_a_typed_error_says_when_to_try_again(stub, caplog):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListModels(catalog_pb2.ListModelsRequest())
    info, trailers = failure(caught)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (info.reason, caught.value.details()) == ("QUEUE_FULL", "busy")
    assert trailers["grpc-retry-pushback-ms"] == "1500"
    (line,) = logged(caplog)
    assert (line.fields["code"], line.fields["reason"]) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")


@calls
async def test_a_call_without_a_sensible_request_id_gets_one(stub, caplog):
    seen = set()
    for given in ("", "two words", "x" * 129):
        call = stub.GetServerInfo(
            catalog_pb2.GetServerInfoRequest(), metadata=(("x-request-id", given),)
        )
        assert (await call).version == "7"
        seen.add(dict(await call.trailing_metadata())["x-request-id"])
    assert len(seen) == 3
    assert all(len(request_id) == 32 for request_id in seen)
    assert {record.fields["request_id"] for record in logged(caplog)} == seen
    assert all(record.fields["code"] == "OK" for record in logged(caplog))
