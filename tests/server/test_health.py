import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnxplain.server.health import HealthService

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def served(test):
    """Run a test with a health service and a stub of a server that serves it."""

    def run():
        async def main():
            health, server = HealthService(), grpc.aio.server()
            health.add_to(server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            try:
                async with asyncio.timeout(30), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as c:
                    await test(health, health_pb2_grpc.HealthStub(c))
            finally:
                await server.stop(None)

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


def asked(name):
    return health_pb2.HealthCheckRequest(service=name)


@served
async def test_check_tells_the_status_of_what_is_known(health, stub):
    await health.set("a", serving=False)
    assert (await stub.Check(asked("a"))).status == NOT_SERVING
    await health.set("a", serving=True)
    assert (await stub.Check(asked("a"))).status == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(asked("b"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@served
async def test_every_watcher_is_told_every_change(health, stub):
    watches = [stub.Watch(asked("a")) for _ in range(3)]
    assert [(await watch.read()).status for watch in watches] == [UNKNOWN] * 3
    await health.set("a", serving=False)
    assert [(await watch.read()).status for watch in watches] == [NOT_SERVING] * 3
    watches.pop().cancel()
    await health.set("a", serving=True)
    assert [(await watch.read()).status for watch in watches] == [SERVING] * 2


@served
async def test_stopping_tells_the_watchers_and_lets_them_go(health, stub):
    await health.set("a", serving=True)
    watches = [stub.Watch(asked(name)) for name in ("a", "b")]
    assert [(await watch.read()).status for watch in watches] == [SERVING, UNKNOWN]
    await health.stop()
    assert (await watches[0].read()).status == NOT_SERVING
    assert [await watch.read() for watch in watches] == [grpc.aio.EOF] * 2
    await health.set("a", serving=True)
    assert (await stub.Check(asked("a"))).status == NOT_SERVING
