"""``rewrite``: a model goes in, the same model with explanation outputs comes out."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from .canonise import canonise
from .errors import InvalidArgument, Violation
from .loading import PROVENANCE_KEY, ModelSource, read_model
from .method import Method, get_method
from .naming import free_name, name_what_is_new
from .option import in_words, one_by_one
from .rewriting import Maps, Rewriting, TargetKind
from .training import training_notices

__all__ = ["rewrite", "rewrite_canonical"]

_TRACE = re.compile(r"(^|[\s\"'=])(/|[A-Za-z]:\\)\w+")


def rewrite(
    model: ModelSource,
    method: str,
    *,
    target_kind: TargetKind = "index",
    output: str | None = None,
    **options: Any,
) -> onnx.ModelProto:
    """Return ``model`` with the explanation by ``method`` as additional outputs.

    Pure and deterministic; the result needs nothing of this library to run.

    Parameters
    ----------
    model
        Path of an ONNX file, its bytes, or a ModelProto. Of a rewritten model, its original part.
    method
        A method that one graph can express: see `list_methods`, ``in_graph``.
    target_kind
        ``index``: a new input ``target``, int64 ``[N]``, names one class per image. ``weights``: a
        new input ``target_weights``, float32 ``[N, classes]``, weighs the classes.
    output
        Name of the output that holds the scores; by default the first that can.
    **options
        The method's options.

    Returns
    -------
    onnx.ModelProto
        Outputs: the model's own, then ``attribution`` ``[N, *input]`` (where the method has one),
        ``heatmap`` ``[N, H, W]``, ``native_heatmap`` ``[N, h, w]`` (CAM). A name the model already
        uses gets the prefix ``onnxplain_``. Standard operators only.

    Raises
    ------
    InvalidArgument
        Unknown method or option, or a method that is not one graph.
    FailedPrecondition
        The model is refused by `read_model`, or the method does not apply to it; the violations
        name the nodes.
    """
    declared = get_method(method)
    resolved = declared.resolve(options)
    options, *others = one_by_one(resolved)
    if others:
        message = "a rewritten graph takes one layer: rewrite the model once for each"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("layer", message)]
        )
    canonical = canonise(read_model(model))
    return rewrite_canonical(canonical, declared, options, target_kind=target_kind, output=output)


def rewrite_canonical(
    canonical: onnx.ModelProto,
    method: Method,
    options: Mapping[str, Any],
    *,
    target_kind: TargetKind = "index",
    output: str | None = None,
) -> onnx.ModelProto:
    """As `rewrite`, for a model that `canonise` returned and options that are resolved."""
    if not method.in_graph:
        raise InvalidArgument(
            "METHOD_NOT_IN_GRAPH",
            f"{method.name} drives the model through many passes and is no single graph; run it "
            "with explain instead",
            violations=[Violation("method", f"{method.name} cannot be exported")],
        )
    model = ir.from_proto(canonical)
    passes.ClearMetadataAndDocStringPass()(model)
    own_nodes, own_constants = set(model.graph), set(model.graph.initializers.values())
    own_interface = {
        "inputs": [value.name for value in model.graph.inputs],
        "outputs": [value.name for value in model.graph.outputs],
    }
    rewriting = Rewriting(model.graph, target_kind, output)
    rewriting.notices += training_notices(canonical)
    maps: Maps = method.run(rewriting, **options)
    added = _add_outputs(rewriting, maps)
    passes.RemoveUnusedNodesPass()(model)
    name_what_is_new(model.graph, own_nodes, own_constants)
    for key, text in list(model.metadata_props.items()):
        if _TRACE.search(text) or key.startswith("pkg."):
            del model.metadata_props[key]
    model.metadata_props[PROVENANCE_KEY] = json.dumps(
        {
            "version": importlib.metadata.version("onnxplain"),
            "method": method.name,
            "options": {name: in_words(value) for name, value in options.items()},
            "layer": rewriting.layer,
            "image": rewriting.anatomy.image.name,
            "score_output": rewriting.anatomy.output.name,
            "target": rewriting.target.name,
            "given": {role: value.name for role, value in rewriting.given.items()},
            "warnings": rewriting.notices,
            "names": rewriting.names,
            "added": added,
            **own_interface,
        },
        sort_keys=True,
    )
    model.producer_name, model.producer_version = (
        "onnxplain",
        importlib.metadata.version("onnxplain"),
    )
    return ir.to_proto(model)


def _add_outputs(rewriting: Rewriting, maps: Maps) -> dict[str, str]:
    """Make the maps graph outputs; return the output's name by the map's."""
    graph, image = rewriting.graph, rewriting.anatomy.image
    sizes = [image.shape[axis] for axis in (0, *rewriting.anatomy.spatial_axes)]  # type: ignore[index]
    shapes = {
        "attribution": image.shape,
        "heatmap": ir.Shape(sizes),
        "residual": ir.Shape(sizes[:1]),
        "intercept": ir.Shape(sizes[:1]),
    }
    added = {}
    for field in fields(Maps):
        value = getattr(maps, field.name)
        if value is None:
            continue
        named: ir.Value = rewriting.op.Identity(value)
        named.name = added[field.name] = free_name(graph, field.name)
        named.type = ir.TensorType(ir.DataType.FLOAT)
        native = None if value.shape is None else ir.Shape([sizes[0], *value.shape[1:]])
        named.shape = shapes.get(field.name, native)
        graph.outputs.append(named)
    passes.IdentityEliminationPass()(ir.Model(graph, ir_version=10))
    return added
