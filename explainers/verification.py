"""Is a rewritten or canonical model still the same model? Measured, on given inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from .control import Control
from .session import CPU, Session, available_cpus

__all__ = ["forward_difference"]


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
        Session(model.SerializeToString(), CPU, available_cpus()).run(inputs, outputs, Control())
        for model, inputs in ((original, own), (changed, feeds))
    )
    return {
        name: _relative(after, before)
        for name, before, after in zip(outputs, expected, found, strict=True)
    }


def _input_names(model: onnx.ModelProto) -> list[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in constants]


def _relative(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    exact = expected.astype(np.float64).ravel()
    distance = float(np.linalg.norm(found.astype(np.float64).ravel() - exact))
    return distance / max(float(np.linalg.norm(exact)), 1e-30)
