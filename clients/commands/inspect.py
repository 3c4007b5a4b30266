"""``onnxplain inspect``: what a model file holds and which methods apply to it."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .environment import Environment, ExitCode
from .model_arguments import MODEL_HELP, add_model_arguments, load_model

if TYPE_CHECKING:
    from onnxplain.explainers import Applicability, Model, TensorInfo
    from onnxplain.graph_rewrites import Violation

__all__ = ["add_arguments", "run"]

_WIDTH = 100
_SHOWN_NODES = 5
_SHOWN_FOLDS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.add_argument("model", metavar="MODEL.onnx", help=MODEL_HELP)
    add_model_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, environment: Environment) -> ExitCode:
    """Print what the model is and, for every method, whether it applies."""
    model = load_model(arguments)
    if arguments.json:
        environment.print_json(_as_dict(model))
        return ExitCode.OK
    facts = [
        ("model", model.name),
        ("sha256", model.sha256),
        ("exporter", model.exporter or "unknown"),
        ("opset", model.opset),
        *((f"input {info.name}", _type(info)) for info in model.inputs),
        *((f"output {info.name}", _type(info)) for info in model.outputs),
        ("layout", model.interface.layout),
        ("score", _score(model)),
        ("classes", _classes(model)),
        ("preprocessing", _preprocessing(model)),
        ("feature layer", model.feature_layer or "none"),
        ("runs on", f"{model.provider}, {model.threads} threads"),
    ]
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        environment.print(f"{name:<{width}}  {value}")
    for line in _folded(model):
        environment.print(line)
    for line in _methods(model.applicability()):
        environment.print(line)
    return ExitCode.OK


def _folded(model: Model) -> Iterator[str]:
    """Yield lines: which nodes are part of others to methods of relevance."""
    if not any(model.folded.values()):
        return
    yield ""
    yield "folded for relevance propagation:"
    for pattern, found in model.folded.items():
        if found:
            shown = ", ".join(f"{one.node} into {one.into}" for one in found[:_SHOWN_FOLDS])
            more = f" and {len(found) - _SHOWN_FOLDS} more" if len(found) > _SHOWN_FOLDS else ""
            yield from _wrapped(f"{pattern.replace('_', ' ')}: {shown}{more}")


def _type(info: TensorInfo) -> str:
    sizes = ", ".join("any" if size < 0 else str(size) for size in info.shape)
    return f"{info.datatype} [{sizes}]"


def _score(model: Model) -> str:
    """Say which output holds the scores and what they are."""
    found = model.interface
    if found.activation == "none":
        return f"{found.scores}: logits, no softmax or sigmoid follows"
    logits = found.logits or "a tensor without a name"
    return f"{found.scores}: {found.activation} of the logits {logits}"


def _classes(model: Model) -> str:
    if not model.labels:
        return f"{model.n_classes}, without labels"
    return f"{model.n_classes}: {', '.join(model.labels[:3])}{', ...' * (len(model.labels) > 3)}"


def _preprocessing(model: Model) -> str:
    if model.preprocessing is None:
        return "unknown: give --preprocessing"
    known = model.preprocessing.to_dict()
    known.pop("labels", None)
    words = ", ".join(f"{name} {_brief(value)}" for name, value in known.items())
    return f"from {model.preprocessing_source}: {words}"


def _brief(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(_brief(one) for one in value.values())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_brief, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _methods(found: Iterable[Applicability]) -> Iterator[str]:
    """Yield lines: the methods that apply, then the others by what is in their way."""
    groups: dict[object, list[Applicability]] = {}
    for one in found:
        nodes = tuple(node.subject for node in one.nodes)
        groups.setdefault("" if one.applies else nodes or one.reason, []).append(one)
    applying = groups.pop("", [])
    yield ""
    yield f"{len(applying)} methods apply:"
    yield from _names(applying)
    for group in groups.values():
        yield ""
        yield f"{len(group)} do not:" if len(group) > 1 else "1 does not:"
        yield from _names(group)
        if len(group[0].nodes) > 1:
            yield from _nodes(group[0].nodes)
        else:
            yield from _wrapped(group[0].reason)


def _names(group: Iterable[Applicability]) -> list[str]:
    return _wrapped(", ".join(one.method for one in group), hanging="")


def _nodes(nodes: Iterable[Violation]) -> Iterator[str]:
    """Yield what is in the way, each kind with the first of its nodes, for all rules alike."""
    kinds: dict[str, list[str]] = {}
    for node in nodes:
        kind = re.sub(r"^no \w+ rule for ", "no rule for ", node.description)
        kinds.setdefault(kind, []).append(node.subject)
    for kind, names in kinds.items():
        more = f" and {len(names) - _SHOWN_NODES} more" if len(names) > _SHOWN_NODES else ""
        yield from _wrapped(f"{kind}: {', '.join(names[:_SHOWN_NODES])}{more}")


def _wrapped(text: str, hanging: str = "  ") -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent="  ",
        subsequent_indent=f"  {hanging}",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _as_dict(model: Model) -> dict[str, Any]:
    def tensors(infos: Sequence[TensorInfo]) -> list[dict[str, Any]]:
        return [
            {"name": info.name, "datatype": info.datatype, "shape": list(info.shape)}
            for info in infos
        ]

    return {
        "name": model.name,
        "sha256": model.sha256,
        "opset": model.opset,
        "exporter": model.exporter,
        "inputs": tensors(model.inputs),
        "outputs": tensors(model.outputs),
        "layout": model.interface.layout,
        "score_output": model.interface.scores,
        "activation": model.interface.activation,
        "logits": model.interface.logits,
        "n_classes": model.n_classes,
        "labels": list(model.labels) if model.labels else None,
        "preprocessing": model.preprocessing.to_dict() if model.preprocessing else None,
        "preprocessing_source": model.preprocessing_source or None,
        "feature_layer": model.feature_layer,
        "folded": {
            pattern: [{"node": one.node, "into": one.into} for one in found]
            for pattern, found in model.folded.items()
        },
        "provider": model.provider,
        "threads": model.threads,
        "methods": [
            {
                "method": found.method,
                "applies": found.applies,
                "reason": found.reason,
                "nodes": [
                    {"node": node.subject, "description": node.description} for node in found.nodes
                ],
            }
            for found in model.applicability()
        ],
    }
