"""Typed errors: what went wrong, where, and what to do; the server maps them to gRPC status codes.

Every error carries a stable ``reason`` (``UPPER_SNAKE``, part of the API), a message that can be
shown to a client as it is (no paths, no stack traces) and, where fields or nodes are at fault, all
of them at once as ``violations``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = [
    "Cancelled",
    "FailedPrecondition",
    "InvalidArgument",
    "NotFound",
    "OnnxplainError",
    "ResourceExhausted",
    "Unavailable",
    "Violation",
    "nearest",
]


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong: ``subject`` is a request field, an option, a node or a file."""

    subject: str
    description: str


class OnnxplainError(Exception):
    """Base of all errors of this library.

    Parameters
    ----------
    reason
        Stable identifier such as ``METHOD_NOT_APPLICABLE``.
    message
        One or two sentences: what is wrong and what to do.
    violations
        Everything that is wrong, one entry per field or node.
    metadata
        The dynamic values of the message, for programs.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        violations: Iterable[Violation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})


class InvalidArgument(OnnxplainError, ValueError):
    """The request is wrong whatever the state of the server: an option, an image, a tensor."""


class NotFound(OnnxplainError, LookupError):
    """A named thing does not exist: ``metadata`` has ``resource_type`` and ``resource_name``."""


class FailedPrecondition(OnnxplainError):
    """The request is well formed but this model cannot answer it; ``violations`` say why."""


class ResourceExhausted(OnnxplainError):
    """A limit is reached; try again later or ask for less."""


class Unavailable(OnnxplainError):
    """Not now: starting, draining, or a neighbour is down; retrying is safe."""


class Cancelled(OnnxplainError):
    """The caller gave up, or the deadline passed, before the work was done."""

    def __init__(self, reason: str = "CANCELLED", message: str = "the call was cancelled") -> None:
        super().__init__(reason, message)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known ones, or all."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known)}" if known else "there are none"
