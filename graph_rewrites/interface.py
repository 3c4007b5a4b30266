"""A model as a black box: where the image goes in and where the scores come out, by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx
import onnx.inliner
import onnx_ir as ir
from onnx_ir.passes import common as passes

from .anatomy import read_anatomy
from .builder import dims
from .canonise import canonise
from .errors import FailedPrecondition

__all__ = ["Interface", "expose_scores"]


@dataclass(frozen=True)
class Interface:
    """The names of a classifier's image and scores.

    Attributes
    ----------
    image
        The input that holds the image.
    shape
        Its shape, rank 4, ``None`` for what is dynamic.
    layout
        ``NCHW`` or ``NHWC``.
    scores
        The output that holds the scores.
    logits
        The output that holds the value before ``activation``; ``None`` when no name is known.
    activation
        What makes the scores of the logits: ``softmax``, ``log_softmax``, ``sigmoid``, ``none``.
    n_classes
        Number of scores per image.
    """

    image: str
    shape: tuple[int | None, ...]
    layout: Literal["NCHW", "NHWC"]
    scores: str
    logits: str | None
    activation: str
    n_classes: int


def expose_scores(
    model: onnx.ModelProto, output: str | None = None
) -> tuple[onnx.ModelProto, Interface]:
    """Return the model with its logits as an output, otherwise as it is, and its interface.

    Parameters
    ----------
    model
        A model with all its weights, as `read_model` returns it; it is not changed.
    output
        Name of the output that holds the scores; by default the first that can.

    Raises
    ------
    FailedPrecondition
        ``NO_IMAGE_INPUT`` or ``NO_SCORE_OUTPUT``, see `read_anatomy`.
    InvalidArgument
        ``UNKNOWN_OUTPUT``.
    """
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    if exposed.functions:
        exposed = onnx.inliner.inline_local_functions(exposed)
    first_error: FailedPrecondition | None = None
    for graph in _views(exposed):
        try:
            anatomy = read_anatomy(graph, output)
            break
        except FailedPrecondition as error:
            first_error = first_error or error
    else:
        assert first_error is not None
        raise first_error
    logits = anatomy.logits.name or ""
    outputs = {value.name for value in exposed.graph.output}
    if any(logits in node.output for node in exposed.graph.node) and logits not in outputs:
        exposed.graph.output.add(name=logits).type.tensor_type.elem_type = int(
            anatomy.logits.dtype or ir.DataType.FLOAT
        )
        outputs.add(logits)
    return exposed, Interface(
        image=anatomy.image.name or "",
        shape=dims(anatomy.image),
        layout=anatomy.layout,
        scores=anatomy.output.name or "",
        logits=logits if logits in outputs else None,
        activation=anatomy.activation,
        n_classes=anatomy.n_classes,
    )


def _views(model: onnx.ModelProto) -> Iterator[ir.Graph]:
    """Yield the graph with what shapes are known as it is, then, if need be, in canonical form."""
    try:
        view = ir.from_proto(model)
        passes.RemoveInitializersFromInputsPass()(view)
        passes.ShapeInferencePass()(view)
        yield view.graph
    except (RuntimeError, ValueError, TypeError):  # the converter's and the checker's errors
        pass
    yield ir.from_proto(canonise(model)).graph
