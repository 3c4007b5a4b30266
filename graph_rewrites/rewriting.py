"""``rewrite``: a model goes in, the same model with explanation outputs comes out."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from .anatomy import Anatomy, read_anatomy
from .builder import Builder, dims
from .canonise import canonise
from .engine import RuleTable, backward
from .errors import InvalidArgument, Violation
from .features import Features, find_features
from .loading import PROVENANCE_KEY, ModelSource, read_model
from .method import Method, get_method
from .naming import free_name, name_what_is_new

__all__ = ["Maps", "Rewriting", "TargetKind", "rewrite", "rewrite_canonical"]

TargetKind = Literal["index", "weights"]
_ZERO_ONE = np.array([0, 1], np.float32)
_TRACE = re.compile(r"(^|[\s\"'=])(/|[A-Za-z]:\\)\w+")


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What a method adds to the graph.

    ``attribution`` has the image's shape, ``heatmap`` is ``[N, H, W]``, ``native_heatmap``
    ``[N, h, w]`` before upsampling, ``residual`` and ``intercept`` ``[N]``. ``profile`` and
    ``amplification`` are rows of numbers ``[N, k]``, see `Rewriting.named_numbers`.
    """

    attribution: ir.Value | None = None
    heatmap: ir.Value
    native_heatmap: ir.Value | None = None
    residual: ir.Value | None = None
    intercept: ir.Value | None = None
    profile: ir.Value | None = None
    amplification: ir.Value | None = None


