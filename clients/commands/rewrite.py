"""``onnxplain rewrite``: a method as an ONNX file of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .environment import Environment, ExitCode
from .method_options import (
    add_method_arguments,
    declared_methods,
    given_options,
    parse_options,
)
from .model_arguments import add_score_output

if TYPE_CHECKING:
    import onnx

__all__ = ["add_arguments", "run"]

_LARGEST_FILE = (1 << 31) - 1  # bytes that ONNX files can have, weights beside them apart


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.usage = "%(prog)s MODEL.onnx -o OUT.onnx [--method NAME] [option ...]"
    parser.add_argument("model", metavar="MODEL.onnx", help="the model file")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT.onnx", type=Path, help="the file to write"
    )
    add_score_output(parser)
    parser.add_argument(
        "--target-kind",
        choices=("index", "weights"),
        default="index",
        help="index: its new input target is a class for each image; weights: its new input "
        "target_weights weighs all classes (default: %(default)s)",
    )
    in_graph = [method for method in declared_methods() if method.in_graph]
    add_method_arguments(parser, in_graph)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, environment: Environment) -> ExitCode:
    """Write the rewritten model and print its inputs and outputs."""
    from onnxplain.graph_rewrites import get_method, rewrite

    method = get_method(arguments.method)
    options = parse_options(method, given_options(arguments))
    rewritten = rewrite(
        arguments.model,
        method.name,
        target_kind=arguments.target_kind,
        output=arguments.score_output,
        **options,
    )
    tensors = [
        *(_as_dict("input", value) for value in rewritten.graph.input),
        *(_as_dict("output", value) for value in rewritten.graph.output),
    ]
    weights = _save(rewritten, arguments.output)
    if arguments.json:
        summary = {"file": str(arguments.output), "method": method.name, "tensors": tensors}
        environment.print_json(summary)
    else:
        rows = [
            (tensor["kind"], tensor["name"], tensor["dtype"], _shape(tensor["shape"]))
            for tensor in tensors
        ]
        environment.print_table(("", "name", "type", "shape"), rows)
        environment.say(f"wrote {arguments.output}: {len(rewritten.graph.node)} nodes")
        if weights is not None:
            environment.say(f"wrote {weights}: its weights, to be kept beside it")
    return ExitCode.OK


def _save(model: onnx.ModelProto, path: Path) -> Path | None:
    """Write the model, and return the file of its weights if it is too large to hold them."""
    import onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    if model.ByteSize() <= _LARGEST_FILE:
        onnx.save_model(model, path)
        return None
    weights = path.with_name(f"{path.name}.data")
    weights.unlink(missing_ok=True)  # onnx would append to it
    onnx.save_model(model, path, save_as_external_data=True, location=weights.name)
    return weights


def _as_dict(kind: str, value: Any) -> dict[str, Any]:
    import onnx

    tensor = value.type.tensor_type
    return {
        "kind": kind,
        "name": value.name,
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
        "shape": [axis.dim_value or axis.dim_param or None for axis in tensor.shape.dim],
    }


def _shape(shape: list[int | str | None]) -> str:
    return f"[{', '.join('any' if axis is None else str(axis) for axis in shape)}]"
