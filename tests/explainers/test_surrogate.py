"""The surrogate is scikit-learn's weighted ridge regression, whatever its shape."""

from __future__ import annotations

import numpy as np
import pytest
from onnxplain.explainers.surrogate import cosine_kernel, fit_surrogate
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n_samples", "n_segments"), [(40, 9), (9, 40), (5000, 3)])
def test_the_surrogate_is_scikit_learns_weighted_ridge(n_samples, n_segments):
    masks = RNG.random((n_samples, n_segments)) < 0.5
    masks[1] = False
    scores = RNG.normal(size=(n_samples, 2))
    weights = cosine_kernel(masks, 0.25)
    distances = pairwise_distances(masks.astype(float), np.ones((1, n_segments)), metric="cosine")
    np.testing.assert_allclose(weights, np.sqrt(np.exp(-(distances.ravel() ** 2) / 0.25**2)))
    ours = fit_surrogate(masks, scores, weights)
    theirs = Ridge(alpha=1).fit(masks, scores, sample_weight=weights)
    np.testing.assert_allclose(ours.coefficients, theirs.coef_.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.intercepts, theirs.intercept_, rtol=1e-9)
    np.testing.assert_allclose(ours.predict(masks), theirs.predict(masks), rtol=1e-9, atol=1e-12)
    for target in range(2):
        alone = Ridge(alpha=1).fit(masks, scores[:, target], sample_weight=weights)
        expected = alone.score(masks, scores[:, target], sample_weight=weights)
        assert ours.r2(masks, scores, weights)[target] == pytest.approx(expected)
