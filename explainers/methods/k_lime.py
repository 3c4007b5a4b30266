"""k-LIME: a linear surrogate for each group of images that look alike."""

from __future__ import annotations

import numpy as np
from onnxplain.explainers.interpretable import interpret
from onnxplain.explainers.run import Result
from onnxplain.explainers.set_run import SetRun
from onnxplain.explainers.summary import Clusters
from onnxplain.graph_rewrites import Access, Inputs, declare
from onnxplain.graph_rewrites.options import (
    BatchSize,
    Fill,
    KernelWidth,
    MinMembers,
    NClusters,
    NSamples,
    NSegments,
    Score,
    Seed,
    Segments,
)
from sklearn.cluster import KMeans

__all__ = ["k_lime"]


@declare(
    "k_lime",
    title="k-LIME",
    paper="Hall et al. 2017",
    access=Access.FORWARD,
    inputs=Inputs.ALIKE,
    returns=("heatmap", "segments", "coefficients", "summary"),
    in_graph=False,
)
def k_lime(
    run: SetRun,
    *,
    n_clusters: NClusters = 4,
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
    """Weigh the cells of a grid by a linear model of the scores of images that look alike.

    The images are grouped by k-means on the mean colours of their cells, and in each group a ridge
    regression with penalty 1 is fitted from these to the score; groups with too few members take
    the one fitted to all images. An image's map shows how its cells, being as they are and not
    as they are on average, move the surrogate's score. One image alone is grouped with samples of
    it, as `lime` makes them.

    Measures: ``group``, the number of the image's group in the summary, the surrogate's ``r2`` in
    it, its ``intercept`` and ``local_prediction``.
    """
    random = np.random.default_rng(seed)
    data = interpret(run, n_segments, segments, n_samples, fill, kernel_width, random)
    n_distinct = len(np.unique(data.features, axis=0))
    clustering = KMeans(
        min(n_clusters, n_distinct),
        n_init=10,
        random_state=np.random.RandomState(random.integers(2**32)),
    )
    numbers = clustering.fit(data.features, sample_weight=data.weights).labels_
    rows = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    rows.sort(key=lambda members: (-len(members), members[0]))
    everyone = np.arange(len(numbers))
    if all(len(members) < min_members for members in rows):
        run.warn(
            "FEW_INPUTS",
            f"no group has {min_members} members: the surrogate of all is used everywhere; give "
            "more images, or lower min_members or n_clusters",
        )
    group_of = np.empty(len(numbers), np.intp)
    for number, members in enumerate(rows):
        group_of[members] = number
    explained = range(len(run.runs))
    found: list[list[Result]] = [[] for _ in explained]
    for target in range(data.scores.shape[1]):
        of_all = data.fit(everyone, target)
        fitted = [
            data.fit(members, target) if len(members) >= min_members else of_all for members in rows
        ]
        groups = [
            data.group(one, members, target) for one, members in zip(fitted, rows, strict=True)
        ]
        summary = Clusters(
            n_channels=data.n_channels,
            everything=data.group(of_all, everyone, target),
            groups=tuple(groups),
            group_of=tuple(int(group_of[one]) for one in explained),
        )
        for one in explained:
            number = int(group_of[one])
            found[one].append(data.result(one, fitted[number], groups[number], number, summary))
    return found
