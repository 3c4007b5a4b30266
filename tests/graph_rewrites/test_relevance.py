"""Relevance propagation: golden values, a naive second implementation, and what must hold."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx.numpy_helper import from_array, to_array
from onnxplain.explainers import load
from onnxplain.graph_rewrites import InvalidArgument, rewrite

from tests.double import evaluate, relative_error
from tests.goldens import GOLDEN, INDEX
from tests.models import PREPROCESSING, tiny_cnn, tiny_mlp

# Array in golden: method and options.
ARRAYS = {
    "lrp_epsilon__1e-6": ("lrp", {"composite": "epsilon"}),
    "lrp_epsilon__0.25": ("lrp", {"composite": "epsilon", "epsilon": 0.25}),
    "lrp_zplus": ("lrp", {"composite": "alpha1_beta0"}),
    "lrp_alphabeta__1_0": ("lrp", {"rules": "*:alpha_beta", "alpha": 1, "beta": 0}),
    "lrp_alphabeta__2_1": ("lrp", {"composite": "alpha2_beta1"}),
    "lrp_gamma__0.25": ("lrp", {"composite": "gamma"}),
    "lrp_wsquare_zplus": ("deep_taylor", {"input_domain": "real", "start": "score"}),
    "lrp_zbox_zplus": ("deep_taylor", {"input_domain": "box", "start": "score"}),
    "lrp_flat_epsilon": ("lrp", {"composite": "flat_epsilon"}),
    "lrp_epsilon_plus": ("lrp", {}),
    "lrp_epsilon_plus_flat": ("lrp", {"composite": "epsilon_plus_flat"}),
    "lrp_epsilon_alpha2_beta1": ("lrp", {"composite": "epsilon_alpha2_beta1"}),
    "lrp_epsilon_alpha2_beta1_flat": ("lrp", {"composite": "epsilon_alpha2_beta1_flat"}),
    "lrp_epsilon_gamma_box": ("lrp", {"composite": "epsilon_gamma_box"}),
    "lrp_excitation_backprop": ("excitation_backprop", {}),
}

# What else than a layer with weights relevance goes through, and the option that says how.
READINGS = {
    "densenet_like": "batch_norm",
    "dilated_grouped": "resize",
    "inception_like": "lrn",
    "input_norm": "batch_norm",
    "se_swish_like": "gate",
}
# The readings by the end of the array's name; an array without one is what the library does.
BY_SUFFIX = {
    "bn_linear": "linear",
    "bn_next": "merge",
    "gate_pass": "signal",
    "lrn_pass": "pass",
    "resize_norm": "norm",
}
# Files of a network but the first are read differently by few rules: one of each kind.
TELLING = {
    "lrp_epsilon_plus",
    "lrp_gamma__0.25",
    "lrp_zbox_zplus",
    "lrp_flat_epsilon",
    "lrp_excitation_backprop",
}

FILES = [
    pytest.param(name, network, model, id=Path(model["file"]).stem)
    for name, network in INDEX["networks"].items()
    for model in network["models"]
]


def arrays_of(name, network):
    for found in network["arrays"]:
        suffix = next((end for end in BY_SUFFIX if found.endswith(end)), "")
        key = found.removesuffix(suffix).rstrip("_") if suffix else found
        if key not in ARRAYS:
            continue
        if name == "input_norm" and suffix != "bn_next" and "box" in key:
            continue  # golden takes the image's bounds for those of the normalised image
        method, options = ARRAYS[key]
        if suffix:
            options = options | {READINGS[name]: BY_SUFFIX[suffix]}
        elif READINGS.get(name) == "batch_norm" and method != "excitation_backprop":
            options = options | {"batch_norm": "pass"}
        elif name in READINGS:
            options = options | {READINGS[name]: "gradient"}
        yield found, key, method, options


def run(model, feeds):
    session = ort.InferenceSession(model.SerializeToString())
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize(("name", "network", "model"), FILES)
def test_golden_in_float32_and_in_double(name, network, model):
    data, first = np.load(GOLDEN / network["data"]), model is network["models"][0]
    for found, key, method, options in arrays_of(name, network):
        if not first and key not in TELLING:
            continue
        rewritten = rewrite(GOLDEN / model["file"], method, **options)
        feeds = {model["input"]: data["x"], "target": data["target"]}
        if len(rewritten.graph.input) > 2:
            feeds |= {"low": data["low"], "high": data["high"]}
        tolerance = network["arrays"][found]["tolerance"]
        assert relative_error(run(rewritten, feeds)["attribution"], data[found]) < tolerance, found
        if first:
            # Golden merges BatchNormalization in double; the exporter rounded to float32, which
            # the rule epsilon enlarges by division: 2.01e-5 on densenet_like.
            double = evaluate(rewritten, feeds)["attribution"]
            assert relative_error(double, data[found]) < 3e-5, found


# A naive second implementation: dense matrices, one layer after the other, loops over outputs.
W1, B1, W2, B2 = (
    np.random.default_rng(5).normal(size=shape) for shape in ((12, 48), (12,), (4, 12), (4,))
)


def dense_model():
    model = tiny_mlp(size=4, width=12, classes=4, softmax=False)
    values = {"hidden.weight": W1, "hidden.bias": B1, "logits.weight": W2, "logits.bias": B2}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(from_array(values[tensor.name].astype(np.float32), tensor.name))
    return model


def stabilised(z, step=1e-6):
    return z + (step if z >= 0 else -step)


def naive(rule, x, w, b, relevance, low=None, high=None):
    result = np.zeros_like(x)
    for j, share in enumerate(relevance):
        products, bias = x * w[j], b[j]
        if rule == "epsilon":
            result += products * share / stabilised(products.sum() + bias)
        elif rule in ("zplus", "alpha2_beta1"):
            plus, minus = np.maximum(products, 0), np.minimum(products, 0)
            up = plus * share / stabilised(plus.sum() + max(bias, 0))
            down = minus * share / stabilised(minus.sum() + min(bias, 0))
            result += up if rule == "zplus" else 2 * up - down
        elif rule == "gamma":
            z = products.sum() + bias
            if z == 0:
                continue
            side = np.maximum if z > 0 else np.minimum
            more = products + 0.25 * side(products, 0)
            result += more * share / stabilised(more.sum() + bias + 0.25 * side(bias, 0))
        elif rule == "w_square":
            result += w[j] ** 2 * share / stabilised((w[j] ** 2).sum() + bias**2)
        elif rule == "flat":
            result += share / stabilised(len(x))
        else:
            box = products - low * np.maximum(w[j], 0) - high * np.minimum(w[j], 0)
            result += box * share / stabilised(box.sum())
    return result


@pytest.mark.parametrize(
    ("method", "options", "first", "second"),
    [
        ("lrp", {"composite": "epsilon"}, "epsilon", "epsilon"),
        ("lrp", {"composite": "alpha1_beta0"}, "zplus", "zplus"),
        ("lrp", {"composite": "alpha2_beta1"}, "alpha2_beta1", "alpha2_beta1"),
        ("lrp", {"composite": "gamma"}, "gamma", "gamma"),
        ("lrp", {"composite": "flat_epsilon"}, "flat", "epsilon"),
        ("deep_taylor", {"input_domain": "real", "start": "score"}, "w_square", "zplus"),
        ("deep_taylor", {"input_domain": "box", "start": "score"}, "zbox", "zplus"),
        ("deep_taylor", {"input_domain": "positive", "start": "score"}, "zplus", "zplus"),
    ],
)
def test_a_rule_is_its_definition_written_out_in_loops(method, options, first, second):
    x = np.random.default_rng(1).normal(size=48)
    w1, b1, w2, b2 = (array.astype(np.float32).astype(np.float64) for array in (W1, B1, W2, B2))
    hidden = np.maximum(w1 @ x + b1, 0)
    start = np.zeros(4)
    start[2] = w2[2] @ hidden + b2[2]
    inner = naive(second, hidden, w2, b2, start)
    expected = naive(first, x, w1, b1, inner, low=-4.0, high=5.0)
    feeds = {"image": x.reshape(1, 3, 4, 4), "target": np.array([2])}
    if "box" in options.values():
        feeds |= {"low": np.full((1, 3, 1, 1), -4.0), "high": np.full((1, 3, 1, 1), 5.0)}
    found = evaluate(rewrite(dense_model(), method, **options), feeds)
    np.testing.assert_allclose(found["attribution"].reshape(-1), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found["residual"], expected.sum() - start[2], atol=1e-9)


def without_biases(model):
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".bias"):
            tensor.CopyFrom(from_array(0 * to_array(tensor), tensor.name))
    return model


PICTURES = np.random.default_rng(2).normal(size=(2, 3, 12, 12)).astype(np.float32)
FEEDS = {"image": PICTURES, "target": np.array([1, 3])}


@pytest.mark.parametrize("composite", ["epsilon", "alpha1_beta0", "gamma", "epsilon_plus"])
def test_without_biases_relevance_is_conserved(composite):
    model = without_biases(tiny_cnn(size=12))
    options = {"composite": composite, "epsilon": 1e-9}
    found = evaluate(rewrite(model, "lrp", **options), FEEDS)
    start = evaluate(without_biases(tiny_cnn(size=12, softmax=False)), {"image": PICTURES})
    scores = start["logits"][[0, 1], FEEDS["target"]]
    assert np.abs(found["residual"]).max() < 1e-4 * np.abs(scores).max()
    np.testing.assert_allclose(found["attribution"].sum(axis=(1, 2, 3)), scores, rtol=1e-4)


def test_without_biases_and_with_a_tiny_epsilon_it_is_input_times_gradient():
    model = without_biases(tiny_cnn(size=12))
    found = evaluate(rewrite(model, "lrp", composite="epsilon", epsilon=1e-12), FEEDS)
    expected = evaluate(rewrite(model, "input_x_gradient"), FEEDS)
    # the norm rule of the average pool keeps its own stabiliser, 1e-6
    assert relative_error(found["attribution"], expected["attribution"]) < 1e-5


def test_deep_taylor_is_not_negative_and_keeps_the_positive_score():
    model = without_biases(tiny_cnn(size=12))
    found = evaluate(rewrite(model, "deep_taylor", input_domain="real"), FEEDS)
    assert found["attribution"].min() >= 0
    start = evaluate(without_biases(tiny_cnn(size=12, softmax=False)), {"image": PICTURES})
    scores = np.maximum(start["logits"][[0, 1], FEEDS["target"]], 0)
    np.testing.assert_allclose(found["attribution"].sum(axis=(1, 2, 3)), scores, rtol=1e-4)


def test_the_starts_are_the_score_its_positive_part_and_one():
    model = tiny_cnn(size=12)
    maps = {
        start: evaluate(rewrite(model, "lrp", start=start), FEEDS)["attribution"]
        for start in ("score", "positive_score", "one")
    }
    scores = evaluate(tiny_cnn(size=12, softmax=False), {"image": PICTURES})["logits"]
    for row, target in enumerate(FEEDS["target"]):
        score = scores[row, target]
        np.testing.assert_allclose(maps["score"][row], score * maps["one"][row], atol=1e-12)
        positive = maps["positive_score"][row]
        np.testing.assert_allclose(positive, max(score, 0) * maps["one"][row], atol=1e-12)


def test_what_biases_took_is_told():
    model = tiny_cnn(size=12)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".bias"):
            tensor.CopyFrom(from_array(to_array(tensor) + np.float32(2), tensor.name))
    options = {"tensor": PICTURES[0], "method": "lrp", "composite": "alpha1_beta0"}
    codes = [notice.code for notice in load(model).explain(**options).warnings]
    assert codes == ["LARGE_RESIDUAL"]
    assert load(without_biases(tiny_cnn(size=12))).explain(**options).warnings == ()


@pytest.mark.parametrize(("known", "domain"), [(PREPROCESSING, "box"), (None, "real")])
def test_deep_taylor_takes_the_domain_that_is_known(known, domain):
    found = load(tiny_cnn(), preprocessing=known).explain(
        tensor=np.zeros((3, 32, 32)), method="deep_taylor"
    )
    assert found.provenance.options["input_domain"] == domain


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("excitation_backprop", {"contrastive": True, "target": 1}),
        ("lrp", {"start": "one", "target": {0: 1.0, 1: -1.0}, "composite": "epsilon"}),
    ],
)
def test_a_sum_of_nothing_is_not_missed(method, options):
    found = load(without_biases(tiny_cnn(size=12))).explain(
        tensor=PICTURES[0], method=method, **options
    )
    assert np.abs(found.attribution).max() > 1e-6
    assert "LARGE_RESIDUAL" not in [notice.code for notice in found.warnings]


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (0.0, {"composite": "epsilon"}, "the method distributes"),
        (1.0, {"start": "positive_score"}, "start=score"),
    ],
)
def test_an_empty_map_says_why_it_is(image, options, words):
    model = tiny_cnn(size=12)
    for tensor in model.graph.initializer:
        if tensor.name == "logits.bias":
            tensor.CopyFrom(from_array(np.full(5, -9, np.float32), tensor.name))
    x = np.full((3, 12, 12), image, np.float32)
    found = load(model).explain(tensor=x, method="lrp", target=1, **options)
    (notice,) = [notice for notice in found.warnings if notice.code == "NO_EVIDENCE"]
    assert words in notice.message


def test_deep_taylor_refuses_a_weighing_of_classes():
    with pytest.raises(InvalidArgument) as refused:
        rewrite(tiny_cnn(), "deep_taylor", target_kind="weights")
    assert refused.value.reason == "CONTRAST_UNSUPPORTED"
