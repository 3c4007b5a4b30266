"""Write what the docs say of methods and operators: ``python docs/generate.py``.

The tables come from the declared methods and the registered rules; a test compares.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path

import onnx.defs
import onnx_ir as ir
from onnxplain.graph_rewrites import Access, Method, Option, RuleTable, list_methods
from onnxplain.graph_rewrites.canonise import OPSET
from onnxplain.graph_rewrites.rules import gradient, rectifiers
from onnxplain.graph_rewrites.rules.relevance import Propagation, relevance_table

__all__ = ["pages"]

ROOT = Path(__file__).parent.parent
COMMAND = "python docs/generate.py"
BEGIN, END = f"<!-- {COMMAND}: begin -->", "<!-- end -->"

_NEEDS = {
    Access.FORWARD: "forward passes only: any model",
    Access.FEATURES: "a convolutional feature map",
    Access.GRADIENT: "a rule for every operator on the way to the input",
}


def pages() -> dict[Path, str]:
    """Return every generated file's text by its path."""
    importlib.import_module("onnxplain.explainers")  # declares the methods of many passes
    readme = ROOT / "README.md"
    return {
        readme: _between(readme.read_text("utf-8"), _summary(list_methods())),
        ROOT / "docs/methods.md": _methods_page(list_methods()),
        ROOT / "docs/operators.md": _operators_page(),
    }


def _between(text: str, table: str) -> str:
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _summary(methods: Iterable[Method]) -> str:
    rows = (
        (f"`{one.name}`", one.summary, one.paper, "yes" if one.in_graph else "no")
        for one in methods
    )
    return _table(("method", "what it is", "paper", "one ONNX graph"), rows)


def _methods_page(methods: Iterable[Method]) -> str:
    parts = [
        "# Methods",
        f"Written by `{COMMAND}` from the methods' declarations. `f_c` is the score of the class "
        "explained, `x` the model's input, `A^k` channel k of the feature map, `g` its gradient.",
    ]
    for method in methods:
        returns = ", ".join(f"`{name}`" for name in method.returns)
        graph = (
            "One ONNX graph: `onnxplain rewrite` writes it."
            if method.in_graph
            else "Many forward passes or work outside the graph: `rewrite` refuses it."
        )
        parts += [
            f"## {method.title}: `{method.name}`",
            f"{_code(method.summary)} {method.paper}.",
            f"Needs {_NEEDS[method.access]}. Returns {returns}. {graph}",
        ]
        if method.options:
            rows = (_option_row(option) for option in method.options)
            parts.append(_table(("option", "values", "default", "what it means"), rows))
    return "\n\n".join(parts) + "\n"


def _code(summary: str) -> str:
    """Set the formula at the end of a summary, from the colon on, as code."""
    words, colon, formula = summary.removesuffix(".").partition(": ")
    return f"{words}: `{formula}`." if colon and set(formula) & set("=_|") else summary


def _option_row(option: Option) -> tuple[str, str, str, str]:
    default = "unset" if option.default is None else str(option.default)
    return (
        f"`{option.name}`",
        _values(option),
        default.lower() if option.type is bool else default,
        option.help,
    )


def _values(option: Option) -> str:
    if option.choices:
        return (
            ", ".join(f"`{choice}`" for choice in option.choices)
            + ", `#rrggbb`" * option.colours
            + ", array" * option.arrays
        )
    low, high = option.minimum, option.maximum
    if low is not None and high is not None:
        bounds = f" from {low:g} to {high:g}"
    elif low is not None:
        bounds = f" from {low:g}"
    else:
        bounds = "" if high is None else f" to {high:g}"
    return {bool: "true, false", int: "integer", float: "number", str: "text"}.get(
        option.type, "label map"
    ) + bounds


def _operators_page() -> str:
    parts = [
        "# Operators",
        f"Written by `{COMMAND}` from the rule tables. A model is first brought into one form "
        "(functions inlined, quantisation decoded, onnxruntime's fused operators taken apart, "
        f"constants folded, opset {OPSET} or newer), so "
        "these are all operators a backward pass can meet; below the feature layer methods of the "
        "CAM family need no rule at all, and black-box methods need none anywhere. A model with "
        "others is refused by name, all of them at once.",
        f"## The gradient: {len(gradient.op_types())} operators",
        _table(("rules", "operators"), _by_module(gradient)),
        "## Nothing flows back through these",
        _names(name for name in _standard_names() if gradient.is_constant(_node(name))),
        "## Rectifiers with rules of their own",
        "All other operators keep their gradient.",
        _table(("table", "operators"), map(_overlay_row, _OVERLAYS)),
        f"## Relevance propagation: {len(_RELEVANCE.op_types())} operators",
        "Of `lrp`, `deep_taylor` and `excitation_backprop`.",
        _names(_RELEVANCE.op_types()),
    ]
    return "\n\n".join(parts) + "\n"


_RELEVANCE = relevance_table(Propagation({}, ir.Value(name="image")))
_OVERLAYS = (rectifiers.deconvnet, rectifiers.guided_backprop)


def _overlay_row(table: RuleTable) -> tuple[str, str]:
    own = (name for name in table.op_types() if _rule_of(table, name) != _rule_of(gradient, name))
    return f"`{table.name}`", _names(own)


def _by_module(table: RuleTable) -> list[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for name in table.op_types():
        module = inspect.getmodule(_rule_of(table, name))
        groups.setdefault(module.__name__.rpartition(".")[2] if module else "", []).append(name)
    return [
        (f"[{group}](../graph_rewrites/rules/{group}.py)", _names(names))
        for group, names in sorted(groups.items())
    ]


def _rule_of(table: RuleTable, name: str) -> object:
    found = table.find(_node(name), 1000)
    return found.rule if found else None


def _node(op_type: str) -> ir.Node:
    return ir.Node("", op_type, inputs=[])


def _standard_names() -> set[str]:
    return {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
