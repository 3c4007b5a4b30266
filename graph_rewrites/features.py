"""The feature map of the CAM family: where it is, and what lies between it and the score."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from .anatomy import Anatomy, read_anatomy
from .builder import attribute, constant_array, constant_ints, dims, rank
from .engine import label
from .errors import FailedPrecondition, InvalidArgument, Violation, nearest
from .paths import nodes_between
from .rules import gradient

__all__ = ["Features", "Head", "bottlenecks", "feature_layer", "find_features", "read_head"]

_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool")
_RESHAPING = ("Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
_ROUNDING = ("DequantizeLinear", "QuantizeLinear")
_RECTIFIERS = ("Clip", "LeakyRelu", "PRelu", "Relu")


@dataclass(frozen=True)
class Features:
    """A feature map: ``value`` is ``[N, K, h, w]``, or has its channels at ``channel_axis``."""

    value: ir.Value
    channel_axis: int = 1

    @property
    def spatial_axes(self) -> tuple[int, int]:
        """The height and width axes."""
        first, second = (axis for axis in (1, 2, 3) if axis != self.channel_axis)
        return first, second


@dataclass(frozen=True)
class Head:
    """What turns features into scores by global average pooling and one linear layer.

    Either ``weight`` ``[classes, K]`` of the linear layer after the pool (with ``transposed``,
    ``[K, classes]``), or ``class_maps`` ``[N, classes, h, w]`` that are pooled into the scores.
    """

    weight: ir.Value | None = None
    transposed: bool = False
    class_maps: ir.Value | None = None


def find_features(graph: ir.Graph, anatomy: Anatomy, layer: str | None = None) -> Features:
    """Find the feature map: the last spatial tensor on every path to the score.

    Parameters
    ----------
    graph, anatomy
        A canonical graph and its parts.
    layer
        Name of a tensor to take instead.

    Raises
    ------
    InvalidArgument
        ``UNKNOWN_LAYER`` when ``layer`` is no rank-4 tensor between image and score.
    FailedPrecondition
        ``NO_FEATURE_LAYER`` when the model has no convolutional feature map.
    """
    nodes = nodes_between([anatomy.image], [anatomy.logits], gradient.is_constant)
    if layer is not None:
        return _named(nodes, layer)
    passed_linear = False
    class_maps: Features | None = None
    for value in reversed(bottlenecks(nodes, anatomy)):
        node = value.producer()
        if node is None:
            break
        features, node = Features(value, _channel_axis(value)), _before_rounding(node)
        if _is_spatial(features) and node.op_type not in (*_POOLS, *_RESHAPING, "Transpose"):
            classes = dims(value)[features.channel_axis] == anatomy.n_classes
            if passed_linear or not classes or not _is_class_maps(node):
                if not _has_convolution_before(nodes, node):
                    break
                return features
            class_maps = class_maps or features
        passed_linear = passed_linear or (
            node.op_type in ("Conv", "Gemm", "MatMul") and not _is_spatial(features)
        )
    if class_maps is not None:  # the only convolution makes them
        return class_maps
    raise FailedPrecondition(
        "NO_FEATURE_LAYER",
        "the model has no convolutional feature map on every path to its score; use a method that "
        "needs none, such as saliency or lime, or name a tensor with the option layer",
        violations=[Violation("layer", "no feature map found")],
    )


def feature_layer(canonical: onnx.ModelProto, output: str | None = None) -> str:
    """Return the name of a canonical model's feature map; see `find_features`."""
    graph = ir.from_proto(canonical).graph
    return find_features(graph, read_anatomy(graph, output)).value.name or ""


def read_head(features: Features, anatomy: Anatomy) -> Head:
    """Return the GAP + linear head between the features and the logits.

    Raises
    ------
    FailedPrecondition
        ``METHOD_NOT_APPLICABLE``, naming the node that is in the way.
    """
    at, pooled, linear, class_maps = features.value, False, None, None
    for node in nodes_between([features.value], [anatomy.logits], gradient.is_constant):
        if node.inputs.count(at) != 1:
            raise _not_a_gap_head(node)
        if not pooled and _is_global_average(node, features):
            pooled = True
        elif (not pooled and _makes_class_maps(node, anatomy)) or (
            not pooled and class_maps is at and node.op_type in _RECTIFIERS
        ):
            class_maps = node.outputs[0]
        elif pooled and linear is None and class_maps is None and _is_linear(node, at):
            linear = node
        elif node.op_type not in _ROUNDING and not (
            pooled and (node.op_type in _RESHAPING or (linear and _adds_constant(node, at)))
        ):
            raise _not_a_gap_head(node)
        at = node.outputs[0]
    if class_maps is not None:
        return Head(class_maps=class_maps)
    if linear is None:
        if pooled and dims(features.value)[1] == anatomy.n_classes:
            return Head(class_maps=features.value)
        raise FailedPrecondition(
            "METHOD_NOT_APPLICABLE",
            "cam needs a linear layer after the global average pool; use grad_cam instead",
        )
    transposed = linear.op_type == "MatMul" or (
        linear.op_type == "Gemm" and not attribute(linear, "transB", 0)
    )
    return Head(weight=linear.inputs[1], transposed=transposed)


