"""Command-line flags of the methods' options, made from the methods' declarations."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnxplain.graph_rewrites import Method, Option

__all__ = [
    "add_method_arguments",
    "as_text",
    "declared_methods",
    "given_options",
    "parse_options",
]

_PREFIX = "option_"


def declared_methods() -> tuple[Method, ...]:
    """Return every method of this installation by name."""
    importlib.import_module("onnxplain.explainers")  # declares the methods of forward passes
    from onnxplain.graph_rewrites import list_methods

    return list_methods()


def add_method_arguments(parser: argparse.ArgumentParser, methods: Iterable[Method]) -> None:
    """Add ``--method``, ``--option key=value`` and one flag per option of ``methods``."""
    methods = tuple(methods)
    parser.add_argument(
        "--method",
        default="grad_cam",
        metavar="NAME",
        help=f"{', '.join(method.name for method in methods)} (default: grad_cam)",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=_key_and_value,
        metavar="KEY=VALUE",
        help="an option of the method, as an alternative to its flag; may be repeated",
    )
    users: dict[str, list[tuple[Method, Option]]] = {}
    for method in methods:
        for option in method.options:
            users.setdefault(option.name, []).append((method, option))
    group = parser.add_argument_group(
        "options of the methods", "each with the methods that have it and their default"
    )
    for name in sorted(users):
        _add_flag(group, name, users[name])


def _add_flag(
    group: argparse._ArgumentGroup, name: str, users: list[tuple[Method, Option]]
) -> None:
    option = users[0][1]
    defaults: dict[str, list[str]] = {}
    for method, its_option in users:
        defaults.setdefault(as_text(its_option.default), []).append(method.name)
    who = "; ".join(f"{', '.join(names)}: {default}" for default, names in defaults.items())
    action = group.add_argument(
        f"--{name.replace('_', '-')}",
        dest=_PREFIX + name,
        default=argparse.SUPPRESS,
        help=f"{option.help}{'; may be repeated' * option.several} ({who})".replace("%", "%%"),
        action=_action(option),
    )
    if option.type is not bool:
        action.metavar = "|".join(option.choices) or {
            int: "N",
            float: "X",
            np.ndarray: "FILE",
        }.get(option.type, "TEXT")
        action.metavar += "|#rrggbb" * option.colours + "|FILE.npy" * option.arrays


def _action(option: Option) -> Any:
    if option.type is bool:
        return argparse.BooleanOptionalAction
    return "append" if option.several else "store"


def given_options(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the options given, by flag or by ``--option``, as the texts they were given as."""
    found = {
        name.removeprefix(_PREFIX): [as_text(one) for one in value]
        if isinstance(value, list)
        else [as_text(value)]
        for name, value in vars(arguments).items()
        if name.startswith(_PREFIX)
    }
    for key, text in arguments.option:
        found.setdefault(key.replace("-", "_"), []).append(text)
    return found


def parse_options(method: Method, given: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return the options as the method's own types, without its defaults.

    Raises
    ------
    InvalidArgument
        ``UNKNOWN_OPTION`` or ``OPTION_OUT_OF_RANGE``, with every bad option named.
    """
    from onnxplain.graph_rewrites import InvalidArgument, Violation

    known = {option.name: option for option in method.options}
    values: dict[str, Any] = {name: texts for name, texts in given.items() if name not in known}
    violations = []
    for name, texts in given.items():
        try:
            if name in known:
                parsed = [_parsed(known[name], text) for text in texts]
                values[name] = parsed if known[name].several and len(parsed) > 1 else parsed[-1]
        except ValueError as error:
            violations.append(Violation(name, f"option {name}: {error}"))
    reason = "OPTION_OUT_OF_RANGE"
    try:
        method.resolve(values)
    except InvalidArgument as error:
        reason, violations = error.reason, [*error.violations, *violations]
    if violations:
        message = "; ".join(violation.description for violation in violations)
        raise InvalidArgument(reason, message, violations=violations)
    return values


def _parsed(option: Option, text: str) -> Any:
    if option.type is np.ndarray:
        return _label_map(text)
    return _array(text) if option.arrays and text.lower().endswith(".npy") else option.parse(text)


def _array(path: str) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as .npy: {error}") from None


def _label_map(path: str) -> np.ndarray[Any, Any]:
    """Read the numbers of the pixels from a .npy file, or a picture of one colour for each."""
    if path.lower().endswith(".npy"):
        return _array(path)
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as .npy or picture: {error}") from None
    if pixels.ndim == 2:
        return pixels.astype(np.int64)
    return pixels.astype(np.int64) @ 256 ** np.arange(pixels.shape[2])


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def as_text(value: object) -> str:
    """Return an option's value as the command line spells it."""
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)
