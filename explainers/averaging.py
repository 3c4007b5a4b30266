"""What is found from each of several baselines, and the mean over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from .reduction import reduce_channels
from .run import Result

__all__ = ["mean_result", "of_each_baseline"]


def of_each_baseline(options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield resolved options with one baseline each; random ones get a seed of their own."""
    given = options.get("baseline")
    for position, baseline in enumerate(given if isinstance(given, tuple) else [given]):
        each = dict(options)
        if baseline is not None:
            each["baseline"] = baseline
        if "seed" in options:
            each["seed"] += position
        yield each


def mean_result(results: Sequence[Result], channel_axis: int, reduction: str) -> Result:
    """Return the mean of one target's results, its heatmap made of the mean attribution.

    ``channel_axis`` is that of the attributions.
    """
    first = results[0]
    if first.attribution is None:
        heatmap, attribution = _mean([one.heatmap for one in results]), None
    else:
        attribution = _mean([one.attribution for one in results])
        heatmap = reduce_channels(attribution, channel_axis, reduction)
    native = None
    if first.native_heatmap is not None:
        native = _mean([one.native_heatmap for one in results])
    residual = None
    if first.residual is not None:
        residual = float(np.mean([cast("float", one.residual) for one in results]))
    return dataclasses.replace(
        first,
        heatmap=heatmap,
        attribution=attribution,
        native_heatmap=native,
        residual=residual,
        measures={
            name: float(np.mean([one.measures[name] for one in results])) for name in first.measures
        },
    )


def _mean(arrays: Sequence[Any]) -> Any:
    return np.mean(arrays, axis=0, dtype=np.float64).astype(np.float32)
