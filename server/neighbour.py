"""Another model server over the Open Inference Protocol: deadlines, retries, typed errors."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import grpc
from onnxplain.explainers import Control
from onnxplain.graph_rewrites import (
    FailedPrecondition,
    NotFound,
    OnnxplainError,
    ResourceExhausted,
    Unavailable,
)
from tritonclient.grpc import service_pb2_grpc

from .errors import RETRY_AFTER_MS

__all__ = ["Neighbour"]

_FIRST_PAUSE = 0.1
_RETRY_MS = 1000
_POLL = 0.1  # seconds between two looks at whether the caller gave up
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_KINDS: dict[grpc.StatusCode, tuple[type[OnnxplainError], str]] = {
    grpc.StatusCode.UNAVAILABLE: (Unavailable, "REMOTE_UNAVAILABLE"),
    grpc.StatusCode.CANCELLED: (Unavailable, "REMOTE_UNAVAILABLE"),  # it is shutting down
    grpc.StatusCode.DEADLINE_EXCEEDED: (Unavailable, "REMOTE_TIMEOUT"),
    grpc.StatusCode.NOT_FOUND: (NotFound, "REMOTE_NOT_FOUND"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (ResourceExhausted, "REMOTE_EXHAUSTED"),
    grpc.StatusCode.UNIMPLEMENTED: (FailedPrecondition, "REMOTE_UNIMPLEMENTED"),
}


@dataclass
class _Call:
    """A request on its way."""

    request: Any
    answer: Any
    deadline: float
    attempts: int = 1


class Neighbour:
    """A connection to a model server; it may be used by several threads at once.

    Parameters
    ----------
    address
        ``HOST:PORT``.
    credentials
        For TLS; by default the connection is plain.
    headers
        Sent with every call, such as ``("authorization", "Bearer ...")``.
    timeout
        Seconds after which an answer is given up, all attempts together.
    retries
        How many more times a call is sent that found the server unavailable, with growing pauses.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        headers: Sequence[tuple[str, str]] = (),
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        self.address = address
        self._headers, self._timeout, self._retries = tuple(headers), timeout, retries
        self._channel = (
            grpc.insecure_channel(address, _CHANNEL)
            if credentials is None
            else grpc.secure_channel(address, credentials, _CHANNEL)
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def ask(self, method: str, request: Any, control: Control) -> Any:
        """Return the answer to one request; see `stream`."""
        with closing(self.stream(method, [request], control)) as answers:
            return next(answers)

    def stream(
        self, method: str, requests: Iterable[Any], control: Control, in_flight: int = 1
    ) -> Generator[Any, None, None]:
        """Yield the answers in order, with at most ``in_flight`` requests on their way.

        Raises
        ------
        Unavailable
            ``REMOTE_UNAVAILABLE`` after all attempts, ``REMOTE_TIMEOUT``.
        NotFound
            ``REMOTE_NOT_FOUND``: no such model there.
        ResourceExhausted
            ``REMOTE_EXHAUSTED``: a message too large for it, or too many calls.
        FailedPrecondition
            ``REMOTE_FAILED`` or ``REMOTE_UNIMPLEMENTED``, with what it said.
        """
        send = getattr(self._stub, method)
        calls: deque[_Call] = deque()
        try:
            for request in requests:
                calls.append(self._sent(send, request, control))
                if len(calls) >= in_flight:
                    yield self._answer(send, calls[0], control)
                    calls.popleft()
            while calls:
                yield self._answer(send, calls[0], control)
                calls.popleft()
        finally:
            for call in calls:
                call.answer.cancel()

    def _sent(self, send: Any, request: Any, control: Control) -> _Call:
        control.check()
        answer = send.future(request, timeout=self._timeout, metadata=self._headers)
        return _Call(request, answer, time.monotonic() + self._timeout)

    def _answer(self, send: Any, call: _Call, control: Control) -> Any:
        """Wait for an answer; send the request again where the server is unavailable."""
        while True:
            try:
                return call.answer.result(timeout=_POLL)
            except grpc.FutureTimeoutError:
                control.check()
            except grpc.RpcError as error:
                pause = _FIRST_PAUSE * 2 ** (call.attempts - 1) * random.uniform(0.75, 1.25)
                left = call.deadline - time.monotonic() - pause
                failure = self._error(call)
                lasting = failure.reason != "REMOTE_UNAVAILABLE"
                if lasting or call.attempts > self._retries or left <= 0:
                    raise failure from error
                _wait(pause, control)
                call.attempts += 1
                call.answer = send.future(call.request, timeout=left, metadata=self._headers)

    def _error(self, call: _Call) -> OnnxplainError:
        code = call.answer.code()
        kind, reason = _KINDS.get(code, (FailedPrecondition, "REMOTE_FAILED"))
        said = (call.answer.details() or "").strip().partition("\n")[0][:200]
        server = f"the model server at {self.address}"
        if reason == "REMOTE_TIMEOUT":
            message = f"{server} did not answer within {self._timeout:g} s"
        elif reason == "REMOTE_UNAVAILABLE":
            message = f"{server} is unavailable, asked {call.attempts} times: {said}"
        else:
            message = f"{server} answered {code.name}: {said}"
        metadata = {"address": self.address}
        if kind is Unavailable:
            metadata[RETRY_AFTER_MS] = str(_RETRY_MS)
        if kind is NotFound:
            name = getattr(call.request, "model_name", "") or call.request.name
            metadata |= {"resource_type": "model", "resource_name": name}
        return kind(reason, message, metadata=metadata)


def _wait(seconds: float, control: Control) -> None:
    """Sleep, unless the caller gives up."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        control.check()
        time.sleep(min(left, _POLL))