def _named(nodes: list[ir.Node], layer: str) -> Features:
    known = {
        output.name or "": output for node in nodes for output in node.outputs if rank(output) == 4
    }
    if layer not in known:
        raise InvalidArgument(
            "UNKNOWN_LAYER",
            f"no feature map [N, K, h, w] named {layer!r} lies between image and score; "
            f"{nearest(layer, known)}",
            violations=[Violation("layer", f"unknown layer {layer!r}")],
        )
    return Features(known[layer], _channel_axis(known[layer]))


def _before_rounding(node: ir.Node) -> ir.Node:
    """Return what makes the tensor, before it was quantised and dequantised."""
    while node.op_type in _ROUNDING and node.inputs[0] is not None:
        before = node.inputs[0].producer()
        if before is None:
            break
        node = before
    return node


def bottlenecks(nodes: list[ir.Node], anatomy: Anatomy) -> list[ir.Value]:
    """Return, in order, the values that lie on every path from the image to the logits.

    Walking the nodes in order, such a value is the only one still to be read when it appears.
    """
    last_use: dict[ir.Value, int] = {anatomy.logits: len(nodes)}
    for index, node in enumerate(nodes):
        last_use.update((value, index) for value in node.inputs if value is not None)
    last_use[anatomy.logits] = len(nodes)
    found, live = [], {anatomy.image}
    for index, node in enumerate(nodes):
        live.update(output for output in node.outputs if last_use.get(output, -1) > index)
        live = {value for value in live if last_use[value] > index}
        if len(live) == 1 and node.outputs[0] in live:
            found.append(node.outputs[0])
    return found


def _is_spatial(features: Features) -> bool:
    """Return whether both spatial sizes exceed 1; a dynamic size does."""
    sizes = dims(features.value)
    return len(sizes) == 4 and all(sizes[axis] != 1 for axis in features.spatial_axes)


def _channel_axis(value: ir.Value) -> int:
    """Walk back to what fixes the layout: a convolution or pool has its channels at axis 1."""
    perm = list(range(4))
    while (node := value.producer()) is not None and rank(value) == 4:
        if node.op_type == "MatMul":
            return perm.index(3)
        if node.op_type == "Transpose":
            before = attribute(node, "perm", [3, 2, 1, 0])
            perm = [before[axis] for axis in perm]
        elif node.op_type in ("Conv", "ConvTranspose", "BatchNormalization", *_POOLS):
            break
        operands = [x for x in node.inputs if x is not None and rank(x) == 4]
        if not operands:
            break
        value = operands[0]
    return perm.index(1)


def _is_class_maps(node: ir.Node) -> bool:
    """Return whether the tensor comes from a Conv, at most rectified."""
    while node.op_type in _RECTIFIERS and node.inputs[0] is not None:
        before = node.inputs[0].producer()
        if before is None:
            return False
        node = before
    return node.op_type == "Conv"


def _has_convolution_before(nodes: list[ir.Node], node: ir.Node) -> bool:
    before = nodes[: nodes.index(node) + 1]
    return any(item.op_type in ("Conv", "ConvTranspose") for item in before)


def _makes_class_maps(node: ir.Node, anatomy: Anatomy) -> bool:
    return node.op_type == "Conv" and dims(node.outputs[0])[1:2] == (anatomy.n_classes,)


def _is_global_average(node: ir.Node, features: Features) -> bool:
    if node.op_type == "GlobalAveragePool":
        return True
    if node.op_type == "ReduceMean":
        axes = constant_ints(node, 1) or []
        return sorted(axis % 4 for axis in axes) == list(features.spatial_axes)
    if node.op_type == "AveragePool" and node.inputs[0] is not None:
        whole = dims(node.inputs[0])[2:]
        return tuple(attribute(node, "kernel_shape")) == whole and not any(
            attribute(node, "pads", [])
        )
    return False


def _is_linear(node: ir.Node, at: ir.Value) -> bool:
    if node.op_type == "Gemm":
        plain = attribute(node, "alpha", 1.0) == 1.0 and not attribute(node, "transA", 0)
    elif node.op_type == "Conv":
        plain = attribute(node, "group", 1) == 1
    else:
        plain = node.op_type == "MatMul"
    return plain and node.inputs[0] is at and constant_array(node.inputs[1]) is not None


def _adds_constant(node: ir.Node, at: ir.Value) -> bool:
    others = [value for value in node.inputs if value is not at]
    return node.op_type == "Add" and all(constant_array(value) is not None for value in others)


def _not_a_gap_head(node: ir.Node) -> FailedPrecondition:
    return FailedPrecondition(
        "METHOD_NOT_APPLICABLE",
        "cam needs features, a global average pool and one linear layer up to the score; "
        f"{node.op_type} {label(node)!r} is in the way: use grad_cam instead",
        violations=[Violation(label(node), f"{node.op_type} between features and score")],
    )
