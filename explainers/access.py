"""Which methods a model can be explained by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnxplain.graph_rewrites import (
    Access,
    FailedPrecondition,
    InvalidArgument,
    Method,
    Violation,
    list_methods,
)

from .white_box import WhiteBox

__all__ = ["Applicability", "applicability", "check_access", "check_limits"]


@dataclass(frozen=True)
class Applicability:
    """Whether a method applies to a model.

    ``reason`` says what is in the way, if anything; ``nodes`` are those that are, each by its name
    and with what it is.
    """

    method: str
    applies: bool
    reason: str
    nodes: Sequence[Violation] = ()


def applicability(graphs: WhiteBox | None, place: str) -> tuple[Applicability, ...]:
    """Return for every method whether it applies, by name.

    ``graphs`` is ``None`` for a model of which only the answers are known, got from ``place``.
    """
    return tuple(_applicability(method, graphs, place) for method in list_methods())


def _applicability(method: Method, graphs: WhiteBox | None, place: str) -> Applicability:
    if graphs is None:
        reason = _no_graph(method, place)
        return Applicability(method.name, not reason, reason)
    error = graphs.obstacle(method)
    if error is None:
        return Applicability(method.name, True, "")
    return Applicability(method.name, False, error.message, error.violations)


def check_access(method: Method, graphs: WhiteBox | None, place: str) -> None:
    """Refuse a method of the model's graph where there is none.

    Raises
    ------
    FailedPrecondition
        ``GRAPH_UNAVAILABLE``.
    """
    if graphs is None and (reason := _no_graph(method, place)):
        usable = [one.name for one in list_methods() if one.access is Access.FORWARD]
        raise FailedPrecondition(
            "GRAPH_UNAVAILABLE",
            f"{method.name} does not apply: {reason}; use {', '.join(usable)}, or load the "
            "model's file",
            violations=[Violation("method", reason)],
        )


def check_limits(
    method: Method, time_budget: float | None, *, checkpoint: bool, n_inputs: int
) -> None:
    """Refuse a time budget, or a checkpoint, of a method that has no use for it.

    Raises
    ------
    InvalidArgument
        ``OPTION_OUT_OF_RANGE``.
    """
    violations = []
    if time_budget is not None:
        if not (isinstance(time_budget, int | float) and 0 < time_budget < math.inf):
            text = f"time_budget {time_budget!r} is not a number of seconds above 0"
            violations.append(Violation("time_budget", text))
        elif not method.anytime:
            usable = ", ".join(one.name for one in list_methods() if one.anytime)
            text = f"{method.name} takes no samples and cannot end early; time_budget is for "
            violations.append(Violation("time_budget", text + usable))
    if checkpoint:
        text = ""
        if not method.resumable:
            usable = ", ".join(one.name for one in list_methods() if one.resumable)
            text = f"{method.name} cannot be resumed; checkpoint is for {usable}"
        elif n_inputs != 1:
            text = f"a checkpoint is of one input, not of {n_inputs}"
        violations += [Violation("checkpoint", text)] if text else []
    if violations:
        message = "; ".join(one.description for one in violations)
        raise InvalidArgument("OPTION_OUT_OF_RANGE", message, violations=violations)


def _no_graph(method: Method, place: str) -> str:
    if method.access is Access.FORWARD:
        return ""
    return f"the model's graph is needed, and {place} gives only the model's answers"
