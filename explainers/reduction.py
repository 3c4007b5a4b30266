"""One heatmap from an attribution's channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["reduce_channels"]


def reduce_channels(
    attribution: npt.NDArray[Any], channel_axis: int, reduction: str
) -> npt.NDArray[np.float32]:
    """Return ``[H, W]`` from an attribution ``[*input]``, as the option ``reduction`` says."""
    if reduction == "sum":
        return np.asarray(attribution.sum(axis=channel_axis), np.float32)
    if reduction == "l2":
        return np.asarray(np.sqrt(np.square(attribution).sum(axis=channel_axis)), np.float32)
    return np.asarray(np.abs(attribution).max(axis=channel_axis), np.float32)
