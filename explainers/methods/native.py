"""Results from maps at the resolution of the features."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.graph_run import GraphRun
from onnxplain.explainers.run import Result

__all__ = ["results_of"]


def results_of(run: GraphRun, maps: Iterable[npt.NDArray[np.float64]], relu: bool) -> list[Result]:
    """Return one result for each map ``[h, w]``, upsampled; with ``relu`` without negatives."""
    cut = [np.maximum(native, 0) if relu else native for native in maps]
    return [
        Result(heatmap=run.upsampled(native), native_heatmap=native.astype(np.float32))
        for native in cut
    ]
