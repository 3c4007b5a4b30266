"""Shapley values by weighted least squares: which coalitions to ask about, and the fit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

__all__ = ["Coalitions", "choose_coalitions", "fit_shapley"]

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Coalitions:
    """Coalitions of K players, none of them empty or everybody.

    Attributes
    ----------
    masks
        ``[N, K]``, who takes part.
    weights
        ``[N]``, their sum is 1: a coalition's share of the Shapley kernel
        ``(K - 1) / (C(K, s) s (K - s))``, s its size.
    n_drawn
        How many, the last ones, were drawn at random: pairs of a coalition and its complement, one
        after the other. The others are all there are of their size.
    draws
        Which of these pairs each draw was, the pairs in the order in which they came first.
    """

    masks: Masks
    weights: Floats
    n_drawn: int
    draws: npt.NDArray[np.intp]

    def first(self, n: int) -> Coalitions:
        """Return about the first ``n``, weighed as if no more had been chosen."""
        if n >= len(self.masks):
            return self
        n_certain = len(self.masks) - self.n_drawn
        n_pairs = max(n - n_certain, 0) // 2
        certain = self.weights[: min(n, n_certain)]
        known = np.maximum.accumulate(self.draws)  # the last pair that came by then
        draws = self.draws[: np.searchsorted(known, n_pairs)]
        times = np.bincount(draws, minlength=n_pairs)
        left = 1 - self.weights[:n_certain].sum()
        drawn = left * times / max(len(draws), 1) / 2
        weights = np.concatenate([certain, drawn.repeat(2)])
        return Coalitions(self.masks[: len(weights)], weights / weights.sum(), 2 * n_pairs, draws)


def choose_coalitions(n_players: int, n_samples: int, random: np.random.Generator) -> Coalitions:
    """Return about ``n_samples`` coalitions: sizes near 0 and K whole, the others at random.

    A size is taken whole, with the size of the complements, as long as its share of the samples
    covers it (Lundberg and Lee 2017); then the rest is drawn in pairs, which cancels errors.
    """
    masks: list[Masks] = []
    weights: list[float] = []
    sizes = list(range(1, n_players // 2 + 1))  # each stands for its complements too
    shares = {
        size: (1 if 2 * size == n_players else 2) / (size * (n_players - size)) for size in sizes
    }
    scale = sum(shares.values())
    while sizes:
        size = sizes[0]
        paired = 2 * size != n_players
        count = comb(n_players, size) * (1 + paired)
        left = sum(shares[one] for one in sizes)
        if (n_samples - len(masks)) * shares[size] / left < count * (1 - 1e-9):
            break
        for members in combinations(range(n_players), size):
            mask = np.zeros(n_players, np.bool_)
            mask[list(members)] = True
            masks += [mask, ~mask] if paired else [mask]
        weights += [shares[size] / scale / count] * count
        del sizes[0]
    drawn, draws = _draw(
        n_players, n_samples - len(masks), sizes, [shares[one] for one in sizes], random
    )
    left = sum(shares[one] for one in sizes) / scale
    for mask, times in zip(drawn, np.bincount(draws, minlength=len(drawn)), strict=True):
        masks += [mask, ~mask]
        weights += [left * times / len(draws) / 2] * 2
    return Coalitions(np.array(masks), np.array(weights), 2 * len(drawn), draws)


def fit_shapley(masks: Masks, gains: Floats, weights: Floats, total: Floats) -> Floats:
    """Return ``phi`` ``[K, T]``: sums over coalitions nearest to their gains, ``sum phi = total``.

    Parameters
    ----------
    masks, weights
        ``[N, K]`` and ``[N]``.
    gains
        ``[N, T]``, the score of each coalition less that of nobody.
    total
        ``[T]``, the gain of everybody.

    Notes
    -----
    With ``phi = total / K + u`` the sum of ``u`` is 0, and so ``m u = (m - mean of m) u``: least
    squares for ``u`` with each mask less its own mean has no constraint. Where the coalitions do
    not determine ``u``, the smallest one is taken.
    """
    n_players = masks.shape[1]
    equal = total / n_players
    x = masks - masks.mean(axis=1, keepdims=True)
    rest = gains - masks.sum(axis=1)[:, None] * equal
    gram = x.T @ (x * weights[:, None])
    u = np.linalg.lstsq(gram, x.T @ (rest * weights[:, None]), rcond=1e-12)[0]
    return np.asarray(equal + u - u.mean(axis=0))


def _draw(
    n_players: int,
    n_samples: int,
    sizes: list[int],
    shares: list[float],
    random: np.random.Generator,
) -> tuple[list[Masks], npt.NDArray[np.intp]]:
    """Draw coalitions for half of the samples, complements make the other; which each draw was."""
    found: dict[bytes, int] = {}
    draws: list[int] = []
    if sizes:
        probabilities = np.array(shares) / sum(shares)
        for _ in range(4 * n_samples):  # more than enough unless nearly all have been drawn
            if 2 * len(found) + 2 > n_samples:
                break
            mask = np.zeros(n_players, np.bool_)
            mask[random.permutation(n_players)[: random.choice(sizes, p=probabilities)]] = True
            drawn = mask if mask[0] else ~mask  # a pair is known by its half with the first player
            draws.append(found.setdefault(drawn.tobytes(), len(found)))
    return [np.frombuffer(one, np.bool_) for one in found], np.array(draws, np.intp)
