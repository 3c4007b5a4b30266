"""Sessions are kept within a budget of memory, over all models."""

import gc

import numpy as np
import pytest
from onnxplain.explainers import SessionCache, load

from tests.models import tiny_cnn

TENSOR = np.random.default_rng(1).normal(size=(3, 32, 32)).astype(np.float32)


def test_beyond_the_budget_the_least_recently_used_goes():
    cache = SessionCache(100)
    for key, size in [("a", 40), ("b", 40)]:
        cache.keep("one", key, key, size)
    assert cache.find("one", "a") == "a"
    cache.keep("other", "a", "c", 30)
    assert [cache.find("one", key) for key in "ab"] == ["a", None]
    assert cache.find("other", "a") == "c"
    assert cache.n_bytes == 70
    cache.keep("one", "huge", "d", 1000)
    assert (cache.find("one", "huge"), cache.n_bytes) == ("d", 1000)
    cache.forget("one")
    assert cache.n_bytes == 0


def test_an_owner_that_ends_while_the_cache_works_is_forgotten_by_the_next_call():
    cache = SessionCache(100)

    class Ending:
        """Forgets its owner as it goes."""

        def __del__(self):
            cache.forget("one")

    cache.keep("one", "a", Ending(), 60)
    cache.keep("one", "b", None, 40)
    cache.keep("other", "c", "c", 40)
    assert (cache.n_bytes, cache.find("other", "c")) == (40, "c")


@pytest.mark.parametrize("budget", [0, 2**30])
def test_what_was_given_up_is_made_again(budget):
    cache = SessionCache(budget)
    models = [load(tiny_cnn(seed=seed), sessions=cache) for seed in (0, 1)]
    methods = ["gradient", "grad_cam", "eigen_cam", "smooth_grad"]

    def explained():
        return [
            model.explain(tensor=TENSOR, method=method, target=1).heatmap
            for model in models
            for method in methods
        ]

    for one, again in zip(explained(), explained(), strict=True):
        np.testing.assert_array_equal(one, again)
    kept = cache.n_bytes
    assert kept > 0
    del models[0]
    gc.collect()
    assert cache.n_bytes < kept if budget else cache.n_bytes == kept
    del models[0]
    gc.collect()
    assert cache.n_bytes == 0
