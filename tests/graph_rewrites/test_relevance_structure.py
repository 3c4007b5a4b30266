"""How relevance passes what is no layer with weights, and the options that say so."""

import math

import numpy as np
import pytest
from onnx.helper import make_node
from onnx.numpy_helper import from_array, to_array
from onnxplain.graph_rewrites import InvalidArgument, provenance_of, rewrite

from tests.double import evaluate, relative_error
from tests.models import branches, classifier, tiny_cnn

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 3, 3))
FEEDS = {"image": IMAGES, "target": np.array([1, 4])}
TINY = {"composite": "epsilon", "epsilon": 1e-9}


def explained(model, method="lrp", **options):
    rewritten = rewrite(model, method, **options)
    codes = [code for code, _ in provenance_of(rewritten)["warnings"]]
    return evaluate(rewritten, FEEDS), codes


def scores(found):
    return found["logits"][[0, 1], FEEDS["target"]]


def number(value):
    return np.array(value, np.float32)


# Joins of the branches a and b that have a rule: what comes out at the image is what went in.
CONSERVING = {
    "sum": [make_node("Add", ["a", "b"], ["y"])],
    "sum of three": [make_node("Sum", ["a", "b", "a"], ["y"])],
    "difference": [make_node("Sub", ["a", "b"], ["y"])],
    "mean": [make_node("Mean", ["a", "b"], ["y"])],
    "maximum": [make_node("Max", ["a", "b"], ["y"])],
    "gate": [make_node("Sigmoid", ["b"], ["gate"]), make_node("Mul", ["a", "gate"], ["y"])],
    "smaller gate": [
        make_node("GlobalAveragePool", ["b"], ["small"]),
        make_node("Mul", ["small", "a"], ["y"]),
    ],
    "quotient": [make_node("Exp", ["b"], ["scale"]), make_node("Div", ["a", "scale"], ["y"])],
    "swish": [make_node("Sigmoid", ["a"], ["s"]), make_node("Mul", ["s", "a"], ["y"])],
    "swish of a sum": [
        make_node("Add", ["a", "b"], ["ab"]),
        make_node("Sigmoid", ["ab"], ["s"]),
        make_node("Mul", ["ab", "s"], ["y"]),
    ],
    "square": [make_node("Mul", ["a", "a"], ["y"])],
    "prelu": [make_node("PRelu", ["a", "slope"], ["y"])],
    "average pool": [
        make_node("AveragePool", ["a"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    ],
    "overlapping maxima": [
        make_node("MaxPool", ["a"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    ],
    "tiles": [
        make_node("Tile", ["a", "twice"], ["t"]),
        make_node("Slice", ["t", "four", "eight", "one"], ["y"]),
    ],
    "chosen elements": [make_node("GatherElements", ["a", "places"], ["y"], axis=2)],
    "chosen by sign": [
        make_node("Less", ["a", "nought"], ["below"]),
        make_node("Mul", ["a", "slope"], ["small"]),
        make_node("Where", ["below", "small", "a"], ["y"]),
    ],
    "norm": [
        make_node("ReduceL2", ["a", "rows"], ["l2"]),
        make_node("ReduceL1", ["b", "rows"], ["l1"]),
        make_node("Add", ["l1", "l2"], ["both"]),
        make_node("Expand", ["both", "sizes"], ["y"]),
    ],
    "largest": [
        make_node("ReduceMax", ["a", "rows"], ["high"]),
        make_node("ReduceMin", ["b", "rows"], ["low"]),
        make_node("Add", ["high", "low"], ["both"]),
        make_node("Expand", ["both", "sizes"], ["y"]),
    ],
    "attention": [
        make_node("Softmax", ["b"], ["weights"]),
        make_node("MatMul", ["weights", "a"], ["y"]),
    ],
    "attention by Einsum": [
        make_node("Softmax", ["b"], ["weights"]),
        make_node("Einsum", ["a", "weights"], ["y"], equation="nchw,ncvw->ncvh"),
    ],
    "shuffle": [
        make_node("Split", ["a"], ["a1", "a2"], axis=1, num_outputs=2),
        make_node("Concat", ["a2", "a1"], ["y"], axis=1),
    ],
}
INDICES = {"rows": np.array([2]), "sizes": np.array([1, 4, 3, 3])}
WEIGHTS = {
    "prelu": {"slope": np.full((4, 1, 1), 0.25)},
    "tiles": {
        "twice": np.array([1, 3, 1, 1]),
        "four": np.array([4]),
        "eight": np.array([8]),
        "one": np.array([1]),
    },
    "chosen elements": {"places": np.random.default_rng(1).integers(0, 3, (2, 4, 3, 3))},
    "chosen by sign": {"slope": number(0.1), "nought": number(0)},
    "norm": INDICES,
    "largest": INDICES,
}


@pytest.mark.parametrize("join", sorted(CONSERVING))
def test_relevance_is_conserved_and_nothing_is_guessed(join):
    model = branches(*CONSERVING[join], **WEIGHTS.get(join, {}))
    found, codes = explained(model, **TINY)
    np.testing.assert_allclose(found["attribution"].sum(axis=(1, 2, 3)), scores(found), rtol=1e-3)
    assert np.abs(found["residual"]).max() < 1e-3 * np.abs(scores(found)).max()
    assert codes == []


@pytest.mark.parametrize("kind", ["LayerNormalization", "InstanceNormalization"])
def test_standardisation_shares_by_the_norm_rule_with_its_scale_held(kind):
    x = np.random.default_rng(2).normal(size=(2, 4, 3, 3))
    per = (3, 3) if kind == "LayerNormalization" else (4,)
    scale, shift = (np.random.default_rng(seed).normal(size=per) for seed in (4, 5))
    node = make_node(
        kind, ["a", "scale", "shift"], ["y"], **({"axis": 2} if kind[0] == "L" else {})
    )
    found, _ = explained(branches(node, scale=scale, shift=shift), layer="a", **TINY)
    weights = branches(node, scale=scale, shift=shift).graph.initializer
    u, fc = (to_array(next(t for t in weights if t.name == name)) for name in ("u", "fc"))
    x = convolved(IMAGES, u.astype(np.float64))
    scale, shift = (array.astype(np.float32).astype(np.float64) for array in (scale, shift))
    wide = (lambda array: array) if kind[0] == "L" else (lambda array: array[:, None, None])
    centred = x - x.mean(axis=(2, 3), keepdims=True)
    slope = wide(scale) / np.sqrt((centred**2).mean(axis=(2, 3), keepdims=True) + 1e-5)
    y = slope * centred + wide(shift)
    arrived = y * fc.astype(np.float64).T[FEEDS["target"]].reshape(2, 4, 3, 3)
    jacobian = np.eye(9) - 1 / 9  # of centring nine values
    quotient = (slope * arrived / (y + 1e-6 * np.where(y < 0, -1, 1))).reshape(2, 4, 9)
    expected = x * (quotient @ jacobian).reshape(x.shape)
    np.testing.assert_allclose(found["native_heatmap"], expected.sum(axis=1), rtol=1e-5)


def test_a_softmax_that_is_no_gate_shares_by_its_slopes():
    model = branches(make_node("Softmax", ["a"], ["y"], axis=1))
    found, _ = explained(model, layer="a", **TINY)
    u, fc = (
        to_array(next(t for t in model.graph.initializer if t.name == name)).astype(np.float64)
        for name in ("u", "fc")
    )
    a = convolved(IMAGES, u)
    y = np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)
    arrived = y * fc.T[FEEDS["target"]].reshape(2, 4, 3, 3)
    jacobian = np.einsum("ncij,cd->ncdij", y, np.eye(4)) - np.einsum("ncij,ndij->ncdij", y, y)
    expected = a * np.einsum("ncij,ncdij->ndij", arrived / y, jacobian)
    np.testing.assert_allclose(found["native_heatmap"], expected.sum(axis=1), rtol=1e-5)


def convolved(x, weight):
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("ncijkl,mckl->nmij", windows, weight)


@pytest.mark.parametrize(
    ("op_type", "first", "code"),
    [
        ("Mul", "b", "AMBIGUOUS_GATE"),
        ("MatMul", "b", "AMBIGUOUS_GATE"),
        ("MatMul", "mixing", "NORM_RULE"),
    ],
)
def test_what_a_product_shares_without_a_rule_of_its_own_is_said(op_type, first, code):
    mixing = np.random.default_rng(5).normal(size=(3, 3))
    weights = {"mixing": mixing} if first == "mixing" else {}
    model = branches(make_node(op_type, [first, "a"], ["y"], name="p"), **weights)
    found, codes = explained(model, **TINY)
    assert codes == [code]
    np.testing.assert_allclose(found["attribution"].sum(axis=(1, 2, 3)), scores(found), rtol=1e-3)


ACTIVATIONS = {
    "relu6": (
        [make_node("Clip", ["a", "zero", "six"], ["y"])],
        [make_node("Relu", ["a"], ["positive"]), make_node("Min", ["positive", "six"], ["y"])],
        {"zero": number(0), "six": number(6)},
    ),
    "hard swish": (
        [make_node("HardSwish", ["a"], ["y"])],
        [
            make_node("Add", ["a", "three"], ["shifted"]),
            make_node("Clip", ["shifted", "zero", "six"], ["clipped"]),
            make_node("Mul", ["a", "clipped"], ["product"]),
            make_node("Div", ["product", "six"], ["y"]),
        ],
        {"three": number(3), "six": number(6), "zero": number(0)},
    ),
    "gelu before a layer": (
        [make_node("Gelu", ["a"], ["g"]), make_node("Conv", ["g", "mix"], ["y"])],
        [
            make_node("Mul", ["a", "inverse"], ["z"]),
            make_node("Erf", ["z"], ["erf"]),
            make_node("Add", ["erf", "one"], ["share"]),
            make_node("Mul", ["a", "share"], ["twice"]),
            make_node("Mul", ["half", "twice"], ["g"]),
            make_node("Conv", ["g", "mix"], ["y"]),
        ],
        {
            "inverse": number(math.sqrt(0.5)),
            "one": number(1),
            "half": number(0.5),
            "mix": np.random.default_rng(6).normal(size=(4, 4, 1, 1)),
        },
    ),
    "gelu": (
        [make_node("Gelu", ["a"], ["y"])],
        [
            make_node("Div", ["a", "root"], ["z"]),
            make_node("Erf", ["z"], ["erf"]),
            make_node("Add", ["erf", "one"], ["share"]),
            make_node("Mul", ["a", "half"], ["halved"]),
            make_node("Mul", ["halved", "share"], ["y"]),
        ],
        {"root": number(math.sqrt(2)), "one": number(1), "half": number(0.5)},
    ),
}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize(("method", "options"), [("lrp", TINY), ("excitation_backprop", {})])
def test_an_activation_taken_apart_is_the_activation(name, method, options):
    whole, parts, constants = ACTIVATIONS[name]
    used = {value for one in whole for value in one.input}
    own = {key: value for key, value in constants.items() if key in used}
    (expected, _), (found, codes) = (
        explained(branches(*whole, **own), method, **options),
        explained(branches(*parts, **constants), method, **options),
    )
    assert relative_error(found["attribution"], expected["attribution"]) < 1e-6
    assert codes == []


@pytest.mark.parametrize("method", ["lrp", "deep_taylor", "excitation_backprop"])
@pytest.mark.parametrize("op_type", ["Mul", "Div"])
def test_a_factor_that_is_no_activations_takes_nothing(op_type, method):
    pool = make_node("MaxPool", ["s"], ["y"], kernel_shape=[1, 1])
    plain = branches(make_node("Relu", ["a"], ["s"]), pool)
    scaled = branches(
        make_node("Relu", ["a"], ["r"]), make_node(op_type, ["r", "k"], ["s"]), pool, k=number(10)
    )
    expected, found = (
        explained(model, method, start="one")[0]["attribution"] for model in (plain, scaled)
    )
    assert relative_error(found, expected) < 1e-5


def test_a_bias_of_any_rank_is_no_sum_of_signed_values():
    model = branches(
        make_node("Transpose", ["a"], ["last"], perm=[0, 2, 3, 1]),
        make_node("MatMul", ["last", "w"], ["product"]),
        make_node("Add", ["product", "bias"], ["z"]),
        make_node("Relu", ["z"], ["r"]),
        make_node("Transpose", ["r"], ["y"], perm=[0, 3, 1, 2]),
        w=np.random.default_rng(5).normal(size=(4, 4)),
        bias=np.ones(4),
    )
    assert explained(model, "deep_taylor")[1] == []


@pytest.mark.parametrize(
    ("options", "unused"),
    [
        ({"composite": "alpha1_beta0", "epsilon": 0.5}, ["epsilon"]),
        ({"alpha": 3.0, "beta": 2.0}, ["alpha"]),
        ({"alpha": 3.0, "beta": 2.0, "rules": "Gemm:alpha_beta"}, []),
        ({"composite": "epsilon", "epsilon": 0.5}, []),
    ],
)
def test_numbers_of_rules_that_no_layer_has_are_told(options, unused):
    notices = provenance_of(rewrite(tiny_cnn(), "lrp", **options))["warnings"]
    assert [code for code, _ in notices] == ["OPTION_UNUSED"] * len(unused)
    assert all(text.startswith(name) for (_, text), name in zip(notices, unused, strict=True))


def test_sums_by_their_positive_terms_keep_the_sign():
    relu = [make_node("Relu", [name], [f"{name}+"]) for name in "ab"]
    signed = make_node("Add", ["a", "b"], ["y"], name="sum")
    options = {"composite": "alpha1_beta0", "start": "one"}
    found, codes = explained(branches(signed), **options)
    assert codes == ["SIGNED_SUMMANDS"]
    assert found["attribution"].min() < 0
    for model in (branches(*relu, make_node("Add", ["a+", "b+"], ["y"])), branches(signed)):
        found, codes = explained(model, **options, add="zplus")
        assert codes == []
        assert found["attribution"].min() >= 0


def test_branches_that_cancel_are_told_by_how_much():
    opposite = [make_node("Mul", ["a", "minus"], ["c"]), make_node("Add", ["a", "c"], ["y"])]
    shares, _ = explained(branches(*opposite, minus=number(-0.99)), **TINY)
    np.testing.assert_allclose(shares["amplification"], 199, rtol=0.01)
    even, _ = explained(branches(*CONSERVING["sum"]), **TINY)
    assert even["amplification"].shape == (2, 1)


@pytest.mark.parametrize(
    ("rules", "composite"),
    [
        ("*:epsilon", "epsilon"),
        ("Conv:zplus,Gemm:epsilon", "epsilon_plus"),
        ("conv?:zplus, logits:zplus", "alpha1_beta0"),
    ],
)
def test_rules_by_name_or_operator_come_before_the_composite(rules, composite):
    model, feeds = tiny_cnn(size=12), {"image": np.ones((1, 3, 12, 12)), "target": np.array([0])}
    found, expected = (
        evaluate(rewrite(model, "lrp", **options), feeds)["attribution"]
        for options in ({"composite": "gamma", "rules": rules}, {"composite": composite})
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": "conv1"}, "PATTERN:RULE"),
        ({"rules": "conv1:zpluss"}, "did you mean zplus"),
        ({"rules": "convv1:zplus"}, "did you mean conv1"),
        ({"alpha": 2.0, "beta": 2.0}, "alpha - beta must be 1"),
        ({"layer": "convv2"}, "conv2"),
    ],
)
def test_what_fits_no_layer_is_refused_with_the_nearest_names(options, message):
    with pytest.raises(InvalidArgument, match=message) as refused:
        rewrite(tiny_cnn(), "lrp", **options)
    assert refused.value.violations[0].subject in options


def test_the_profile_is_the_relevance_at_each_tensor_that_all_paths_pass():
    model = tiny_cnn(size=12)
    feeds = {"image": np.random.default_rng(1).normal(size=(2, 3, 12, 12)), "target": [1, 3]}
    feeds["target"] = np.array(feeds["target"])
    rewritten = rewrite(model, "lrp", profile=True)
    found, names = evaluate(rewritten, feeds), provenance_of(rewritten)["names"]["profile"]
    assert (names[0], names[-1]) == ("logits", "image")
    np.testing.assert_allclose(
        found["profile"][:, -1] - found["profile"][:, 0], found["residual"], atol=1e-12
    )
    at = evaluate(rewrite(model, "lrp", layer="relu1"), feeds)["native_heatmap"]
    column = found["profile"][:, names.index("relu1")]
    np.testing.assert_allclose(at.sum(axis=(1, 2)), column, atol=1e-12)


def test_a_layer_that_a_normalisation_is_merged_into_is_read_after_that():
    model = branches(
        make_node(
            "BatchNormalization", ["a", "scale", "shift", "mean", "variance"], ["n"], name="norm"
        ),
        make_node("Add", ["n", "b"], ["y"]),
        scale=np.array([1.5, 2.0, 0.5, 1.0]),
        shift=np.array([0.1, -0.2, 0.3, 0.0]),
        mean=np.zeros(4),
        variance=np.ones(4),
    )
    of_conv, codes = explained(model, layer="a", **TINY)
    of_norm, others = explained(model, layer="n", **TINY)
    np.testing.assert_array_equal(of_conv["native_heatmap"], of_norm["native_heatmap"])
    assert of_norm["native_heatmap"].any()
    assert ("LAYER_MERGED" in codes, "LAYER_MERGED" in others) == (True, False)


def test_rows_that_others_are_merged_into_are_told_of_each_image():
    model = branches(
        make_node("Transpose", ["a"], ["last"], perm=[0, 2, 3, 1]),
        make_node("Reshape", ["last", "rows"], ["pixels"]),
        make_node("MatMul", ["pixels", "w"], ["mixed"]),
        make_node("Add", ["pixels", "mixed"], ["sum"]),
        make_node("Reshape", ["sum", "maps"], ["back"]),
        make_node("Transpose", ["back"], ["first"], perm=[0, 3, 1, 2]),
        make_node("Add", ["first", "b"], ["y"]),
        rows=np.array([-1, 4]),
        w=np.random.default_rng(5).normal(size=(4, 4)),
        maps=np.array([-1, 3, 3, 4]),
    )
    rewritten = rewrite(model, "lrp", profile=True)
    together = evaluate(rewritten, FEEDS)
    for row in range(2):
        alone = evaluate(rewritten, {key: value[row : row + 1] for key, value in FEEDS.items()})
        assert alone["amplification"].shape == (1, 2)
        for key in ("amplification", "profile"):
            np.testing.assert_allclose(together[key][row], alone[key][0], rtol=1e-9)


def test_channels_of_a_layer_are_reduced_as_asked():
    first, second = (
        explained(branches(make_node("Add", ["a", "b"], ["y"])), layer="a", reduction=how)[0]
        for how in ("sum", "max_abs")
    )
    assert (second["native_heatmap"] >= np.abs(first["native_heatmap"]) / 4).all()
    assert (second["native_heatmap"] > 0).all()


def with_biases(shift):
    model = tiny_cnn(size=12)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".bias"):
            tensor.CopyFrom(from_array(to_array(tensor) + np.float32(shift), tensor.name))
    return model


@pytest.mark.parametrize(
    ("shift", "bias", "conserved"),
    [(1, "ignore", True), (1, "clamp", True), (1, "keep", False), (-0.1, "clamp", False)],
)
def test_what_biases_take_can_be_left_to_the_inputs(shift, bias, conserved):
    feeds = {"image": np.ones((1, 3, 12, 12)), "target": np.array([1])}
    options = {"rules": "*:alpha_beta", "bias": bias, "start": "one"}
    found = evaluate(rewrite(with_biases(shift), "lrp", **options), feeds)
    assert (np.abs(found["residual"]) < 1e-3).all() == conserved


SHIFTED = {
    "BatchNormalization": (["image", "scale", "shift", "mean", "variance"], (3,)),
    "LayerNormalization": (["image", "scale", "shift"], (12,)),
    "InstanceNormalization": (["image", "scale", "shift"], (3,)),
    "Add": (["image", "shift"], (1, 3, 1, 12)),
}


@pytest.mark.parametrize("op_type", SHIFTED)
@pytest.mark.parametrize(
    ("bias", "sign", "conserved"),
    [("ignore", 1, True), ("clamp", 1, True), ("keep", 1, False), ("clamp", -1, False)],
)
def test_what_shifts_of_other_layers_take_can_be_left_to_the_inputs(op_type, bias, sign, conserved):
    inputs, shape = SHIFTED[op_type]
    axis = {"axis": 3} if op_type == "LayerNormalization" else {}
    values = {"scale": np.full(shape, 1.5), "shift": np.full(shape, 3.0 * sign)}
    values |= {"mean": np.zeros(shape), "variance": np.ones(shape)}
    nodes = [
        make_node(op_type, inputs, ["shifted"], **axis),
        make_node("Softplus", ["shifted"], ["y"]),
        make_node("GlobalAveragePool", ["y"], ["pooled"]),
        make_node("Flatten", ["pooled"], ["flat"]),
        make_node("MatMul", ["flat", "fc"], ["logits"]),
    ]
    own = {key: value for key, value in values.items() if key in inputs}
    model = classifier(nodes, own | {"fc": np.ones((3, 5))}, size=12)
    feeds = {"image": np.random.default_rng(8).normal(size=(1, 3, 12, 12)), "target": np.array([1])}
    found = evaluate(rewrite(model, "lrp", composite="epsilon", bias=bias, start="one"), feeds)
    assert (np.abs(found["residual"]) < 1e-3).all() == conserved


def test_an_empty_negative_part_stays_finite():
    model = with_biases(0)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(from_array(np.abs(to_array(tensor)), tensor.name))
    feeds = {"image": np.ones((1, 3, 12, 12)), "target": np.array([1])}
    found = evaluate(rewrite(model, "lrp", composite="alpha2_beta1"), feeds)["attribution"]
    assert np.isfinite(found).all()
    assert 0 < np.abs(found).max() < 1e3


def test_contrastive_excitation_subtracts_the_negated_last_layer():
    model = tiny_cnn(size=12)
    feeds = {"image": np.random.default_rng(1).normal(size=(2, 3, 12, 12))}
    feeds["target"] = np.array([1, 3])
    negated = tiny_cnn(size=12)
    for tensor in negated.graph.initializer:
        if tensor.name.startswith("logits."):
            tensor.CopyFrom(from_array(-to_array(tensor), tensor.name))
    for_it, against, both = (
        evaluate(rewrite(m, "excitation_backprop", start="one", **options), feeds)["attribution"]
        for m, options in ((model, {}), (negated, {}), (model, {"contrastive": True}))
    )
    assert np.abs(against).max() > 0
    np.testing.assert_allclose(both, for_it - against, atol=1e-12)
