"""The standard health service, grpc.health.v1: of the whole server, each service, each model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

__all__ = ["HealthService"]

_Response = health_pb2.HealthCheckResponse


class HealthService:
    """Check and Watch.

    Unlike the servicer of grpcio-health-checking this one keeps pushing to the other watchers of a
    name when one goes away, and ends the watches of a server that stops.
    """

    name = "grpc.health.v1.Health"

    def __init__(self) -> None:
        self._statuses: dict[str, Any] = {}
        self._changed = asyncio.Condition()
        self._stopping = False

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve the calls."""
        messages = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": _Response.SerializeToString,
        }
        handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, **messages),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **messages),
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(self.name, handlers),)
        )

    async def set(self, name: str, *, serving: bool) -> None:
        """Tell whether ``name`` answers; ignored once the server stops."""
        if not self._stopping:
            await self._update({name: _Response.SERVING if serving else _Response.NOT_SERVING})

    async def stop(self) -> None:
        """Tell for good that nothing answers, and end the watches."""
        self._stopping = True
        await self._update(dict.fromkeys(self._statuses, _Response.NOT_SERVING))

    async def _update(self, statuses: dict[str, Any]) -> None:
        async with self._changed:
            self._statuses.update(statuses)
            self._changed.notify_all()

    async def _check(self, request: Any, context: Any) -> Any:
        if request.service not in self._statuses:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service or model")
        return _Response(status=self._statuses[request.service])

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Yield a name's status now and at every change; SERVICE_UNKNOWN where there is none."""

        def status() -> Any:
            return self._statuses.get(request.service, _Response.SERVICE_UNKNOWN)

        last = None
        while True:
            async with self._changed:
                while status() == last and not self._stopping:
                    await self._changed.wait()
            if status() == last:
                return
            last = status()
            yield _Response(status=last)
