"""What surrogates of several inputs are fitted to: colours of the cells of a grid, and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .run import Result
from .segmentation import Segments, segment
from .set_run import SetRun
from .summary import Group, Split, Summary
from .superpixels import Superpixels
from .surrogate import Surrogate, cosine_kernel, fit_surrogate

__all__ = ["Fitted", "Interpretable", "Rows", "cell_means", "interpret"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A surrogate of one score and the rows it was fitted to; its weighted squared ``error``."""

    surrogate: Surrogate
    rows: Rows
    error: float


@dataclass(frozen=True, eq=False)
class Interpretable:
    """Rows that a linear surrogate can be fitted to: inputs, or samples of one.

    Attributes
    ----------
    cells
        int32 ``[H, W]``.
    features, scores, weights
        ``[N, cells * n_channels]``, ``[N, T]``, ``[N]``.
    n_channels
        Features of a cell.
    sampled
        Whether the rows are samples of one input, which is the first of them.
    """

    cells: Segments
    features: Floats
    scores: Floats
    weights: Floats
    n_channels: int
    sampled: bool

    def fit(self, rows: Rows, target: int) -> Fitted:
        """Fit a ridge regression with penalty 1 to some rows' scores of a target."""
        features, scores, weights = self._taken(rows, target)
        surrogate = fit_surrogate(features, scores, weights)
        errors = (scores - surrogate.predict(features)) ** 2
        return Fitted(surrogate, rows, float((weights @ errors)[0]))

    def group(self, fitted: Fitted, rows: Rows, target: int, split: Split | None = None) -> Group:
        """Describe rows and their surrogate, which may have been fitted to others."""
        surrogate = fitted.surrogate
        return Group(
            size=len(rows),
            members=() if self.sampled else tuple(map(int, rows)),
            own=fitted.rows is rows,
            r2=float(surrogate.r2(*self._taken(rows, target))[0]),
            intercept=float(surrogate.intercepts[0]),
            coefficients=tuple(map(float, surrogate.coefficients[:, 0])),
            split=split,
        )

    def result(self, row: int, fitted: Fitted, group: Group, number: int, all_: Summary) -> Result:
        """Return what a surrogate says of one input.

        A cell's weight is that of its features times how far they are from their mean over what
        the surrogate was fitted to; among samples of one input, from the cell being hidden.
        """
        features, surrogate = self.features[row], fitted.surrogate
        usual = np.zeros_like(features)
        if not self.sampled:
            usual = np.average(
                self.features[fitted.rows], axis=0, weights=self.weights[fitted.rows]
            )
        shares = surrogate.coefficients[:, 0] * (features - usual)
        weights = shares.reshape(-1, self.n_channels).sum(axis=1)
        return Result(
            heatmap=weights.astype(np.float32)[self.cells],
            segments=self.cells,
            coefficients=weights,
            measures={
                "group": float(number),
                "r2": group.r2,
                "intercept": group.intercept,
                "local_prediction": float(surrogate.predict(features[None])[0, 0]),
            },
            summary=all_,
        )

    def _taken(self, rows: Rows, target: int) -> tuple[Floats, Floats, Floats]:
        return self.features[rows], self.scores[rows][:, [target]], self.weights[rows]


def interpret(
    run: SetRun,
    n_segments: int,
    segments: npt.NDArray[Any] | None,
    n_samples: int,
    fill: str,
    kernel_width: float,
    random: np.random.Generator,
) -> Interpretable:
    """Return the inputs as rows; of a single one samples, as LIME makes them, with a warning.

    Raises
    ------
    InvalidArgument
        ``INPUT_INVALID``: the inputs are not of one size.
    """
    run.check_sizes("let the preprocessing resize them to one")
    first = run.runs[0]
    segmenter = "grid" if segments is None else "auto"
    if len(run.runs) > 1:
        cells, _ = segment(
            first.segmentation_picture, segmenter, n_segments=n_segments, given=segments
        )
        n_channels = 1 if first.picture.shape[-1] == 1 else 3
        features = [
            cell_means(one.segmentation_picture[..., :n_channels], cells).ravel() / 255
            for one in run.runs
        ]
        weights = np.ones(len(features))
        return Interpretable(cells, np.array(features), run.scores, weights, n_channels, False)
    run.warn(
        "ONE_INPUT",
        "a single image is explained by samples with cells of it hidden at random, whose groups "
        "carry little; give several images to group images",
    )
    superpixels = Superpixels(first, segmenter, n_segments, fill, random, segments)
    masks = random.random((n_samples, superpixels.count)) < 0.5
    masks[0] = True
    scores = superpixels.scores(masks)
    weights = cosine_kernel(masks, kernel_width)
    return Interpretable(superpixels.segments, masks.astype(float), scores, weights, 1, True)


def cell_means(picture: npt.NDArray[np.uint8], cells: Segments) -> Floats:
    """Return the mean colour ``[K, C]`` of every cell of a picture ``[H, W, C]``."""
    labels = cells.ravel()
    sums = [
        np.bincount(labels, weights=channel)
        for channel in picture.reshape(labels.size, -1).T.astype(float)
    ]
    return np.stack(sums, axis=1) / np.bincount(labels)[:, None]
