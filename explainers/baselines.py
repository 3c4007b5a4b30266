"""Inputs that stand for nothing to be seen."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, Violation
from scipy.ndimage import gaussian_filter

__all__ = ["Baseline", "baseline"]

#: A name, or an array in the units of the model's input.
Baseline: TypeAlias = "str | npt.NDArray[Any]"

Array = npt.NDArray[Any]

_BLUR = 0.1
_LUMA = np.array([0.299, 0.587, 0.114])


def baseline(
    given: Baseline,
    x: Array,
    low: Array,
    high: Array,
    channel_axis: int,
    random: np.random.Generator,
) -> Array:
    """Return the baseline of an input.

    Parameters
    ----------
    given
        ``zero`` in the input's own units; ``black``, the smallest value of each channel, ``white``,
        the largest, or ``grey``, between them; or any colour as ``#rrggbb``; ``mean`` of each
        channel; ``blur``, Gaussian with a tenth of the longer side as standard deviation;
        ``uniform`` noise between the bounds. Or an array, ``[*input]``, ``[1, *input]`` or what
        broadcasts to it.
    x
        The input, ``[1, ...]``.
    low, high
        Bounds of the channels, broadcastable to ``x``.

    Returns
    -------
    array
        Like ``x``.

    Raises
    ------
    InvalidArgument
        ``OPTION_OUT_OF_RANGE``: an array that does not fit ``x``.
    """
    if isinstance(given, np.ndarray):
        return _fitted(given, x)
    return np.asarray(_named(given, x, low, high, channel_axis, random), x.dtype)


def _fitted(given: Array, x: Array) -> Array:
    whole = np.issubdtype(x.dtype, np.integer)
    values = (np.rint(given) if whole else given).astype(x.dtype)
    try:
        return np.ascontiguousarray(np.broadcast_to(values, x.shape))
    except ValueError:
        message = (
            f"the baseline {list(given.shape)} does not broadcast to the model's input "
            f"{list(x.shape[1:])}"
        )
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("baseline", message)]
        ) from None


def _named(
    name: str, x: Array, low: Array, high: Array, channel_axis: int, random: np.random.Generator
) -> Array:
    spatial = tuple(axis for axis in (1, 2, 3) if axis != channel_axis)
    if name == "zero":
        return np.zeros_like(x)
    if name in ("black", "grey", "white"):
        level = {"black": low, "grey": (low + high) / 2, "white": high}[name]
        return np.broadcast_to(level, x.shape)
    if name.startswith("#"):
        channels = x.shape[channel_axis]
        shares = np.array([*bytes.fromhex(name[1:])]) / 255
        if channels != 3:
            shares = np.full(channels, shares @ _LUMA)
        share = np.expand_dims(shares, tuple({0, 1, 2, 3} - {channel_axis}))
        return np.broadcast_to(low + share * (high - low), x.shape)
    if name == "mean":
        return np.broadcast_to(x.mean(axis=spatial, keepdims=True), x.shape)
    if name == "blur":
        width = _BLUR * max(x.shape[axis] for axis in spatial)
        sigma = [width if axis in spatial else 0 for axis in range(4)]
        return np.asarray(gaussian_filter(x.astype(np.float64), sigma))
    return random.uniform(low, high, x.shape)
