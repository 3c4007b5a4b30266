"""Inputs that stand for nothing to be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

__all__ = ["baseline"]

Array = npt.NDArray[Any]

_BLUR = 0.1
_LUMA = np.array([0.299, 0.587, 0.114])


def baseline(
    name: str, x: Array, low: Array, high: Array, channel_axis: int, random: np.random.Generator
) -> Array:
    """Return the baseline of an input.

    Parameters
    ----------
    name
        ``zero`` in the input's own units; ``black``, the smallest value of each channel, ``white``,
        the largest, or ``grey``, between them; or any colour as ``#rrggbb``; ``mean`` of each
        channel; ``blur``, Gaussian with a tenth of the longer side as standard deviation;
        ``uniform`` noise between the bounds.
    x
        The input, ``[1, ...]``.
    low, high
        Bounds of the channels, broadcastable to ``x``.

    Returns
    -------
    array
        Like ``x``.
    """
    spatial = tuple(axis for axis in (1, 2, 3) if axis != channel_axis)
    if name == "zero":
        found = np.zeros_like(x)
    elif name in ("black", "grey", "white"):
        level = {"black": low, "grey": (low + high) / 2, "white": high}[name]
        found = np.broadcast_to(level, x.shape)
    elif name.startswith("#"):
        channels = x.shape[channel_axis]
        shares = np.array([*bytes.fromhex(name[1:])]) / 255
        if channels != 3:
            shares = np.full(channels, shares @ _LUMA)
        share = np.expand_dims(shares, tuple({0, 1, 2, 3} - {channel_axis}))
        found = np.broadcast_to(low + share * (high - low), x.shape)
    elif name == "mean":
        found = np.broadcast_to(x.mean(axis=spatial, keepdims=True), x.shape)
    elif name == "blur":
        width = _BLUR * max(x.shape[axis] for axis in spatial)
        sigma = [width if axis in spatial else 0 for axis in range(4)]
        found = gaussian_filter(x.astype(np.float64), sigma)
    else:
        found = random.uniform(low, high, x.shape)
    return np.asarray(found, x.dtype)
