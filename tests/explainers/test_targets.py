"""What is explained: classes, and weighted sums of their scores."""

import copy

import numpy as np
import pytest
from onnx import numpy_helper
from onnxplain.explainers import load
from onnxplain.graph_rewrites import InvalidArgument, NotFound, list_methods

from tests.models import tiny_cnn

LABELS = ["cat", "dog", "Fox", "fox", "elk"]
TENSOR = np.random.default_rng(1).uniform(size=(3, 32, 32)).astype(np.float32)
SUM = {3: 1, 1: -0.5, 4: 2}

OPTIONS = {
    "lime": {"n_samples": 60, "segmenter": "grid"},
    "rise": {"n_samples": 60},
    "kernel_shap": {"n_samples": 60, "segmenter": "grid"},
    "sensitivity": {"granularity": "patch"},
    "smooth_grad": {"n_samples": 5},
}
REFUSING = {"deconvnet", "deep_taylor", "guided_backprop", "guided_grad_cam"}
# It starts from each class by itself, and what speaks for two of them does not add up.
SEPARATE = {"excitation_backprop"}


def with_a_class_that_is_the_sum():
    """The model with a further class whose weights are the sum of the others'."""
    model = copy.deepcopy(tiny_cnn(softmax=False))
    for tensor in model.graph.initializer:
        if tensor.name.startswith("logits."):
            rows = numpy_helper.to_array(tensor)
            added = sum(weight * rows[index] for index, weight in SUM.items())
            values = np.concatenate([rows, added[None]])
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6
    return model


METHODS = {method.name: method for method in list_methods()}


def explained(model, name, target):
    """Explain the logits."""
    has_score = any(option.name == "score" for option in METHODS[name].options)
    options = OPTIONS.get(name, {}) | ({"score": "logit"} if has_score else {})
    return model.explain(tensor=TENSOR, method=name, target=target, **options)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - REFUSING - SEPARATE))
def test_a_sum_of_classes_is_explained_as_the_class_that_it_would_be(name):
    found = explained(load(tiny_cnn(softmax=False), labels=LABELS), name, SUM)
    as_class = explained(load(with_a_class_that_is_the_sum()), name, 5)
    assert (found.target, found.target_weights) == (None, SUM)
    assert found.label == "fox - 0.5 dog + 2 elk"
    assert found.score == pytest.approx(as_class.score, rel=1e-4)
    assert found.heatmap.any()
    error = np.linalg.norm(found.heatmap - as_class.heatmap) / np.linalg.norm(as_class.heatmap)
    assert error < 2e-3


@pytest.mark.parametrize("name", sorted(REFUSING))
def test_methods_of_one_class_refuse_a_sum_by_name(name):
    with pytest.raises(InvalidArgument, match="explains one class") as refused:
        explained(load(tiny_cnn()), name, SUM)
    assert refused.value.reason == "CONTRAST_UNSUPPORTED"
    assert [violation.subject for violation in refused.value.violations] == ["target"]


@pytest.mark.parametrize("name", ["gradient", "occlusion", "smooth_grad"])
def test_the_probabilities_of_a_sum_are_summed(name):
    model = load(tiny_cnn())
    options = OPTIONS.get(name, {}) | {"score": "probability"}
    parts = [
        (weight, model.explain(tensor=TENSOR, method=name, target=index, **options))
        for index, weight in SUM.items()
    ]
    found = model.explain(tensor=TENSOR, method=name, target=SUM, **options)
    added = sum(weight * _signed(part) for weight, part in parts)
    np.testing.assert_allclose(_signed(found), added, rtol=1e-4, atol=1e-7)
    assert found.score == pytest.approx(sum(weight * part.score for weight, part in parts))


def _signed(one):
    return one.heatmap if one.attribution is None else one.attribution


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "lime"])
def test_classes_and_sums_stand_in_one_list_in_its_order(name):
    model = load(tiny_cnn(softmax=False), labels=LABELS)
    found = explained(model, name, [1, {"cat": 1, "dog": -1}, "elk", {0: 2.0}])
    assert [one.target for one in found] == [1, None, 4, None]
    assert [one.target_weights for one in found] == [None, {0: 1, 1: -1}, None, {0: 2}]
    assert [one.label for one in found] == ["dog", "cat - dog", "elk", "2 cat"]
    for one, target in zip(found, [1, {0: 1, 1: -1}, 4, {0: 2}], strict=True):
        alone = explained(model, name, target)
        np.testing.assert_allclose(one.heatmap, alone.heatmap, rtol=1e-4, atol=1e-6)
        assert one.score == pytest.approx(alone.score)


def test_one_class_that_counts_once_is_that_class():
    found = explained(load(tiny_cnn()), "guided_backprop", {2: 1.0, 3: 0})
    assert (found.target, found.target_weights) == (2, None)


@pytest.mark.parametrize(
    ("target", "kind", "reason"),
    [
        ({}, InvalidArgument, "TARGET_INVALID"),
        ({0: 0.0}, InvalidArgument, "TARGET_INVALID"),
        ({0: np.nan, 1: 1}, InvalidArgument, "TARGET_INVALID"),
        ({0: "1"}, InvalidArgument, "TARGET_INVALID"),
        ({0: True}, InvalidArgument, "TARGET_INVALID"),
        ({"cat": 1, 0: 2}, InvalidArgument, "TARGET_INVALID"),
        ({5: 1}, InvalidArgument, "TARGET_OUT_OF_RANGE"),
        ({"top2": 1}, NotFound, "UNKNOWN_LABEL"),
    ],
)
def test_a_sum_that_makes_no_sense_is_refused(target, kind, reason):
    with pytest.raises(kind) as refused:
        load(tiny_cnn(), labels=LABELS).explain(tensor=TENSOR, method="saliency", target=target)
    assert refused.value.reason == reason
