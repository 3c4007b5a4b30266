"""The bounds of an image's values, which the rule zbox builds on."""

import numpy as np
import pytest
from onnx.helper import make_node
from onnxplain.explainers import load
from onnxplain.graph_rewrites import FailedPrecondition, InvalidArgument, rewrite
from onnxplain.graph_rewrites.composites import COMPOSITES

from tests.double import evaluate
from tests.models import PREPROCESSING, classifier, tiny_cnn


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


def test_one_bound_without_the_other_is_refused_where_neither_is_known():
    for method in ("deep_taylor", "lrp"):
        with pytest.raises(InvalidArgument, match="together") as refused:
            load(tiny_cnn()).explain(tensor=np.zeros((3, 32, 32)), method=method, high=1)
        assert refused.value.violations[0].subject == "low"


def test_bounds_that_do_not_reach_the_first_layer_are_told():
    model = tiny_cnn()
    model.graph.node[0].input[0] = "bent"
    model.graph.node.insert(0, make_node("Sin", ["image"], ["bent"]))
    found = load(model, preprocessing=PREPROCESSING).explain(
        tensor=np.full((3, 32, 32), 0.5), method="deep_taylor", target=0, start="score"
    )
    assert found.provenance.options["input_domain"] == "real"
    assert "BOUNDS_LOST" in [notice.code for notice in found.warnings]


def flipped(x):
    return x[:, ::-1]


def blocks(x):  # SpaceToDepth
    n, c, h, w = x.shape
    return (
        x.reshape(n, c, h // 2, 2, w // 2, 2)
        .transpose(0, 3, 5, 1, 2, 4)
        .reshape(n, -1, h // 2, w // 2)
    )


def unblocked(x):
    n, c, h, w = x.shape
    return (
        x.reshape(n, 2, 2, c // 4, h, w)
        .transpose(0, 3, 4, 1, 5, 2)
        .reshape(n, c // 4, 2 * h, 2 * w)
    )


def same(x):
    return x


# What stands before the first layer: nodes, constants, what it makes of an image, and back.
BEFORE = {
    "gathered channels": (
        [make_node("Gather", ["image", "order"], ["h"], axis=1)],
        {"order": np.array([2, 1, 0])},
        flipped,
        flipped,
    ),
    "sliced backwards": (
        [make_node("Slice", ["image", "last", "first", "axis", "step"], ["h"])],
        {"last": [-1], "first": [-9], "axis": [1], "step": [-1]},
        flipped,
        flipped,
    ),
    "joined": (
        [
            make_node("Gather", ["image", "rest"], ["some"], axis=1),
            make_node("Gather", ["image", "zero"], ["other"], axis=1),
            make_node("Concat", ["some", "other"], ["h"], axis=1),
        ],
        {"rest": np.array([2, 1]), "zero": np.array([0])},
        flipped,
        flipped,
    ),
    "clipped": (
        [make_node("Clip", ["image", "low", "high"], ["h"])],
        {"low": np.float32(-9), "high": np.float32(9)},
        same,
        same,
    ),
    "quantised": (
        [
            make_node("QuantizeLinear", ["image", "step", "middle"], ["q"]),
            make_node("DequantizeLinear", ["q", "step", "middle"], ["h"]),
        ],
        {"step": np.float32(0.25), "middle": np.uint8(128)},
        same,
        same,
    ),
    "blocks": ([make_node("SpaceToDepth", ["image"], ["h"], blocksize=2)], {}, blocks, unblocked),
}


@pytest.mark.parametrize("name", BEFORE)
def test_bounds_reach_the_first_layer_through_what_moves_the_image(name):
    nodes, constants, there, back = BEFORE[name]
    random = np.random.default_rng(2)
    x = np.rint(4 * random.normal(size=(2, 3, 4, 4))) / 4
    low, high = np.array([-3.0, -4.0, -5.0]), np.array([3.0, 4.0, 6.0])
    low, high = (np.broadcast_to(end.reshape(1, 3, 1, 1), (1, 3, 4, 4)) for end in (low, high))
    moved = there(x)
    w = random.normal(size=(4, moved.shape[1], 1, 1))
    own = {"w": w, "fc": random.normal(size=(4, 5))}
    layers = [
        make_node("Conv", ["h", "w"], ["z"]),
        make_node("Relu", ["z"], ["r"]),
        make_node("GlobalAveragePool", ["r"], ["pooled"]),
        make_node("Flatten", ["pooled"], ["flat"]),
        make_node("MatMul", ["flat", "fc"], ["logits"]),
    ]
    fixed = {key: np.asarray(value) for key, value in constants.items()}
    model = classifier([*nodes, *layers], own | fixed, size=4)
    options = {"input_domain": "box", "start": "score"}
    feeds = {"image": x, "target": np.array([1, 3])}
    ends = {"low": low[:, :, :1, :1], "high": high[:, :, :1, :1]}
    names = [value.name for value in rewrite(model, "deep_taylor", **options).graph.input][2:]
    given = dict(zip(names, ends.values(), strict=True))
    found = evaluate(rewrite(model, "deep_taylor", **options), feeds | given)["attribution"]
    layers[0].input[0] = "image"
    plain = classifier(layers, own, size=moved.shape[2], channels=moved.shape[1])
    feeds["image"] = moved
    given = {"low": there(low)[:, :, :1, :1], "high": there(high)[:, :, :1, :1]}
    expected = evaluate(rewrite(plain, "deep_taylor", **options), feeds | given)["attribution"]
    np.testing.assert_allclose(found, back(expected), atol=1e-12)
