"""SP-LIME: the images of a set that show most of what the model goes by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.interpretable import cell_means
from onnxplain.explainers.run import Result
from onnxplain.explainers.set_run import SetRun
from onnxplain.explainers.summary import Picks
from onnxplain.graph_rewrites import Access, Inputs, declare
from onnxplain.graph_rewrites.options import (
    BatchSize,
    Fill,
    KernelWidth,
    NClusters,
    NFeatures,
    NPicks,
    NSamples,
    NSegments,
    Score,
    Seed,
    Segmenter,
    Segments,
)
from skimage.color import rgb2lab
from sklearn.cluster import KMeans

from .lime import lime

__all__ = ["sp_lime"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]


@declare(
    "sp_lime",
    title="SP-LIME",
    paper="Ribeiro et al. 2016",
    access=Access.FORWARD,
    inputs=Inputs.TOGETHER,
    returns=("heatmap", "segments", "coefficients", "summary"),
    in_graph=False,
)
def sp_lime(
    run: SetRun,
    *,
    n_picks: NPicks = 5,
    n_features: NFeatures = 10,
    n_clusters: NClusters = 20,
    n_samples: NSamples = 1000,
    segmenter: Segmenter = "auto",
    segments: Segments = None,
    n_segments: NSegments = 50,
    fill: Fill = "mean",
    kernel_width: KernelWidth = 0.25,
    score: Score = "probability",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[list[Result]]:
    """Explain each image by LIME, and pick the images that show most of what counts.

    Of image i the ``n_features`` largest weights count: ``W_ij`` is the sum of their amounts in
    column j, ``sqrt(sum_i W_ij)`` the column's importance. Images are picked one by one so that
    the importance of all columns in which one of them has a weight grows most. With the segmenter
    ``grid``, or ``segments`` of one's own, the columns are these, at the same place in every image;
    else they are
    ``n_clusters`` groups of superpixels that look alike, by the mean of their colours (k-means in
    CIELAB).

    Measures are those of `lime`.
    """
    in_place = segmenter == "grid" or segments is not None
    if in_place:
        run.check_sizes("let the preprocessing resize them to one, or name another segmenter")
    explained = [
        lime(
            one,
            n_samples=n_samples,
            segmenter=segmenter,
            segments=segments,
            n_segments=n_segments,
            fill=fill,
            kernel_width=kernel_width,
            score=score,
            batch_size=batch_size,
            seed=seed,
        )
        for one in run.runs
    ]
    if len(run.runs) == 1:
        run.warn("ONE_INPUT", "of a single image there is nothing to pick; give several")
    cut = [_segments(results) for results in explained]
    columns, colours = [np.arange(one.max() + 1) for one in cut], tuple[str, ...]()
    if not in_place:
        columns, colours = _alike(run, cut, n_clusters, seed)
    n_columns = max(int(one.max()) for one in columns) + 1
    found: list[list[Result]] = [[] for _ in explained]
    for target in range(run.scores.shape[1]):
        weights = np.array(
            [
                _by_column(results[target], own, n_columns, n_features)
                for results, own in zip(explained, columns, strict=True)
            ]
        )
        importance = np.sqrt(weights.sum(axis=0))
        picked, coverage = _pick(weights, importance, n_picks)
        summary = Picks(
            picked=tuple(picked),
            coverage=tuple(coverage),
            axis="cells" if in_place else "appearance",
            importance=tuple(map(float, importance)),
            colours=colours,
        )
        for results, own in zip(explained, found, strict=True):
            own.append(replace(results[target], summary=summary))
    return found


def _segments(results: list[Result]) -> npt.NDArray[np.int32]:
    assert results[0].segments is not None
    return results[0].segments


def _by_column(result: Result, columns: Labels, n_columns: int, n_features: int) -> Floats:
    """Return a row of W: the amounts of the largest weights, added up by column."""
    assert result.coefficients is not None
    amounts = np.abs(result.coefficients)
    largest = np.argsort(-amounts, kind="stable")[:n_features]
    row = np.zeros(n_columns)
    np.add.at(row, columns[largest], amounts[largest])
    return row


def _pick(weights: Floats, importance: Floats, n_picks: int) -> tuple[list[int], list[float]]:
    """Return images picked greedily and the share of importance shown after each."""
    shown = np.zeros(len(importance), np.bool_)
    picked: list[int] = []
    coverage: list[float] = []
    for _ in range(min(n_picks, len(weights))):
        gains = ((weights > 0) & ~shown) @ importance
        gains[picked] = -1
        best = int(np.argmax(gains))
        picked.append(best)
        shown |= weights[best] > 0
        coverage.append(float(importance[shown].sum() / (importance.sum() or 1)))
    return picked, coverage


def _alike(
    run: SetRun, segments: list[npt.NDArray[np.int32]], n_clusters: int, seed: int
) -> tuple[list[Labels], tuple[str, ...]]:
    """Return the column of each image's superpixels, and the columns' mean colours."""
    means = [
        cell_means(one.segmentation_picture, labels)
        for one, labels in zip(run.runs, segments, strict=True)
    ]
    colours = np.concatenate(means)
    seen = rgb2lab(colours / 255)
    random = np.random.default_rng(seed)
    clustering = KMeans(
        min(n_clusters, len(np.unique(seen, axis=0))),
        n_init=10,
        random_state=np.random.RandomState(random.integers(2**32)),
    )
    _, columns = np.unique(clustering.fit_predict(seen), return_inverse=True)
    shown = tuple(
        "#" + bytes(np.rint(colours[columns == column].mean(axis=0)).astype(np.uint8)).hex()
        for column in range(columns.max() + 1)
    )
    ends = np.cumsum([len(one) for one in means])[:-1]
    return np.split(columns, ends), shown
