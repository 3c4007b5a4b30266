"""The smallest and largest value that an image's channels may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, Violation

from .explanation import Notice
from .inputs import PreparedInput

__all__ = ["bounds_of", "outside"]

Array = npt.NDArray[Any]

_SLACK = 1e-3  # of the range: what arithmetic may add


def bounds_of(
    options: Mapping[str, Any], prepared: PreparedInput, channel_axis: int
) -> tuple[Array, Array] | None:
    """Return the smallest and largest value of each channel: as the options say, else as known.

    Raises
    ------
    InvalidArgument
        ``OPTION_OUT_OF_RANGE``: not one number for each channel or for all, low above high, or
        one without the other.
    """
    known = prepared.bounds(channel_axis)
    asked = [options.get(name) for name in ("low", "high")]
    if asked == [None, None]:
        return known
    if known is None and None in asked:
        message = "low and high are asked for together, where no preprocessing says the other"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE",
            message,
            violations=[Violation(("low", "high")[asked.index(None)], message)],
        )
    channels = prepared.x.shape[channel_axis]
    shape = [1, 1, 1, 1]
    shape[channel_axis] = channels
    ends = []
    for index, (name, values) in enumerate(zip(("low", "high"), asked, strict=True)):
        if values is None:
            assert known is not None
            ends.append(known[index])
            continue
        if len(values) not in (1, channels):
            message = f"{name} has {len(values)} values, the image {channels} channels"
            raise InvalidArgument(
                "OPTION_OUT_OF_RANGE", message, violations=[Violation(name, message)]
            )
        each = np.broadcast_to(np.asarray(values, np.float32), channels)
        ends.append(each.reshape(shape))
    if (ends[0] > ends[1]).any():
        message = "low is above high"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("low", message)]
        )
    return ends[0], ends[1]


def outside(x: Array, bounds: tuple[Array, Array]) -> list[Notice]:
    """Say so where the image has values outside its bounds: no rule that builds on them holds."""
    low, high = bounds
    slack = _SLACK * (high - low)
    share = float(np.mean((x < low - slack) | (x > high + slack)))
    if not share:
        return []
    message = (
        f"{share:.2%} of the image's values lie outside the bounds low and high, from which the "
        "rule zbox measures: the map is off there. Give the bounds that the image keeps, or the "
        "preprocessing that made it"
    )
    return [Notice("OUTSIDE_BOUNDS", message)]
