"""``onnxplain methods``: what methods there are and what options they take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from .environment import Environment, ExitCode
from .method_options import as_text, declared_methods

if TYPE_CHECKING:
    from onnxplain.graph_rewrites import Method, Option

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this method's options")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, environment: Environment) -> ExitCode:
    """Print all methods, or one with its options."""
    methods = declared_methods()
    if arguments.name is not None:
        from onnxplain.graph_rewrites import get_method

        methods = (get_method(arguments.name),)
    if arguments.json:
        described = [_as_dict(method) for method in methods]
        environment.print_json(described if arguments.name is None else described[0])
    elif arguments.name is None:
        rows = [
            (method.name, method.access.value, "yes" if method.in_graph else "no", method.summary)
            for method in methods
        ]
        environment.print_table(("method", "needs", "rewrite", "what it is"), rows)
    else:
        _print_method(methods[0], environment)
    return ExitCode.OK


def _print_method(method: Method, environment: Environment) -> None:
    environment.print(f"{method.name}: {method.title} ({method.paper})")
    environment.print(method.summary)
    environment.print(f"needs: {method.access.value}   gives: {', '.join(method.returns)}")
    if method.anytime:
        resumed = ", and goes on from a --checkpoint" * method.resumable
        environment.print(f"takes samples: ends early by --time-budget{resumed}")
    if method.options:
        environment.print("")
        rows = [
            (option.name, _range(option), as_text(option.default), option.help)
            for option in method.options
        ]
        environment.print_table(("option", "value", "default", "meaning"), rows)


def _range(option: Option) -> str:
    if option.choices:
        return "|".join(option.choices) + "|#rrggbb" * option.colours + "|FILE.npy" * option.arrays
    bounds = ["" if bound is None else f"{bound:g}" for bound in (option.minimum, option.maximum)]
    name = {bool: "true|false", int: "integer", float: "number", np.ndarray: "file"}.get(
        option.type, "text"
    )
    return f"{name} {'..'.join(bounds)}" if any(bounds) else name


def _as_dict(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "title": method.title,
        "summary": method.summary,
        "paper": method.paper,
        "access": method.access.value,
        "returns": list(method.returns),
        "in_graph": method.in_graph,
        "anytime": method.anytime,
        "resumable": method.resumable,
        "options": [
            {
                "name": option.name,
                "type": option.type.__name__,
                "default": option.default,
                "minimum": option.minimum,
                "maximum": option.maximum,
                "choices": list(option.choices),
                "several": option.several,
                "arrays": option.arrays,
                "help": option.help,
            }
            for option in method.options
        ],
    }
