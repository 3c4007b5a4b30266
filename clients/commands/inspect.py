"""``onnxplain inspect``: what a model file holds and which methods apply to it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .environment import Environment, ExitCode
from .model_arguments import add_model_arguments, load_model

if TYPE_CHECKING:
    from onnxplain.explainers import Model, TensorInfo

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.add_argument("model", metavar="MODEL.onnx", help="the model file")
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
        ("opset", model.opset),
        ("exporter", model.exporter or "unknown"),
        *((f"input {info.name}", _type(info)) for info in model.inputs),
        *((f"output {info.name}", _type(info)) for info in model.outputs),
        ("classes", _classes(model)),
        ("preprocessing", "known" if model.preprocessing else "unknown: give --preprocessing"),
        ("feature layer", model.feature_layer or "none"),
        ("runs on", f"{model.provider}, {model.threads} threads"),
    ]
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        environment.print(f"{name:<{width}}  {value}")
    environment.print("")
    rows = [
        (found.method, "yes" if found.applies else "no", found.reason)
        for found in model.applicability()
    ]
    environment.print_table(("method", "applies", "why not"), rows)
    return ExitCode.OK


def _type(info: TensorInfo) -> str:
    sizes = ", ".join("any" if size < 0 else str(size) for size in info.shape)
    return f"{info.datatype} [{sizes}]"


def _classes(model: Model) -> str:
    if not model.labels:
        return f"{model.n_classes}, without labels"
    return f"{model.n_classes}: {', '.join(model.labels[:3])}{', ...' * (len(model.labels) > 3)}"


def _as_dict(model: Model) -> dict[str, Any]:
    def tensors(infos: tuple[TensorInfo, ...]) -> list[dict[str, Any]]:
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
        "n_classes": model.n_classes,
        "labels": list(model.labels) if model.labels else None,
        "preprocessing": model.preprocessing.to_dict() if model.preprocessing else None,
        "feature_layer": model.feature_layer,
        "provider": model.provider,
        "threads": model.threads,
        "methods": [
            {"method": found.method, "applies": found.applies, "reason": found.reason}
            for found in model.applicability()
        ],
    }
