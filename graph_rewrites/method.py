"""A method is declared once, as a function; the declaration is read from its signature.

The keyword-only parameters of the decorated function are the method's options: their
annotations (``options.py``) give type, range and help, their defaults the defaults, the docstring
the summary. Python signature, CLI flags, ``ListMethods``, validation and docs all come from here::

    @declare("grad_cam", title="Grad-CAM", paper="Selvaraju et al. 2017", access=Access.FEATURES)
    def grad_cam(rewriting: Rewriting, *, relu: Relu = True, layer: Layer = None) -> Maps:
        '''Last feature map weighted by the mean gradient of the score.'''
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import InvalidArgument, Violation, nearest
from .option import Option, options_of

__all__ = ["Access", "Inputs", "Method", "declare", "get_method", "list_methods"]


class Access(enum.Enum):
    """What a method needs from a model."""

    FORWARD = "forward"  # forward passes only: any model, local or remote
    FEATURES = "features"  # a convolutional feature map, and for most the gradient at it
    GRADIENT = "gradient"  # a differentiable path from the score to the input


class Inputs(enum.Enum):
    """How a method takes several inputs."""

    SINGLY = "singly"  # each explained on its own
    TOGETHER = "together"  # as a set, each for its own highest score unless a target is named
    ALIKE = "alike"  # as a set, all for the score that is highest on average


@dataclass(frozen=True, kw_only=True)
class Method:
    """A declared method: its description, its options, and the function that carries it out.

    ``run`` is called as ``run(context, **options)``; what the context is depends on who runs the
    method: a `Rewriting` for methods that are one rewritten graph (``in_graph``), an explainer's
    run otherwise, of one input or of a set of ``inputs``. One that is ``anytime`` takes samples and
    gives the map of those it has when time ends; one that is ``resumable`` keeps in a file what it
    has measured.
    """

    name: str
    title: str
    summary: str
    paper: str
    access: Access
    returns: tuple[str, ...]
    options: tuple[Option, ...]
    in_graph: bool
    inputs: Inputs
    anytime: bool
    resumable: bool
    run: Callable[..., Any]

    @property
    def defaults(self) -> dict[str, Any]:
        """The options' defaults by name."""
        return {option.name: option.default for option in self.options}

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return every option's effective value.

        Raises
        ------
        InvalidArgument
            ``UNKNOWN_OPTION`` or ``OPTION_OUT_OF_RANGE``, with every bad option in ``violations``.
        """
        known = {option.name: option for option in self.options}
        values, violations, unknown = self.defaults, [], False
        for name, value in given.items():
            if name not in known:
                unknown = True
                text = f"{self.name} has no option {name!r}; {nearest(name, known)}"
                violations.append(Violation(name, text))
                continue
            try:
                values[name] = known[name].check(value)
            except ValueError as error:
                violations.append(Violation(name, f"option {name}: {error}"))
        if violations:
            raise InvalidArgument(
                "UNKNOWN_OPTION" if unknown else "OPTION_OUT_OF_RANGE",
                "; ".join(violation.description for violation in violations),
                violations=violations,
                metadata={"method": self.name},
            )
        return values


_F = TypeVar("_F", bound=Callable[..., Any])

_METHODS: dict[str, Method] = {}


def declare(
    name: str,
    *,
    title: str,
    paper: str,
    access: Access,
    returns: Iterable[str],
    in_graph: bool = True,
    inputs: Inputs = Inputs.SINGLY,
    anytime: bool = False,
    resumable: bool = False,
) -> Callable[[_F], _F]:
    """Register the decorated function as the method ``name``; a second ``name`` is refused."""

    def register(function: _F) -> _F:
        if name in _METHODS:
            raise ValueError(f"method {name!r} is declared twice")
        _METHODS[name] = Method(
            name=name,
            title=title,
            summary=inspect.cleandoc(function.__doc__ or "")
            .partition("\n\n")[0]
            .replace("\n", " "),
            paper=paper,
            access=access,
            returns=tuple(returns),
            options=options_of(function),
            in_graph=in_graph,
            inputs=inputs,
            anytime=anytime,
            resumable=resumable,
            run=function,
        )
        return function

    return register


def get_method(name: str) -> Method:
    """Return the method called ``name``; raise ``InvalidArgument`` with the nearest names."""
    if not isinstance(name, str) or name not in _METHODS:
        raise InvalidArgument(
            "UNKNOWN_METHOD",
            f"there is no method {name!r}; {nearest(str(name), _METHODS)}",
            violations=[Violation("method", f"unknown method {name!r}")],
            metadata={"method": str(name)},
        )
    return _METHODS[name]


def list_methods() -> tuple[Method, ...]:
    """Return all declared methods by name."""
    return tuple(_METHODS[name] for name in sorted(_METHODS))