class Rewriting:
    """What a method's function works with: the graph, its parts, and backward passes through it.

    Attributes
    ----------
    op
        Emits nodes: ``rewriting.op.Relu(x)``.
    anatomy
        The classifier's image, score and classes.
    weights
        ``[N, classes]`` float: how much each class counts in the score explained; one-hot for a
        target class.
    """

    def __init__(self, graph: ir.Graph, target_kind: TargetKind, output: str | None = None) -> None:
        self.graph = graph
        self.anatomy: Anatomy = read_anatomy(graph, output)
        self.op = Builder(graph)
        self.layer: str | None = None
        self.notices: list[tuple[str, str]] = []
        self.bound_inputs: tuple[ir.Value, ir.Value] | None = None
        self.names: dict[str, list[str]] = {}
        self._target_kind = target_kind
        self.target = self._target(target_kind)
        self.weights = self._weights(target_kind)

    def _target(self, kind: TargetKind) -> ir.Value:
        image = self.anatomy.image
        batch = image.shape[0] if image.shape is not None else ir.SymbolicDim("batch")
        weights = kind == "weights"
        value = ir.Value(
            name=free_name(self.graph, "target_weights" if weights else "target"),
            shape=ir.Shape([batch, self.anatomy.n_classes] if weights else [batch]),
            type=ir.TensorType(ir.DataType.FLOAT if weights else ir.DataType.INT64),
        )
        self.graph.inputs.append(value)
        return value

    def _weights(self, kind: TargetKind) -> ir.Value:
        if kind == "weights":
            return self.target
        values = self.op.constant(_ZERO_ONE)
        return self.op.OneHot(self.target, self.anatomy.n_classes, values)

    def warn(self, code: str, message: str) -> None:
        """Leave word for who reads the explanation; ``code`` is ``UPPER_SNAKE``."""
        if (code, message) not in self.notices:
            self.notices.append((code, message))

    def refuse_contrast(self, method: str) -> None:
        """Raise ``CONTRAST_UNSUPPORTED`` where the target weighs classes instead of naming one."""
        if self._target_kind == "weights":
            message = f"{method} explains one class: it has no meaning for a weighing of classes"
            raise InvalidArgument(
                "CONTRAST_UNSUPPORTED", message, violations=[Violation("target_kind", message)]
            )

    def bounds(self) -> tuple[ir.Value, ir.Value]:
        """Return new inputs ``low`` and ``high``, one number for each channel of the image."""
        if self.bound_inputs is None:
            channels = dims(self.anatomy.image)[self.anatomy.channel_axis]
            sizes: list[int | None] = [1, 1, 1, 1]
            sizes[self.anatomy.channel_axis] = channels
            low, high = (
                ir.Value(
                    name=free_name(self.graph, name),
                    shape=ir.Shape(sizes),
                    type=ir.TensorType(ir.DataType.FLOAT),
                )
                for name in ("low", "high")
            )
            self.graph.inputs.extend([low, high])
            self.bound_inputs = (low, high)
        return self.bound_inputs

    def features(self, layer: str | None) -> Features:
        """Return the feature map called ``layer``, or the one found in the graph."""
        features = find_features(self.graph, self.anatomy, layer)
        self.layer = features.value.name
        return features

    def named_numbers(
        self, key: str, names: Sequence[str | None], numbers: Sequence[ir.Value]
    ) -> ir.Value:
        """Return numbers ``[N]`` side by side, ``[N, k]``; what they are called is noted."""
        self.names[key] = [name or "" for name in names]
        return self.op.Concat(*[self.op.Unsqueeze(value, [1]) for value in numbers], axis=1)

    def backward(
        self, rules: RuleTable, wrt: ir.Value, score: Literal["logit", "probability"] = "logit"
    ) -> ir.Value:
        """Walk from the score of the target back to ``wrt`` by ``rules``."""
        value = self._score(score)
        if any(node.op_type == "QuantizeLinear" for node in self.graph):
            self.warn(
                "STRAIGHT_THROUGH",
                "the model is quantised: rounding has no derivative and passes gradients on as if "
                "it did not round",
            )
        start = self.op.reshape_like(self.op.CastLike(self.weights, value), value)
        return backward(self.op, rules, {value: start}, [wrt])[0]

    def _score(self, score: str) -> ir.Value:
        anatomy, op = self.anatomy, self.op
        if score == "logit":
            return anatomy.logits
        flat = op.Reshape(anatomy.logits, [-1, anatomy.n_classes])
        sigmoid = anatomy.activation == "sigmoid" or anatomy.n_classes == 1
        return op.Sigmoid(flat) if sigmoid else op.Softmax(flat, axis=1)

    def score(self, kind: Literal["logit", "probability"] = "logit") -> ir.Value:
        """Return the score of the target, ``[N]``."""
        op = self.op
        classes = op.Reshape(self._score(kind), [-1, self.anatomy.n_classes])
        return op.ReduceSum(op.Mul(classes, op.CastLike(self.weights, classes)), [1], keepdims=0)

    def reduce_channels(self, attribution: ir.Value, reduction: str) -> ir.Value:
        """Return ``[N, H, W]`` from an attribution of the image's shape."""
        op, axis = self.op, [self.anatomy.channel_axis]
        if reduction == "sum":
            return op.ReduceSum(attribution, axis, keepdims=0)
        if reduction == "l2":
            return op.ReduceL2(attribution, axis, keepdims=0)
        return op.ReduceMax(op.Abs(attribution), axis, keepdims=0)

    def upsample(self, native: ir.Value) -> ir.Value:
        """Return ``[N, h, w]`` resized bilinearly, with half-pixel centres, to ``[N, H, W]``."""
        op, image = self.op, self.anatomy.image
        axes = list(self.anatomy.spatial_axes)
        known = [dims(image)[axis] for axis in axes]
        sizes = op.Gather(op.Shape(image), axes) if None in known else known
        maps = op.Unsqueeze(native, [1])
        return op.Squeeze(op.Resize(maps, None, None, sizes, mode="linear", axes=[2, 3]), [1])


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
    canonical = canonise(read_model(model))
    return rewrite_canonical(canonical, declared, resolved, target_kind=target_kind, output=output)


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
            "options": dict(options),
            "layer": rewriting.layer,
            "image": rewriting.anatomy.image.name,
            "score_output": rewriting.anatomy.output.name,
            "target": rewriting.target.name,
            "bounds": [value.name for value in rewriting.bound_inputs or ()],
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
