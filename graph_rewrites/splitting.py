"""A model cut in two at its feature map: the image's features, and the scores of features."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from .anatomy import Anatomy, read_anatomy
from .engine import label
from .errors import FailedPrecondition, Violation
from .features import Features, find_features

__all__ = ["Split", "split"]


@dataclass(frozen=True)
class Split:
    """The two parts of a model.

    Attributes
    ----------
    trunk
        From the image to the feature map, its only output.
    head
        From the feature map, its only input, to the logits, its only output.
    image, layer
        The names of the image and of the feature map.
    channel_axis
        The feature map's channel axis.
    """

    trunk: onnx.ModelProto
    head: onnx.ModelProto
    image: str
    layer: str
    channel_axis: int


def split(canonical: onnx.ModelProto, layer: str | None = None, output: str | None = None) -> Split:
    """Cut a model that `canonise` returned at the feature map ``layer``, by default the one found.

    ``output`` names the output that holds the scores; by default the first that can.

    Raises
    ------
    InvalidArgument
        ``UNKNOWN_LAYER``.
    FailedPrecondition
        ``NO_FEATURE_LAYER``; or ``METHOD_NOT_APPLICABLE`` when the score also depends on the image
        by other ways than the feature map.
    """
    trunk, anatomy, features = _read(canonical, layer, output)
    trunk.graph.outputs[:] = [features.value]
    head, head_anatomy, at = _read(canonical, layer, output)
    name = at.value.name or ""
    entry = ir.Value(name=f"{name}/features", type=at.value.type, shape=at.value.shape)
    at.value.replace_all_uses_with(entry)
    head.graph.outputs[:] = [head_anatomy.logits]
    head.graph.inputs.append(entry)
    for model in (trunk, head):
        passes.RemoveUnusedNodesPass()(model)
    image = head_anatomy.image
    for around, _ in image.uses():
        raise FailedPrecondition(
            "METHOD_NOT_APPLICABLE",
            f"the score does not depend on {name!r} alone: {around.op_type} {label(around)!r} goes "
            "around it; name an earlier tensor with the option layer",
            violations=[Violation(label(around), "goes around the feature map")],
        )
    head.graph.inputs[:] = [entry]
    return Split(
        trunk=ir.to_proto(trunk),
        head=ir.to_proto(head),
        image=anatomy.image.name or "",
        layer=name,
        channel_axis=features.channel_axis,
    )


def _read(
    canonical: onnx.ModelProto, layer: str | None, output: str | None
) -> tuple[ir.Model, Anatomy, Features]:
    model = ir.from_proto(canonical)
    anatomy = read_anatomy(model.graph, output)
    return model, anatomy, find_features(model.graph, anatomy, layer)
