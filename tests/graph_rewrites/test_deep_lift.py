"""DeepLIFT: golden values, a naive second implementation, completeness."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx.helper import make_node
from onnx.numpy_helper import from_array
from onnxplain.graph_rewrites import rewrite

from tests.double import evaluate, relative_error
from tests.goldens import GOLDEN, INDEX
from tests.models import branches, tiny_mlp

FILES = [
    pytest.param(network, model, id=Path(model["file"]).stem)
    for network in INDEX["networks"].values()
    for model in network["models"]
]
FIRST = {
    name: (GOLDEN / network["models"][0]["file"], np.load(GOLDEN / network["data"]))
    for name, network in INDEX["networks"].items()
}


@pytest.mark.parametrize(("network", "model"), FILES)
def test_golden_in_float32_and_in_double(network, model):
    data = np.load(GOLDEN / network["data"])
    rewritten = rewrite(GOLDEN / model["file"], "deep_lift", product="gradient")
    session = ort.InferenceSession(rewritten.SerializeToString())
    feeds = {model["input"]: data["x"], "target": data["target"], "baseline": data["baseline"]}
    zero = feeds | {"baseline": np.zeros_like(data["baseline"])}
    for key, given in (("extended", zero), ("extended_baseline", feeds)):
        name = f"deeplift_rescale__{key}"
        (found,) = session.run(["attribution"], given)
        assert relative_error(found, data[name]) < network["arrays"][name]["tolerance"]
    double = evaluate(rewritten, feeds)["attribution"]
    assert relative_error(double, data["deeplift_rescale__extended_baseline"]) < 5e-6


@pytest.mark.parametrize("variant", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize("name", sorted(set(FIRST) - {"allconv_softmax", "inception_like"}))
def test_the_attributions_sum_to_the_difference_of_the_scores(name, variant):
    path, data = FIRST[name]
    feeds = {"input": data["x"], "target": data["target"], "baseline": data["baseline"]}
    found = evaluate(rewrite(path, "deep_lift", variant=variant), feeds)
    rows = np.arange(len(data["x"]))
    start = evaluate(rewrite(path, "gradient"), {**feeds, "input": data["baseline"]})
    gained = data["logits"][rows, data["target"]] - start["logits"][0, data["target"]]
    sums = found["attribution"].sum(axis=(1, 2, 3))
    np.testing.assert_allclose(sums, gained, rtol=1e-4)
    np.testing.assert_allclose(found["residual"], 0, atol=1e-9)


def test_what_keeps_its_gradient_leaves_a_residual_that_is_told():
    path, data = FIRST["inception_like"]
    feeds = {"input": data["x"], "target": data["target"], "baseline": data["baseline"]}
    found = evaluate(rewrite(path, "deep_lift"), feeds)
    rows = np.arange(len(data["x"]))
    start = evaluate(rewrite(path, "gradient"), {**feeds, "input": data["baseline"]})
    gained = data["logits"][rows, data["target"]] - start["logits"][0, data["target"]]
    expected = found["attribution"].sum(axis=(1, 2, 3)) - gained
    np.testing.assert_allclose(found["residual"], expected, atol=1e-6)
    assert np.abs(found["residual"]).min() > 0.1


# A naive second implementation: two dense layers, loops over hidden units and over terms.
W1, B1, W2, B2 = (
    np.random.default_rng(5).normal(size=shape).astype(np.float32).astype(np.float64)
    for shape in ((12, 48), (12,), (4, 12), (4,))
)


def dense_model():
    model = tiny_mlp(size=4, width=12, classes=4, softmax=False)
    values = {"hidden.weight": W1, "hidden.bias": B1, "logits.weight": W2, "logits.bias": B2}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(from_array(values[tensor.name].astype(np.float32), tensor.name))
    return model


def relu(z):
    return max(z, 0.0)


def naive(variant, x, base, target):
    total = np.zeros_like(x)
    for unit in range(len(W1)):
        terms = W1[unit] * (x - base)
        z, z0 = W1[unit] @ x + B1[unit], W1[unit] @ base + B1[unit]
        if variant == "rescale":
            total += W2[target, unit] * terms * (relu(z) - relu(z0)) / (z - z0)
            continue
        up, down = terms[terms > 0].sum(), terms[terms < 0].sum()
        gain = (relu(z0 + up) - relu(z0) + relu(z0 + down + up) - relu(z0 + down)) / 2
        loss = (relu(z0 + down) - relu(z0) + relu(z0 + up + down) - relu(z0 + up)) / 2
        share = np.where(terms > 0, gain / up, loss / down)
        total += W2[target, unit] * terms * share
    return total


@pytest.mark.parametrize("variant", ["rescale", "reveal_cancel"])
def test_it_is_its_definition_written_out_in_loops(variant):
    random = np.random.default_rng(1)
    x, base = random.normal(size=(2, 48))
    feeds = {
        "image": x.reshape(1, 3, 4, 4),
        "target": np.array([2]),
        "baseline": base.reshape(1, 3, 4, 4),
    }
    found = evaluate(rewrite(dense_model(), "deep_lift", variant=variant), feeds)["attribution"]
    np.testing.assert_allclose(found.reshape(-1), naive(variant, x, base, 2), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([make_node("Mul", ["a", "b"], ["y"])], id="product"),
        pytest.param([make_node("MatMul", ["a", "b"], ["y"])], id="matrix product"),
        pytest.param(
            [
                make_node("Softplus", ["b"], ["positive"]),
                make_node("Div", ["a", "positive"], ["y"]),
            ],
            id="quotient",
        ),
        pytest.param([make_node("Max", ["a", "b"], ["y"])], id="maximum"),
        pytest.param([make_node("Min", ["a", "b"], ["y"])], id="minimum"),
        pytest.param(
            [make_node("Sigmoid", ["a"], ["s"]), make_node("Mul", ["a", "s"], ["y"])], id="swish"
        ),
        pytest.param([make_node("Mul", ["a", "a"], ["y"])], id="square"),
        pytest.param(
            [
                make_node("Exp", ["a"], ["e"]),
                make_node("Greater", ["a", "nothing"], ["positive"]),
                make_node("Where", ["positive", "a", "e"], ["y"]),
            ],
            id="chosen",
        ),
        pytest.param([make_node("Softmax", ["a"], ["y"], axis=1)], id="softmax"),
        pytest.param(
            [make_node("LayerNormalization", ["a", "map", "map"], ["y"], axis=2)], id="layer norm"
        ),
        pytest.param(
            [make_node("InstanceNormalization", ["a", "channels", "channels"], ["y"])],
            id="instance norm",
        ),
        pytest.param(
            [make_node("LpPool", ["a"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])], id="lppool"
        ),
        pytest.param([make_node("LogSoftmax", ["a"], ["y"], axis=1)], id="log softmax"),
        *(
            pytest.param(
                [
                    make_node("Softplus", ["a"], ["positive"]),
                    make_node(op_type, ["positive" if "Sum" in op_type else "a", "axes"], ["n"]),
                    make_node("Mul", ["b", "n"], ["y"]),
                ],
                id=op_type,
            )
            for op_type in (
                "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare",
            )
        ),
    ],
)  # fmt: skip
def test_joins_of_branches_are_complete(nodes):
    random = np.random.default_rng(0)
    x, base = random.normal(size=(2, 2, 3, 3, 3))
    feeds = {"image": x, "target": np.array([1, 4]), "baseline": base}
    used = {name for node in nodes for name in node.input}
    sizes = {"map": (3, 3), "channels": (4,)}
    weights = {name: random.normal(size=size) for name, size in sizes.items() if name in used}
    others = {"axes": np.array([1]), "nothing": np.zeros(1)}
    weights |= {name: value for name, value in others.items() if name in used}
    found = evaluate(rewrite(branches(*nodes, **weights), "deep_lift"), feeds)
    assert np.abs(found["attribution"].sum(axis=(1, 2, 3))).min() > 1e-3
    np.testing.assert_allclose(found["residual"], 0, atol=1e-9)


def test_reveal_cancel_sees_a_layer_whose_bias_is_an_operator_of_its_own():
    random = np.random.default_rng(4)
    weights, bias = random.normal(size=(4, 4)), random.normal(size=4)
    apart = branches(
        make_node("Transpose", ["a"], ["last"], perm=[0, 2, 3, 1]),
        make_node("MatMul", ["last", "w"], ["product"]),
        make_node("Add", ["product", "bias"], ["z"]),
        make_node("Relu", ["z"], ["r"]),
        make_node("Transpose", ["r"], ["y"], perm=[0, 3, 1, 2]),
        w=weights,
        bias=bias,
    )
    layer = branches(
        make_node("Conv", ["a", "w", "bias"], ["z"]),
        make_node("Relu", ["z"], ["y"]),
        w=weights.T[:, :, None, None],
        bias=bias,
    )
    x, base = random.normal(size=(2, 2, 3, 3, 3))
    feeds = {"image": x, "target": np.array([1, 4]), "baseline": base}
    found, expected, plain = (
        evaluate(rewrite(model, "deep_lift", variant=variant), feeds)["attribution"]
        for model, variant in (
            (apart, "reveal_cancel"), (layer, "reveal_cancel"), (layer, "rescale"),
        )
    )  # fmt: skip
    assert relative_error(found, expected) < 1e-9
    assert relative_error(plain, expected) > 1e-3


def test_a_baseline_equal_to_the_image_leaves_nothing_to_share():
    path, data = FIRST["vgg_like"]
    for variant in ("rescale", "reveal_cancel"):
        rewritten = rewrite(path, "deep_lift", variant=variant)
        feeds = {"input": data["x"], "target": data["target"], "baseline": data["x"]}
        found = evaluate(rewritten, feeds)
        assert not found["attribution"].any()
