"""Is a rewritten or canonical model still the same model? Measured, on given inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from .control import Control
from .explanation import Notice
from .session import CPU, Session, available_cpus

__all__ = ["INTEGER_OPS", "compare_forward", "forward_difference", "has_few_bits"]

#: Operators of quantised models
INTEGER_OPS = re.compile("^(Dynamic)?QuantizeLinear$|^QLinear|Integer$")

_BAR, _BAR_QUANTISED = 5e-3, 0.1  # float16 rounds to 1e-3; quantised steps flip here and there


def compare_forward(
    found: npt.NDArray[Any], expected: npt.NDArray[Any], *, quantised: bool
) -> tuple[float, list[Notice]]:
    """Return how far scores of one input are from those of the file itself, and what to tell.

    That is the relative L2 distance; to tell is that it is large, or that the class differs.
    """
    after, before = found.ravel(), expected.ravel()
    difference = _relative(after, before)
    other = before[after.argmax()] < before.max()
    if not other and difference <= (_BAR_QUANTISED if quantised else _BAR):
        return difference, []
    message = (
        "the model's canonical form, which is explained, computes in float32 and gives scores that "
        f"differ by {difference:.2g} (relative L2) from the file's own"
        f"{', and another class' if other else ''}: read the map with that in mind, or take a "
        "method of forward passes, such as lime"
    )
    return difference, [Notice("FORWARD_DIFFERS", message)]


def forward_difference(
    original: onnx.ModelProto, changed: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]]
) -> dict[str, float]:
    """Return how far ``changed`` is from ``original``, by output of the original.

    Parameters
    ----------
    original, changed
        Two models; ``changed`` has at least the original's outputs and may have more inputs.
    feeds
        All inputs of ``changed`` by name.

    Returns
    -------
    dict
        The relative L2 distance ``||changed - original|| / ||original||`` on the CPU.

    Raises
    ------
    FailedPrecondition
        One of the models does not run.
    """
    outputs = [value.name for value in original.graph.output]
    own = {name: feeds[name] for name in _input_names(original)}
    expected, found = (
        Session(model, CPU, available_cpus()).run(inputs, outputs, Control())
        for model, inputs in ((original, own), (changed, feeds))
    )
    return {
        name: _relative(after, before)
        for name, before, after in zip(outputs, expected, found, strict=True)
    }


def has_few_bits(model: onnx.ModelProto) -> bool:
    """Return whether a model computes in float16 or in integers somewhere."""
    graph = model.graph
    halves = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    if halves & {tensor.data_type for tensor in graph.initializer}:
        return True
    casts = (given.i for node in graph.node for given in node.attribute if given.name == "to")
    return not halves.isdisjoint(casts) or any(INTEGER_OPS.search(n.op_type) for n in graph.node)


def _input_names(model: onnx.ModelProto) -> list[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in constants]


def _relative(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    exact = expected.astype(np.float64).ravel()
    distance = float(np.linalg.norm(found.astype(np.float64).ravel() - exact))
    return distance / max(float(np.linalg.norm(exact)), 1e-30)
