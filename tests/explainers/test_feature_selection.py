"""Sparse surrogates choose what the reference library chooses, and weigh nothing else."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from lime.lime_base import LimeBase
from onnxplain.explainers.feature_selection import fit_sparse, select
from onnxplain.explainers.methods import lime
from onnxplain.explainers.surrogate import cosine_kernel, fit_surrogate

from tests.runs import PHOTO, FakeRun

REFERENCE = {
    "highest_weights": "highest_weights",
    "lasso_path": "lasso_path",
    "forward": "forward_selection",
}


def samples(seed, n_samples=120, n_segments=15):
    random = np.random.default_rng(seed)
    masks = random.random((n_samples, n_segments)) < 0.5
    masks[0] = True
    scores = masks @ random.normal(size=n_segments) ** 3 + 0.3 * random.normal(size=n_samples)
    return masks, scores, cosine_kernel(masks, 0.25)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_features", [1, 4, 15])
@pytest.mark.parametrize("how", REFERENCE)
def test_the_reference_library_chooses_the_same(how, n_features, seed):
    masks, scores, weights = samples(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = LimeBase(lambda distances: distances, random_state=0).feature_selection(
            masks.astype(float), scores, weights, n_features, REFERENCE[how]
        )
    found = select(how, masks, scores, weights, n_features)
    assert sorted(found) == sorted(expected)
    assert how == "lasso_path" or list(found) == list(expected)


def test_forward_selection_survives_columns_that_repeat():
    masks, scores, weights = samples(0)
    masks = np.concatenate([masks, masks], axis=1)
    chosen = select("forward", masks, scores, weights, 30)
    assert sorted(chosen) == list(range(30))
    assert len({index % 15 for index in chosen[:15]}) == 15


def test_each_score_has_weights_on_its_own_selection_only():
    masks, scores, weights = samples(1)
    both = np.stack([scores, -(scores**2)], axis=1)
    selected = [np.array([3, 0]), np.array([7])]
    found = fit_sparse(masks, both, weights, selected)
    assert np.flatnonzero(found.coefficients[:, 0]).tolist() == [0, 3]
    alone = fit_surrogate(masks[:, [7]], both[:, 1:], weights)
    assert found.coefficients[7, 1] == alone.coefficients[0, 0]
    assert found.intercepts[1] == alone.intercepts[0]


@pytest.mark.parametrize("how", REFERENCE)
def test_lime_weighs_the_chosen_superpixels(how):
    def corner(pictures):
        return pictures[:, :12, :12].var((1, 2, 3))[:, None]

    run = FakeRun(PHOTO, corner)
    (result,) = lime(
        run, n_samples=200, segmenter="grid", n_segments=16, feature_selection=how, n_features=2
    )
    assert 1 <= np.count_nonzero(result.coefficients) <= 2
    assert np.argmax(result.coefficients) == 0
