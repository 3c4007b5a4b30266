"""What the Python client can ask for: classes, sums of classes, layers."""

import numpy as np
import pytest

from tests.conftest import LABELS


@pytest.mark.parametrize(
    ("target", "expected"),
    [(3, [3]), (np.int64(3), [3]), ("dog", [3]), ([4, "ant"], [4, 0]), (["bee"], [1])],
)
def test_targets_are_indices_labels_or_lists(client, picture, target, expected):
    found = client.explain(picture, model="cnn", target=target)
    several = isinstance(target, list)
    results = found if several else [found]
    assert [result.target for result in results] == expected
    assert [result.label for result in results] == [LABELS[index] for index in expected]


SUM = {"dog": 1, 0: -0.5}


@pytest.mark.parametrize("target", [SUM, [SUM, 3, "dog"]])
def test_a_weighted_sum_of_classes_is_a_target(client, picture, target):
    found = client.explain(picture, model="cnn", method="gradient", target=target)
    first, *classes = found if isinstance(target, list) else [found]
    assert (first.target, first.target_weights) == (None, {3: 1.0, 0: -0.5})
    assert first.label == "dog - 0.5 ant"
    assert [(one.target, one.target_weights) for one in classes] == [(3, None)] * len(classes)
    dog, ant = client.explain(picture, model="cnn", method="gradient", target=["dog", "ant"])
    expected = dog.attribution - 0.5 * ant.attribution
    np.testing.assert_allclose(first.attribution, expected, rtol=1e-4, atol=1e-7)
    assert first.score == pytest.approx(dog.score - 0.5 * ant.score)


def test_several_layers_have_a_result_each_after_the_targets(client, picture):
    options = {"model": "cnn", "method": "grad_cam", "relu": False}
    layers = ["relu2", "relu1"]
    found = client.explain(picture, target=["dog", 0], layer=layers, **options)
    asked = [(target, layer) for target in (3, 0) for layer in layers]
    for one, (target, layer) in zip(found, asked, strict=True):
        alone = client.explain(picture, target=target, layer=layer, **options)
        assert (one.target, one.provenance.layer) == (target, layer)
        assert one.provenance.options == alone.provenance.options
        np.testing.assert_allclose(one.heatmap, alone.heatmap, rtol=1e-4, atol=1e-7)


def test_the_top_classes_come_highest_first(client, picture):
    top = client.explain(picture, model="cnn", target="top3", method="saliency")
    assert [one.target for one in top] == [one.index for one in top[0].prediction.top[:3]]
    assert top[0].score >= top[1].score >= top[2].score
    default = client.explain(picture, model="cnn", method="saliency")
    for one in (default, client.explain(picture, model="cnn", method="saliency", target="top1")):
        np.testing.assert_array_equal(one.heatmap, top[0].heatmap)
