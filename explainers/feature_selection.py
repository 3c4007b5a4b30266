"""Which superpixels a sparse surrogate may weigh."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import lars_path

from .surrogate import Floats, Masks, Surrogate, centred, fit_surrogate

__all__ = ["fit_sparse", "select"]


def select(
    how: str, masks: Masks, scores: Floats, weights: Floats, n_features: int
) -> npt.NDArray[np.intp]:
    """Return at most ``n_features`` superpixels, chosen as the reference implementation does.

    Parameters
    ----------
    how
        ``highest_weights``, of a ridge regression with penalty 0.01;
        ``lasso_path``, the last point of the LASSO path with so few; ``forward``, greedily the
        one that most increases the R^2 of a linear regression.
    masks, scores, weights
        Samples: ``[N, K]``, ``[N]``, ``[N]``.
    """
    if how == "highest_weights":
        coefficients = fit_surrogate(masks, scores[:, None], weights, alpha=0.01).coefficients
        return np.argsort(-np.abs(coefficients[:, 0]), kind="stable")[:n_features]
    x, y = centred(masks, weights), centred(scores[:, None], weights)[:, 0]
    if how == "lasso_path":
        _, _, path = lars_path(x, y, method="lasso")
        few = [point for point in path.T[:0:-1] if np.count_nonzero(point) <= n_features]
        return np.flatnonzero(few[0] if few else path[:, min(1, path.shape[1] - 1)])
    return _forward(x, y, n_features)


def fit_sparse(
    masks: Masks, scores: Floats, weights: Floats, selected: list[npt.NDArray[np.intp]]
) -> Surrogate:
    """As `fit_surrogate`, for each score with the coefficients of its own selection only."""
    coefficients = np.zeros((masks.shape[1], scores.shape[1]))
    intercepts = np.zeros(scores.shape[1])
    for target, chosen in enumerate(selected):
        found = fit_surrogate(masks[:, chosen], scores[:, target : target + 1], weights)
        coefficients[chosen, target] = found.coefficients[:, 0]
        intercepts[target] = found.intercepts[0]
    return Surrogate(coefficients, intercepts)


def _forward(x: Floats, y: Floats, n_features: int) -> npt.NDArray[np.intp]:
    """Choose columns one by one: of what is left unexplained, ``(x_j y)^2 / (x_j x_j)`` is most."""
    gram, moments = x.T @ x, x.T @ y
    free = gram.diagonal().copy()
    chosen: list[int] = []
    for _ in range(min(n_features, len(free))):
        size = gram.diagonal()
        usable = size > 1e-10 * free.max()
        gains = np.divide(moments**2, size, out=np.full(len(free), -1.0), where=usable)
        gains[chosen] = -2
        best = int(np.argmax(gains))
        chosen.append(best)
        if usable[best]:  # take its direction out of all columns and of y
            direction = gram[best] / size[best]
            moments = moments - direction * moments[best]
            gram = gram - np.outer(direction, gram[best])
    return np.array(chosen)
