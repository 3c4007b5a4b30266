"""The one error of the client: a status with its google.rpc details as Python values."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2
from onnxplain.proto.codec import CodecError

__all__ = [
    "REQUEST_ID_KEY",
    "ExplainError",
    "Violation",
    "error_of_call",
    "error_of_codec",
    "trailers_of",
]

_DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"
_TOO_LARGE = re.compile(r"larger than max")

# Reasons of statuses that do not come from our services but from gRPC itself.
_REASONS = {
    grpc.StatusCode.UNAVAILABLE: "SERVER_UNREACHABLE",
    grpc.StatusCode.UNIMPLEMENTED: "NOT_THIS_SERVICE",
}


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong: ``subject`` is a field of the request or a node of the model."""

    subject: str
    description: str


class ExplainError(Exception):
    """A call that failed.

    Attributes
    ----------
    reason
        Stable identifier such as ``UNKNOWN_METHOD``.
    message
        What is wrong and what to do.
    code
        The gRPC status code.
    violations
        Everything that is wrong, one entry per field or node.
    metadata
        The dynamic values of the message.
    request_id
        What the server's log names the call by; empty when it did not reach the server.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        code: grpc.StatusCode,
        violations: Iterable[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.request_id = request_id


def error_of_codec(
    error: CodecError, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
) -> ExplainError:
    """Return the error of a request that cannot be written, or of an answer that cannot be read."""
    violations = [Violation(field, description) for field, description in error.violations]
    return ExplainError(error.reason, str(error), code, violations)


def error_of_call(error: grpc.RpcError, address: str) -> ExplainError:
    """Return the error of a call that failed at the server or on the way."""
    code, message = error.code(), error.details() or ""
    trailers = trailers_of(error)
    info, violations = _details(trailers.get(_DETAILS_KEY))
    request_id = str(trailers.get(REQUEST_ID_KEY, ""))
    if info.reason:
        return ExplainError(info.reason, message, code, violations, dict(info.metadata), request_id)
    reason = _REASONS.get(code, code.name)
    if code is grpc.StatusCode.UNAVAILABLE:
        message = f"no server answers at {address}: {message}"
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = "the answer did not come in time; give a longer timeout or ask for less"
    elif _TOO_LARGE.search(message):
        reason = "MESSAGE_TOO_LARGE"
        message += "; send a smaller or an encoded image, or raise the limit of server and client"
    return ExplainError(reason, message, code, request_id=request_id)


def trailers_of(call: grpc.Call | grpc.RpcError) -> dict[str, str | bytes]:
    """Return what the server sent after its answer."""
    trailers: Any = call.trailing_metadata()  # pairs, whatever the stubs call them
    return dict(trailers or ())


def _details(trailer: str | bytes | None) -> tuple[details_pb2.ErrorInfo, list[Violation]]:
    """Return what a status says in its details; nothing when they cannot be read."""
    info, violations = details_pb2.ErrorInfo(), []
    bad_request, precondition = details_pb2.BadRequest(), details_pb2.PreconditionFailure()
    if isinstance(trailer, bytes):
        with contextlib.suppress(DecodeError):
            for packed in status_pb2.Status.FromString(trailer).details:
                packed.Unpack(info)
                packed.Unpack(bad_request)
                packed.Unpack(precondition)
    violations += [Violation(one.field, one.description) for one in bad_request.field_violations]
    violations += [Violation(one.subject, one.description) for one in precondition.violations]
    return info, violations
