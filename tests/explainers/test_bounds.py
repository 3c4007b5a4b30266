"""The bounds of an image's values, which the rule zbox builds on."""

import numpy as np
import pytest
from onnxplain.explainers import load
from onnxplain.graph_rewrites import FailedPrecondition, InvalidArgument, rewrite
from onnxplain.graph_rewrites.composites import COMPOSITES

from tests.double import evaluate
from tests.models import PREPROCESSING, tiny_cnn


@pytest.mark.parametrize("composite", sorted(COMPOSITES))
def test_the_bounds_come_from_the_preprocessing_or_are_asked_for(composite):
    known = load(tiny_cnn(), preprocessing=PREPROCESSING)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = known.explain(picture, method="lrp", composite=composite, target=0)
    assert found.residual is not None
    if COMPOSITES[composite].first != "zbox":
        return
    tensor = known.preprocessing.normalise(picture[None])
    feeds = {"image": tensor, "target": np.array([0])}
    feeds |= {"low": np.full((1, 3, 1, 1), -1.0), "high": np.full((1, 3, 1, 1), 1.0)}
    expected = evaluate(rewrite(tiny_cnn(), "lrp", composite=composite), feeds)
    np.testing.assert_allclose(found.attribution, expected["attribution"][0], atol=1e-5)
    with pytest.raises(FailedPrecondition, match="preprocessing") as refused:
        load(tiny_cnn()).explain(tensor=tensor, method="lrp", composite=composite)
    assert refused.value.reason == "BOUNDS_UNKNOWN"


def test_bounds_that_are_given_win_over_the_preprocessings():
    model, x = tiny_cnn(), np.random.default_rng(3).normal(size=(3, 32, 32)).astype(np.float32)
    low, high = [-3.0, -2.0, -4.0], 3.0
    feeds = {"image": x[None], "target": np.array([0]), "high": np.full((1, 3, 1, 1), high)}
    feeds["low"] = np.reshape(low, (1, 3, 1, 1))
    options = {"method": "deep_taylor", "start": "one"}
    expected = evaluate(rewrite(model, input_domain="box", **options), feeds)["attribution"][0]
    for known in (None, PREPROCESSING):
        loaded = load(model, preprocessing=known)
        found = loaded.explain(tensor=x, target=0, low=low, high=high, **options)
        np.testing.assert_allclose(found.attribution, expected, atol=1e-5)
        assert found.provenance.options["low"] == (-3.0, -2.0, -4.0)
        with pytest.raises(InvalidArgument, match="low has 2 values, the image 3 channels"):
            loaded.explain(tensor=x, low=[0, 1], high=3, **options)


@pytest.mark.parametrize(
    ("high", "options", "told"),
    [
        (1.0, {"composite": "epsilon_gamma_box"}, True),
        (2.0, {"composite": "epsilon_gamma_box"}, False),
        (1.0, {"composite": "epsilon_plus", "rules": "conv1:zbox"}, True),
        (1.0, {"composite": "epsilon_plus"}, False),
    ],
)
def test_an_image_outside_its_bounds_is_told_where_they_are_used(high, options, told):
    x = np.zeros((3, 32, 32), np.float32)
    x[1, 4, 5] = 1.5
    found = load(tiny_cnn()).explain(tensor=x, method="lrp", low=-1, high=high, **options)
    assert ("OUTSIDE_BOUNDS" in [notice.code for notice in found.warnings]) is told
