"""What a failed command says, and the exit code it ends with."""

from __future__ import annotations

import errno

from .environment import ExitCode
from .output_files import UsageError

__all__ = ["describe", "exit_code"]


def exit_code(error: Exception) -> ExitCode:
    """Return the exit code of a command that ended with ``error``."""
    from onnxplain import graph_rewrites
    from onnxplain.clients.demo.server_process import ServerError

    if isinstance(error, OSError):
        return ExitCode.NOT_FOUND if error.errno == errno.ENOENT else ExitCode.USAGE
    by_class = {
        UsageError: ExitCode.USAGE,
        ModuleNotFoundError: ExitCode.NOT_FOUND,
        ServerError: ExitCode.UNAVAILABLE,
        graph_rewrites.InvalidArgument: ExitCode.USAGE,
        graph_rewrites.NotFound: ExitCode.NOT_FOUND,
        graph_rewrites.FailedPrecondition: ExitCode.NOT_APPLICABLE,
        graph_rewrites.ResourceExhausted: ExitCode.UNAVAILABLE,
        graph_rewrites.Unavailable: ExitCode.UNAVAILABLE,
        graph_rewrites.Cancelled: ExitCode.UNAVAILABLE,
    }
    for kind, code in by_class.items():
        if isinstance(error, kind):
            return code
    return _of_status(error)


def _of_status(error: Exception) -> ExitCode:
    from onnxplain.clients.python import ExplainError

    by_status = {
        "INVALID_ARGUMENT": ExitCode.USAGE,
        "OUT_OF_RANGE": ExitCode.USAGE,
        "NOT_FOUND": ExitCode.NOT_FOUND,
        "FAILED_PRECONDITION": ExitCode.NOT_APPLICABLE,
        "RESOURCE_EXHAUSTED": ExitCode.UNAVAILABLE,
        "UNAVAILABLE": ExitCode.UNAVAILABLE,
        "DEADLINE_EXCEEDED": ExitCode.UNAVAILABLE,
        "CANCELLED": ExitCode.UNAVAILABLE,
    }
    if isinstance(error, ExplainError):
        return by_status.get(error.code.name, ExitCode.INTERNAL)
    return ExitCode.INTERNAL


def describe(error: Exception, code: ExitCode) -> str:
    """Return one line on ``error``, and a further one for everything it names beside that."""
    if code is ExitCode.INTERNAL:
        return f"{type(error).__name__}: {error} (--debug shows where)"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    message = str(getattr(error, "message", None) or error)
    violations = getattr(error, "violations", ())
    return "\n".join(
        [message]
        + [
            f"  {violation.subject}: {violation.description}"
            for violation in violations
            if violation.description not in message and len(violations) > 1
        ]
    )
