"""Feature maps by name: several in one call."""

import itertools

import numpy as np
import pytest
from onnxplain.explainers import load
from onnxplain.graph_rewrites import InvalidArgument

from tests.models import tiny_cnn

TENSOR = np.random.default_rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("method", ["grad_cam", "eigen_cam", "lrp"])
def test_several_layers_have_an_explanation_each_after_image_and_target(method):
    explain = load(tiny_cnn()).explain
    layers = ["relu2", "relu1"]
    found = explain(tensor=TENSOR, method=method, target=[3, 0], layer=layers)
    asked = itertools.product(TENSOR, [3, 0], layers)
    for one, (tensor, target, layer) in zip(found, asked, strict=True):
        alone = explain(tensor=tensor, method=method, target=target, layer=layer)
        np.testing.assert_allclose(one.heatmap, alone.heatmap, rtol=1e-4, atol=1e-7)
        assert (one.target, one.provenance.layer) == (target, layer)
        assert one.provenance.options == alone.provenance.options
    (only,) = explain(tensor=TENSOR[0], method=method, target=3, layer=["relu1"])
    assert only.provenance.options["layer"] == "relu1"


@pytest.mark.parametrize(
    ("layer", "reason", "words"),
    [
        ([], "OPTION_OUT_OF_RANGE", "empty"),
        (["relu1", 2], "OPTION_OUT_OF_RANGE", "2 is not a text"),
        (["relu1", "rel2"], "UNKNOWN_LAYER", "did you mean relu2"),
    ],
)
@pytest.mark.parametrize("method", ["grad_cam", "eigen_cam"])
def test_layers_that_are_none_are_refused_with_the_nearest_names(method, layer, reason, words):
    with pytest.raises(InvalidArgument, match=words) as refused:
        load(tiny_cnn()).explain(tensor=TENSOR[0], method=method, layer=layer)
    assert refused.value.reason == reason
