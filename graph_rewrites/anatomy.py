"""Where a classifier's parts are: its image input, its score, its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from .builder import dims, rank
from .errors import FailedPrecondition, InvalidArgument, Violation, nearest
from .paths import is_float

__all__ = ["Anatomy", "read_anatomy"]

_RESHAPING = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_HEADS = {"LogSoftmax": "log_softmax", "Sigmoid": "sigmoid", "Softmax": "softmax"}
_COLOURS = (1, 3, 4)


@dataclass(frozen=True)
class Anatomy:
    """The parts of a classifier, as values of its canonical graph.

    Attributes
    ----------
    image
        The input that holds the image, rank 4.
    pixels
        The image in the type that is computed with: itself, or what a first Cast makes of it.
    layout
        ``NCHW`` or ``NHWC``.
    output
        The output that holds the scores.
    logits
        The value before the final Softmax, LogSoftmax or Sigmoid, else the output itself.
    activation
        What follows the logits in the graph: ``softmax``, ``log_softmax``, ``sigmoid`` or ``none``.
    n_classes
        Number of scores per image.
    """

    image: ir.Value
    pixels: ir.Value
    layout: Literal["NCHW", "NHWC"]
    output: ir.Value
    logits: ir.Value
    activation: str
    n_classes: int

    @property
    def channel_axis(self) -> int:
        """The image's channel axis."""
        return 1 if self.layout == "NCHW" else 3

    @property
    def spatial_axes(self) -> tuple[int, int]:
        """The image's height and width axes."""
        return (2, 3) if self.layout == "NCHW" else (1, 2)

    @property
    def batch(self) -> int | None:
        """The batch size the model is fixed to, ``None`` where any will do."""
        return dims(self.image)[0]


def read_anatomy(graph: ir.Graph, output: str | None = None) -> Anatomy:
    """Find the parts of the classifier in a canonical graph.

    Parameters
    ----------
    graph
        The graph of a model that `canonise` returned.
    output
        Name of the output that holds the scores; by default the first that can.

    Raises
    ------
    FailedPrecondition
        ``NO_IMAGE_INPUT`` or ``NO_SCORE_OUTPUT``.
    InvalidArgument
        ``UNKNOWN_OUTPUT``.
    """
    image = _image(graph)
    scores = _scores(graph, output)
    logits, activation = _before_activation(scores)
    n_classes = dims(scores)[1]
    assert n_classes is not None
    return Anatomy(image, _pixels(image), _layout(image), scores, logits, activation, n_classes)


def _image(graph: ir.Graph) -> ir.Value:
    images = [value for value in graph.inputs if rank(value) in (4, None)]
    if len(images) != 1 or len(graph.inputs) != 1:
        shown = ", ".join(f"{value.name} {_shown(value)}" for value in graph.inputs)
        raise FailedPrecondition(
            "NO_IMAGE_INPUT",
            f"the model needs exactly one input, an image [N, C, H, W] or [N, H, W, C]; it has: "
            f"{shown or 'none'}",
            violations=[Violation("inputs", shown)],
        )
    return images[0]


def _pixels(image: ir.Value) -> ir.Value:
    """Follow a Cast to float32 where it is the only thing done with the image."""
    users = [node for node, _ in image.uses()]
    if len(users) == 1 and users[0].op_type == "Cast" and image.dtype != ir.DataType.FLOAT:
        cast = users[0].outputs[0]
        if cast.dtype == ir.DataType.FLOAT:
            return cast
    return image


def _scores(graph: ir.Graph, output: str | None) -> ir.Value:
    named = {value.name or "": value for value in graph.outputs}
    if output is not None and output not in named:
        raise InvalidArgument(
            "UNKNOWN_OUTPUT",
            f"the model has no output {output!r}; {nearest(output, named)}",
            violations=[Violation("output", f"unknown output {output!r}")],
        )
    for value in [named[output]] if output is not None else graph.outputs:
        sizes = dims(value)
        classes_only = len(sizes) >= 2 and sizes[1] is not None and set(sizes[2:]) <= {1}
        if is_float(value) and classes_only:
            return value
    shown = ", ".join(f"{value.name} {_shown(value)}" for value in graph.outputs)
    raise FailedPrecondition(
        "NO_SCORE_OUTPUT",
        f"no output holds class scores [N, classes]; the model has: {shown}",
        violations=[Violation("outputs", shown)],
    )


def _before_activation(scores: ir.Value) -> tuple[ir.Value, str]:
    """Walk back over reshaping to a final activation and return what goes into it."""
    value = scores
    while (node := value.producer()) is not None and node.op_type in _RESHAPING:
        if node.inputs[0] is None:
            break
        value = node.inputs[0]
    if node is None or node.op_type not in _HEADS or node.inputs[0] is None:
        return _before_narrowing(scores), "none"
    return node.inputs[0], _HEADS[node.op_type]


def _before_narrowing(scores: ir.Value) -> ir.Value:
    """Return what a last Cast from float32 makes the scores of, if there is one."""
    node = scores.producer()
    if node is None or node.op_type != "Cast" or node.inputs[0] is None:
        return scores
    return node.inputs[0] if node.inputs[0].dtype == ir.DataType.FLOAT else scores


def _layout(image: ir.Value) -> Literal["NCHW", "NHWC"]:
    """NHWC where only the last axis can be colour, or where the first thing done is Transpose."""
    sizes = dims(image)
    if len(sizes) == 4 and sizes[3] in _COLOURS:
        turned = any(
            node.op_type == "Transpose" and list(node.attributes["perm"].value) == [0, 3, 1, 2]
            for node, _ in image.uses()
            if "perm" in node.attributes
        )
        if turned or sizes[1] not in _COLOURS:
            return "NHWC"
    return "NCHW"


def _shown(value: ir.Value) -> str:
    return "of unknown rank" if value.shape is None else str(list(value.shape)).replace("'", "")
