"""What a method's function works with: a graph and its parts, and backward passes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from .anatomy import Anatomy, read_anatomy
from .builder import Builder, dims
from .engine import RuleTable, backward
from .errors import InvalidArgument, Violation
from .features import Features, find_features
from .naming import free_name
from .patterns import merge_affine

__all__ = ["Maps", "Rewriting", "TargetKind"]

TargetKind = Literal["index", "weights"]
_ZERO_ONE = np.array([0, 1], np.float32)


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
    given
        Further inputs of the graph by their role: ``low``, ``high``, ``baseline``.
    """

    def __init__(self, graph: ir.Graph, target_kind: TargetKind, output: str | None = None) -> None:
        self.graph = graph
        self.anatomy: Anatomy = read_anatomy(graph, output)
        self.op = Builder(graph)
        self.layer: str | None = None
        self.notices: list[tuple[str, str]] = []
        self.given: dict[str, ir.Value] = {}
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
                "CONTRAST_UNSUPPORTED", message, violations=[Violation("target", message)]
            )

    def bounds(self) -> tuple[ir.Value, ir.Value]:
        """Return new inputs ``low`` and ``high``, one number for each channel of the image."""
        axis = self.anatomy.channel_axis
        sizes: list[Any] = [1, 1, 1, 1]
        sizes[axis] = dims(self.anatomy.image)[axis]
        return self._given("low", sizes), self._given("high", sizes)

    def baseline(self) -> ir.Value:
        """Return the new input ``baseline``, what stands for nothing to be seen, as the pixels.

        It is ``[N, *input]`` or one for all, ``[1, *input]``, in the units of the image.
        """
        image, pixels = self.anatomy.image, self.anatomy.pixels
        sizes = [ir.SymbolicDim("baselines"), *(image.shape or ())[1:]]
        value = self._given("baseline", sizes)
        found = self.op.Expand(self.op.CastLike(value, pixels), self.op.Shape(pixels))
        found.shape = pixels.shape  # shape inference does not tell what a shape is computed from
        return found

    def _given(self, role: str, sizes: Sequence[Any]) -> ir.Value:
        """Return the new input of a role, made once."""
        if role not in self.given:
            value = ir.Value(
                name=free_name(self.graph, role),
                shape=ir.Shape(sizes),
                type=ir.TensorType(ir.DataType.FLOAT),
            )
            self.graph.inputs.append(value)
            self.given[role] = value
        return self.given[role]

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
        """Walk from the score of the target back to ``wrt`` by ``rules``.

        On the way to the image, where no layer is asked for, normalisations first become part of
        the layers before them, as runtimes do: the way back is then shorter too.
        """
        if wrt is self.anatomy.pixels and self.layer is None:
            merge_affine(self.graph)
        value = self._score(score)
        self.tell_rounding()
        start = self.op.reshape_like(self.op.CastLike(self.weights, value), value)
        return backward(self.op, rules, {value: start}, [wrt])[0]

    def tell_rounding(self) -> None:
        """Warn of a quantised model."""
        if any(node.op_type == "QuantizeLinear" for node in self.graph):
            self.warn(
                "STRAIGHT_THROUGH",
                "the model is quantised: rounding has no derivative, and is passed as if it did "
                "not round",
            )

    def _score(self, score: str) -> ir.Value:
        anatomy, op = self.anatomy, self.op
        if score == "logit":
            return anatomy.logits
        flat = op.Reshape(anatomy.logits, [-1, anatomy.n_classes])
        sigmoid = anatomy.activation == "sigmoid" or anatomy.n_classes == 1
        return op.Sigmoid(flat) if sigmoid else op.Softmax(flat, axis=1)

    def score(self, kind: Literal["logit", "probability"] = "logit") -> ir.Value:
        """Return the score of the target, ``[N]``."""
        return self.of_target(self._score(kind))

    def of_target(self, scores: ir.Value) -> ir.Value:
        """Return the target's share of the scores of all classes, however shaped: ``[N]``."""
        op = self.op
        classes = op.Reshape(scores, [-1, self.anatomy.n_classes])
        return op.ReduceSum(op.Mul(classes, op.CastLike(self.weights, classes)), [1], keepdims=0)

    def total(self, value: ir.Value) -> ir.Value:
        """Return the sum of each row of ``value``, ``[N]``."""
        return self.op.ReduceSum(self.op.Flatten(value, axis=1), [1], keepdims=0)

    def reduce_channels(
        self, attribution: ir.Value, reduction: str, channel_axis: int | None = None
    ) -> ir.Value:
        """Return ``[N, H, W]`` from an attribution; its channels by default lie as the image's."""
        op, axis = self.op, [self.anatomy.channel_axis if channel_axis is None else channel_axis]
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
