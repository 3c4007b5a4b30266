"""LIME-SUP: a tree of images with a linear surrogate in each leaf."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnxplain.explainers.interpretable import Fitted, Interpretable, Rows, interpret
from onnxplain.explainers.run import Result
from onnxplain.explainers.set_run import SetRun
from onnxplain.explainers.summary import Group, Split, Tree
from onnxplain.graph_rewrites import Access, Inputs, declare
from onnxplain.graph_rewrites.options import (
    BatchSize,
    Fill,
    KernelWidth,
    MaxDepth,
    MinMembers,
    NSamples,
    NSegments,
    Score,
    Seed,
    Segments,
)

__all__ = ["lime_sup"]

_QUANTILES = np.linspace(0.1, 0.9, 9)
_LEAST_GAIN = 0.01  # of the root's error


@declare(
    "lime_sup",
    title="LIME-SUP",
    paper="Hu et al. 2018",
    access=Access.FORWARD,
    inputs=Inputs.ALIKE,
    returns=("heatmap", "segments", "coefficients", "summary"),
    in_graph=False,
)
def lime_sup(
    run: SetRun,
    *,
    max_depth: MaxDepth = 3,
    min_members: MinMembers = 8,
    n_segments: NSegments = 16,
    segments: Segments = None,
    n_samples: NSamples = 1000,
    fill: Fill = "mean",
    kernel_width: KernelWidth = 0.25,
    score: Score = "probability",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[list[Result]]:
    """Weigh the cells of a grid by a linear model of the scores in the image's leaf of a tree.

    A node is parted by the mean colour of one cell where this most reduces the squared error of
    ridge regressions (penalty 1) from all cells' colours to the score, one on either side; not
    where it would leave fewer than ``min_members`` or gain less than 1 % of the root's error. An
    image's map shows how its cells, being as they are and not as they are on average, move the
    leaf's surrogate. One image alone is parted from samples of it, as `lime` makes them.

    Measures: ``group``, the number of the image's leaf in the summary, the surrogate's ``r2`` in
    it, its ``intercept`` and ``local_prediction``.
    """
    random = np.random.default_rng(seed)
    data = interpret(run, n_segments, segments, n_samples, fill, kernel_width, random)
    if len(data.features) < 2 * min_members:
        run.warn(
            "FEW_INPUTS",
            f"{len(data.features)} images cannot be parted into groups of {min_members}: the tree "
            "is its root; give more images, or lower min_members",
        )
    explained = range(len(run.runs))
    found: list[list[Result]] = [[] for _ in explained]
    for target in range(data.scores.shape[1]):
        grown = _Growing(data, target, min_members, run.runs[0].control.check)
        grown.grow(grown.fit(np.arange(len(data.features))), max_depth)
        leaves = [grown.leaf(data.features[one]) for one in explained]
        groups = tuple(grown.groups)
        tree = Tree(n_channels=data.n_channels, groups=groups, group_of=tuple(leaves))
        for one, leaf in zip(explained, leaves, strict=True):
            found[one].append(data.result(one, grown.fitted[leaf], groups[leaf], leaf, tree))
    return found


class _Growing:
    """A tree as it grows: its groups, a node before those below it, and their surrogates."""

    def __init__(
        self, data: Interpretable, target: int, min_members: int, check: Callable[[], None]
    ) -> None:
        self.groups: list[Group] = []
        self.fitted: list[Fitted] = []
        self._data, self._target = data, target
        self._min_members, self._check = min_members, check

    def fit(self, rows: Rows) -> Fitted:
        return self._data.fit(rows, self._target)

    def grow(self, node: Fitted, depth: int) -> int:
        """Add a node and what is below it; return its number."""
        number = len(self.groups)
        self.groups.append(self._data.group(node, node.rows, self._target))
        self.fitted.append(node)
        best = self._best_split(node) if depth else None
        if best is not None and node.error - best[2] > _LEAST_GAIN * self.fitted[0].error:
            feature, threshold, _ = best
            below = self._data.features[node.rows, feature] <= threshold
            cell, channel = divmod(feature, self._data.n_channels)
            low, high = (
                self.grow(self.fit(node.rows[side]), depth - 1) for side in (below, ~below)
            )
            split = Split(cell=cell, channel=channel, threshold=threshold, low=low, high=high)
            self.groups[number] = self._data.group(node, node.rows, self._target, split)
        return number

    def leaf(self, features: np.ndarray[tuple[int], np.dtype[np.float64]]) -> int:
        """Return the number of the leaf that these features lead to."""
        number = 0
        while (split := self.groups[number].split) is not None:
            value = features[split.cell * self._data.n_channels + split.channel]
            number = split.low if value <= split.threshold else split.high
        return number

    def _best_split(self, node: Fitted) -> tuple[int, float, float] | None:
        """Return feature, threshold and error left of the best split, the first of equals."""
        best = None
        for feature in range(self._data.features.shape[1]):
            self._check()
            values = self._data.features[node.rows, feature]
            for threshold in np.unique(np.quantile(values, _QUANTILES)):
                below = values <= threshold
                if min(below.sum(), (~below).sum()) < self._min_members:
                    continue
                error = sum(self.fit(node.rows[side]).error for side in (below, ~below))
                if best is None or error < best[2]:
                    best = feature, float(threshold), error
        return best
