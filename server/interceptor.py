"""Around every call of our services: a request id, one log line, errors turned into statuses."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from onnxplain.graph_rewrites import InvalidArgument, OnnxplainError, Violation

from .errors import bug_status, retry_after, to_status
from .logs import LOGGER, fields

__all__ = ["CallInterceptor"]

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_REQUEST_ID_KEY = "x-request-id"
_DETAILS_KEY = "grpc-status-details-bin"
_PUSHBACK_KEY = "grpc-retry-pushback-ms"

_DEADLINE_SLACK = 0.1  # seconds; a client gives up at its deadline, a moment before ours


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Guards the calls of this package; health and reflection pass through it untouched.

    What is not an `OnnxplainError` is a bug: it is logged with its stack and answered as INTERNAL
    with the request id and nothing else.
    """

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Return the handler of a call, guarded if it is ours."""
        handler = await continuation(handler_call_details)
        name = handler_call_details.method
        if handler is None or not name.startswith("/onnxplain."):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            _guarded(name.rpartition("/")[2], handler),
            response_serializer=handler.response_serializer,
        )


def _guarded(name: str, handler: Any) -> Callable[[bytes, Any], Awaitable[Any]]:
    async def guarded(wire: bytes, context: Any) -> Any:
        request_id = _request_id(context)
        log = _CallLog(name, request_id)
        context.set_trailing_metadata(((_REQUEST_ID_KEY, request_id),))
        try:
            request = _message(wire, handler.request_deserializer)
            log.describe(request)
            response = await handler.unary_unary(request, context)
        except asyncio.CancelledError:
            left = context.time_remaining()
            in_time = left is None or left > _DEADLINE_SLACK
            log.write("CANCELLED" if in_time else "DEADLINE_EXCEEDED")
            raise
        except OnnxplainError as error:
            code, status = to_status(error)
            log.write(code.name, reason=error.reason, message=error.message)
            await _abort(context, request_id, code, status, retry_after(error))
        except Exception:
            LOGGER.exception("bug in %s", name, extra=fields(request_id=request_id))
            code, status = bug_status(request_id)
            log.write(code.name)
            await _abort(context, request_id, code, status)
        log.write("OK")
        return response

    return guarded


async def _abort(
    context: Any,
    request_id: str,
    code: grpc.StatusCode,
    status: status_pb2.Status,
    retry_ms: int | None = None,
) -> NoReturn:
    trailers: list[tuple[str, str | bytes]] = [
        (_REQUEST_ID_KEY, request_id),
        (_DETAILS_KEY, status.SerializeToString()),
    ]
    if retry_ms is not None:
        trailers.append((_PUSHBACK_KEY, str(retry_ms)))
    await context.abort(code, status.message, tuple(trailers))
    raise AssertionError("abort returned")


def _message(wire: bytes, parse: Callable[[bytes], Any]) -> Any:
    """Return the request; gRPC itself would answer UNKNOWN to one that cannot be read."""
    try:
        return parse(wire)
    except DecodeError:
        message = "the bytes are no request of this call; generate the client from our .proto files"
        violations = [Violation("request", message)]
        raise InvalidArgument("REQUEST_INVALID", message, violations=violations) from None


def _request_id(context: Any) -> str:
    """Return the caller's request id if it is a sensible one, else a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == _REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex


class _CallLog:
    """The one log line of a call; never of its contents."""

    def __init__(self, name: str, request_id: str) -> None:
        self._name = name
        self._began = time.perf_counter()
        self._fields: dict[str, object] = {"request_id": request_id}

    def describe(self, request: Any) -> None:
        """Note which model and method are asked for, in calls that have such."""
        known = request.DESCRIPTOR.fields_by_name
        if "model" in known:
            self._fields["model"] = request.model.name[:128]
        if "method" in known:
            self._fields["method"] = request.method.WhichOneof("method")

    def write(self, code: str, **more: str) -> None:
        milliseconds = round(1000 * (time.perf_counter() - self._began), 1)
        extra = fields(code=code, ms=milliseconds, **self._fields, **more)
        LOGGER.info("%s", self._name, extra=extra)
