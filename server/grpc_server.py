"""The gRPC server: services, health, reflection; how it starts, loads its models and stops."""

from __future__ import annotations

import asyncio
import socket

import grpc
from onnxplain.explainers import SessionCache
from onnxplain.graph_rewrites import Unavailable
from onnxplain.proto import catalog_pb2, catalog_pb2_grpc, explain_pb2, explain_pb2_grpc

from .catalog import CatalogService
from .explain import ExplainService
from .health import HealthService
from .interceptor import CallInterceptor
from .models import ServedModel, ServedModels, State
from .pool import WorkerPool
from .reflection import add_reflection
from .repository import find_models
from .settings import Settings

__all__ = ["AddressError", "ModelError", "Server"]

_EXPLAIN = explain_pb2.DESCRIPTOR.services_by_name["ExplainService"].full_name
_CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name

_SECONDS_TO_CANCEL = 2.0
_SECONDS_TO_NEXT_LOOK = 2.0


class AddressError(Exception):
    """The server cannot listen on the address."""


class ModelError(Exception):
    """With ``exit_on_error``: a model cannot be loaded."""


class Server:
    """The server, not yet listening; made and used on one event loop.

    Health has the names "" (the whole server, serving when all models were tried and one is ready),
    the services' full names, and ``onnxplain.v1.ExplainService/MODEL`` for each model.

    Raises
    ------
    RepositoryError
        The settings do not tell which models to serve.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._models = ServedModels(find_models(settings.model_repository, settings.model))
        self._sessions = SessionCache(settings.session_cache_mb * 2**20)
        self._waiting: asyncio.Task[None] | None = None
        self._pool = WorkerPool(settings.workers, settings.queue)
        self._health = HealthService()
        size = settings.max_message_bytes
        self._grpc = grpc.aio.server(
            interceptors=[CallInterceptor()],
            options=[
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", size),
                ("grpc.so_reuseport", 0),  # a port in use is an error, not a port shared
            ],
        )
        explain = ExplainService(self._models, self._pool, max_targets=settings.max_targets)
        explain_pb2_grpc.add_ExplainServiceServicer_to_server(explain, self._grpc)
        catalog = CatalogService(settings, self._models)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(catalog, self._grpc)
        self._health.add_to(self._grpc)
        if settings.reflection:
            add_reflection(self._grpc, (_EXPLAIN, _CATALOG, HealthService.name))

    async def start(self) -> str:
        """Answer calls from now on; return the address, with the real port for port 0.

        Raises
        ------
        AddressError
            The address cannot be listened on.
        """
        host, port = self._settings.host, self._settings.port
        address = _address(host, port)
        for name in ("", _EXPLAIN, *{_health_name(one.files.name) for one in self._models.all}):
            await self._health.set(name, serving=False)
        await self._health.set(_CATALOG, serving=True)
        try:
            _try_to_bind(host, port)
            port = self._grpc.add_insecure_port(address)
        except (OSError, RuntimeError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise AddressError(f"cannot listen on {address}: {why}") from None
        await self._grpc.start()
        return _address(host, port)

    async def load_models(self) -> None:
        """Load one model after the other off the event loop, and tell health about each.

        Raises
        ------
        ModelError
            With ``exit_on_error``: one cannot be loaded.
        """
        for served in self._models.all:
            await self._load(served)
            if served.state is not State.READY and self._settings.exit_on_error:
                raise ModelError(str(served.error))
        await self._tell_whether_one_is_ready()
        away = [served for served in self._models.all if isinstance(served.error, Unavailable)]
        if away:
            self._waiting = asyncio.create_task(self._load_later(away))

    async def _load(self, served: ServedModel) -> None:
        """Load a model off the event loop, and tell health about it."""
        await asyncio.to_thread(
            served.load,
            provider=self._settings.provider,
            threads=self._settings.threads_per_model,
            sessions=self._sessions,
        )
        ready = served.state is State.READY
        if served.files.default:
            await self._health.set(_health_name(served.files.name), serving=ready)

    async def _tell_whether_one_is_ready(self) -> None:
        if any(served.state is State.READY for served in self._models.all):
            for name in ("", _EXPLAIN):
                await self._health.set(name, serving=True)

    async def _load_later(self, away: list[ServedModel]) -> None:
        """Load models of other servers when those are there."""
        while away:
            await asyncio.sleep(_SECONDS_TO_NEXT_LOOK)
            for served in away:
                await self._load(served)
            await self._tell_whether_one_is_ready()
            away = [served for served in away if isinstance(served.error, Unavailable)]

    async def stop(self, *, lame_duck: float, grace: float, hurry: asyncio.Event) -> bool:
        """Stop without losing a call; return whether all work has ended.

        Health says NOT_SERVING first; new calls are still answered for ``lame_duck`` seconds, then
        refused; explanations in progress get ``grace`` seconds to finish, then they are cancelled
        and answered UNAVAILABLE. ``hurry`` cuts both waits short.
        """
        await self._health.stop()
        if self._waiting is not None:
            self._waiting.cancel()
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({hurried}, timeout=lame_duck)
        stopped = asyncio.create_task(self._grpc.stop(grace + _SECONDS_TO_CANCEL))
        idle = asyncio.create_task(self._pool.idle())
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait({stopped, hurried, idle}, timeout=grace, return_when=first)
        for task in (hurried, idle):
            task.cancel()
        message = "the server is stopping; try again, on another server if there is one"
        ended = await self._pool.close(Unavailable("DRAINING", message), _SECONDS_TO_CANCEL)
        await self._grpc.stop(_SECONDS_TO_CANCEL)
        await stopped
        return ended


def _health_name(model: str) -> str:
    return f"{_EXPLAIN}/{model}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _try_to_bind(host: str, port: int) -> None:
    """Raise ``OSError`` where the address cannot be listened on; gRPC would not say why."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
        probe.bind(address)
