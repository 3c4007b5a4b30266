"""Errors on the wire: every typed error becomes a status with google.rpc details, here only."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2
from onnxplain.graph_rewrites import (
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OnnxplainError,
    ResourceExhausted,
    Unavailable,
)

__all__ = ["DOMAIN", "RETRY_AFTER_MS", "bug_status", "retry_after", "to_status"]

DOMAIN = "onnxplain"

#: Key of an error's metadata: after how many milliseconds trying again makes sense.
RETRY_AFTER_MS = "retry_after_ms"

_CODES: dict[type[OnnxplainError], grpc.StatusCode] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Cancelled: grpc.StatusCode.CANCELLED,
}

# Trailers travel in HTTP/2 headers, of which many clients take 8 KiB in all. A message is in them
# twice: as text, where other bytes than ASCII are three characters each, and in the details.
_MAX_MESSAGE = 1000
_MAX_DETAILS = 3000
_MAX_VALUE = 200


def to_status(error: OnnxplainError) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """Return the status code of a typed error, and the status with its details."""
    code = next(
        (code for kind, code in _CODES.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL
    )
    info = details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for name, value in error.metadata.items():
        info.metadata[name] = _shorten(value)
    return code, _status(code, error.message, info, *_details(error))


def bug_status(request_id: str) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """Return the status of an error nobody foresaw: its request id, by which the log is found."""
    code = grpc.StatusCode.INTERNAL
    message = f"internal error; the server's log has it under request id {request_id}"
    info = details_pb2.ErrorInfo(reason="INTERNAL_BUG", domain=DOMAIN)
    return code, _status(code, message, info, details_pb2.RequestInfo(request_id=request_id))


def retry_after(error: OnnxplainError) -> int | None:
    """Return after how many milliseconds the caller may try again, where that makes sense."""
    given = error.metadata.get(RETRY_AFTER_MS)
    return None if given is None else int(given)


def _details(error: OnnxplainError) -> list[Message]:
    """Return the details of the error's kind, beside ErrorInfo."""
    if isinstance(error, InvalidArgument):
        return [_bad_request(error)]
    if isinstance(error, FailedPrecondition):
        return [_precondition_failure(error)]
    if isinstance(error, NotFound):
        names = {key: _shorten(value) for key, value in error.metadata.items()}
        return [
            details_pb2.ResourceInfo(
                resource_type=names.get("resource_type", ""),
                resource_name=names.get("resource_name", ""),
                description=_shorten(error.message),
            )
        ]
    milliseconds = retry_after(error)
    if milliseconds is None:
        return []
    retry = details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(milliseconds)
    return [retry]


def _bad_request(error: OnnxplainError) -> details_pb2.BadRequest:
    detail = details_pb2.BadRequest()
    for violation in error.violations:
        if detail.ByteSize() < _MAX_DETAILS // 2:
            field, text = _shorten(violation.subject), _shorten(violation.description)
            detail.field_violations.add(field=field, description=text)
    return detail


def _precondition_failure(error: OnnxplainError) -> details_pb2.PreconditionFailure:
    detail = details_pb2.PreconditionFailure()
    for violation in error.violations:
        if detail.ByteSize() < _MAX_DETAILS // 2:
            subject, text = _shorten(violation.subject), _shorten(violation.description)
            detail.violations.add(type=error.reason, subject=subject, description=text)
    return detail


def _status(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    """Return a status with as many of the details as fit; the first ones count most."""
    number, _ = code.value
    status = status_pb2.Status(code=number, message=_shorten(message, _MAX_MESSAGE))
    left = _MAX_DETAILS
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        left -= packed.ByteSize()
        if left >= 0:
            status.details.append(packed)
    return status


def _shorten(text: str, length: int = _MAX_VALUE) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
