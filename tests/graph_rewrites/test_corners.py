"""Corners of models that must not be taken for what they look like."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx.helper import make_node as node
from onnxplain.explainers.verification import forward_difference
from onnxplain.graph_rewrites import FailedPrecondition, provenance_of, read_model, rewrite

from tests.double import evaluate, relative_error
from tests.models import branches, classifier, tiny_cnn

RANDOM = np.random.default_rng(7)
IMAGES = RANDOM.normal(size=(2, 3, 3, 3))
FEEDS = {"image": IMAGES, "target": np.array([1, 4])}


def weights(*shape, positive=False):
    found = RANDOM.normal(size=shape)
    return np.abs(found) + 0.5 if positive else found


NORM = {
    "s": weights(4), "t": weights(4), "m": weights(4), "v": weights(4, positive=True),
}  # fmt: skip
HEAD = [
    node("GlobalAveragePool", ["y"], ["pooled"]),
    node("Flatten", ["pooled"], ["flat"]),
    node("Gemm", ["flat", "fc"], ["logits"]),
]


def normalised():
    """Conv, then BatchNormalization [N, 4, 9] along axis 1 before a MatMul along axis 2."""
    layers = [
        node("Conv", ["image", "u"], ["a"], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["r"]),
        node("Reshape", ["r", "shape"], ["rows"]),
        node("BatchNormalization", ["rows", "s", "t", "m", "v"], ["n"]),
        node("MatMul", ["n", "w"], ["p"], name="p"),
        node("ReduceMean", ["p", "axis"], ["q"], keepdims=0),
        node("Gemm", ["q", "fc"], ["logits"]),
    ]
    own = {"u": weights(4, 3, 3, 3), "w": weights(9, 6), "fc": weights(6, 5)} | NORM
    own |= {"shape": np.array([0, 4, -1]), "axis": np.array([1])}
    return classifier(layers, own, size=3)


def test_a_normalisation_along_another_axis_is_no_part_of_the_layer_behind_it():
    model = normalised()
    merge, apart = (
        evaluate(rewrite(model, "lrp", composite="epsilon", batch_norm=how), FEEDS)["attribution"]
        for how in ("merge", "linear")
    )
    np.testing.assert_allclose(merge, apart, rtol=1e-9)


def test_a_rewritten_model_whose_layers_were_merged_is_rewritten_as_its_original():
    layers = [
        node("Conv", ["image", "u"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", "s", "t", "m", "v"], ["n"]),
        node("Relu", ["n"], ["y"]),
        *HEAD,
    ]
    model = classifier(layers, {"u": weights(4, 3, 3, 3), "fc": weights(4, 5)} | NORM, size=3)
    for first in ("lrp", "deep_lift", "gradient"):
        once = rewrite(model, first)
        again = rewrite(once, "lrp")
        onnx.checker.check_model(again, full_check=True)
        found, expected = (
            evaluate(one, FEEDS)["attribution"] for one in (again, rewrite(model, "lrp"))
        )
        assert relative_error(found, expected) < 1e-6


SIMILAR = {
    "a window over rows": [
        node("Mul", ["a", "a"], ["square"]),
        node("AveragePool", ["square"], ["mean"], kernel_shape=[3, 1], pads=[1, 0, 1, 0],
             count_include_pad=1),
        node("Mul", ["mean", "two"], ["scaled"]),
        node("Add", ["scaled", "one"], ["base"]),
        node("Pow", ["base", "power"], ["divisor"]),
        node("Div", ["a", "divisor"], ["y"]),
    ],
    "a bias of rank 3": [
        node("Reshape", ["a", "rows"], ["matrix"]),
        node("MatMul", ["matrix", "w"], ["product"]),
        node("Add", ["product", "bias3"], ["sum"]),
        node("Reshape", ["sum", "maps"], ["y"]),
    ],
    "a summand of lower rank": [
        node("ReduceMean", ["a", "first"], ["low"], keepdims=0),
        node("Add", ["a", "low"], ["y"]),
    ],
}  # fmt: skip
CONSTANTS = {
    "two": np.array(2.0), "one": np.array(1.0), "power": np.array(0.75), "w": weights(36, 36),
    "rows": np.array([-1, 36]), "maps": np.array([-1, 4, 3, 3]), "bias3": weights(1, 1, 36),
    "first": np.array([0]),
}  # fmt: skip


@pytest.mark.parametrize("name", SIMILAR)
@pytest.mark.parametrize("method", ["lrp", "deep_lift"])
def test_the_outputs_stay_what_they_are(name, method):
    used = {value for one in SIMILAR[name] for value in one.input}
    model = branches(*SIMILAR[name], **{k: v for k, v in CONSTANTS.items() if k in used})
    rewritten = rewrite(model, method)
    onnx.checker.check_model(rewritten, full_check=True)
    feeds = {k: v.astype(np.float32) if v.dtype == float else v for k, v in FEEDS.items()}
    if method == "deep_lift":
        feeds["baseline"] = np.zeros((1, 3, 3, 3), np.float32)
    assert max(forward_difference(read_model(model), rewritten, feeds).values()) < 1e-5


@pytest.mark.parametrize("method", ["lrp", "deep_lift"])
def test_an_extremum_with_a_larger_constant_is_one_of_its_copies(method):
    reduced = node("ReduceMean", ["a", "axis"], ["mean"], keepdims=1)
    own = {"axis": np.array([1]), "floor": weights(1, 4, 1, 1), "times": np.array([1, 4, 1, 1])}
    spread = branches(reduced, node("Max", ["mean", "floor"], ["y"]), axis=own["axis"],
                      floor=own["floor"])  # fmt: skip
    copied = branches(
        reduced,
        node("Tile", ["mean", "times"], ["copies"]),
        node("Max", ["copies", "floor"], ["y"]),
        **own,
    )
    feeds = FEEDS | ({"baseline": weights(1, 3, 3, 3)} if method == "deep_lift" else {})
    found, expected = (
        evaluate(rewrite(one, method), feeds)["attribution"] for one in (spread, copied)
    )
    assert relative_error(found, expected) < 1e-9


def test_the_rule_pass_is_refused_where_sizes_are_dynamic_and_change():
    layers = [
        node("Conv", ["image", "u"], ["y"], name="c1"),
        node("Relu", ["y"], ["r"]),
        node("Conv", ["r", "v"], ["z"], name="c2"),
        node("GlobalAveragePool", ["z"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "fc"], ["logits"]),
    ]
    own = {"u": weights(4, 3, 1, 1), "v": weights(4, 4, 3, 3), "fc": weights(4, 5)}
    model = classifier(layers, own, size=8)
    for axis, name in ((2, "H"), (3, "W")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    with pytest.raises(FailedPrecondition, match="no rule pass"):
        rewrite(model, "lrp", rules="c2:pass")


def test_signs_are_told_in_a_time_that_grows_with_the_graph():
    doublings = [node("Add", [f"d{n}", f"d{n}"], [f"d{n + 1}"]) for n in range(60)]
    layers = [
        node("Conv", ["image", "u"], ["a"]),
        node("Relu", ["a"], ["d0"]),
        *doublings,
        node("Conv", ["d60", "v"], ["y"]),
        *HEAD,
    ]
    own = {"u": weights(4, 3, 1, 1), "v": weights(4, 4, 1, 1), "fc": weights(4, 5)}
    rewritten = rewrite(classifier(layers, own, size=3), "lrp")
    assert provenance_of(rewritten)["method"] == "lrp"


def test_the_standard_domain_may_be_called_by_its_name():
    model, plain = tiny_cnn(), tiny_cnn()
    model.opset_import[0].domain = "ai.onnx"
    for one in model.graph.node:
        one.domain = "ai.onnx"
    assert rewrite(model, "gradient").graph == rewrite(plain, "gradient").graph


def test_names_that_a_model_uses_are_left_to_it():
    model = tiny_cnn(softmax=False)
    names = {"relu1": "target", "conv2": "onnxplain_target", "pooled": "onnxplain/constant_0"}
    for one in model.graph.node:
        for values in (one.input, one.output):
            values[:] = [names.get(name, name) for name in values]
    rewritten = rewrite(model, "lrp")
    onnx.checker.check_model(rewritten, full_check=True)
    assert "onnxplain_onnxplain_target" in {value.name for value in rewritten.graph.input}
    ort.InferenceSession(rewritten.SerializeToString())


def test_a_layer_may_be_named_with_what_patterns_are_made_of():
    model = tiny_cnn()
    for one in model.graph.node:
        if one.op_type == "Conv":
            one.name = f"{one.name}[0]"
    for pattern in ("conv1[0]", "conv*[0]"):
        rewrite(model, "lrp", rules=f"{pattern}:zplus")


@pytest.mark.parametrize("composite", ["alpha1_beta0", "alpha2_beta1", "gamma"])
def test_a_matrix_product_takes_its_normalisation_in_as_a_dense_layer_does(composite):
    own = {"w": weights(27, 4), "shape": np.array([-1, 27]), "fc": weights(4, 5)} | NORM
    found, expected = (
        evaluate(
            rewrite(
                classifier(
                    [
                        node("Reshape", ["image", "shape"], ["row"]),
                        node(kind, ["row", "w"], ["p"]),
                        node("BatchNormalization", ["p", "s", "t", "m", "v"], ["n"]),
                        node("Relu", ["n"], ["r"]),
                        node("Gemm", ["r", "fc"], ["logits"]),
                    ],
                    own,
                    size=3,
                ),
                "lrp",
                composite=composite,
            ),
            FEEDS,
        )["attribution"]
        for kind in ("MatMul", "Gemm")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("bias", ["keep", "ignore", "clamp"])
@pytest.mark.parametrize("composite", ["epsilon", "alpha1_beta0", "alpha2_beta1", "gamma"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_matrix_product_has_its_bias_as_a_dense_layer_does(composite, bias, swapped):
    own = {"w": weights(27, 4), "b": weights(4), "fc": weights(4, 5), "fb": weights(5)}
    own |= {"row": np.array([-1, 27]), "rows": np.array([-1, 1, 27]), "flat": np.array([-1, 4])}
    end = node("Gemm", ["h", "fc", "fb"], ["logits"])
    summands = ["b", "p"] if swapped else ["p", "b"]
    of_three = [
        node("Reshape", ["image", "rows"], ["x"]), node("MatMul", ["x", "w"], ["p"]),
        node("Add", summands, ["a"]), node("Relu", ["a"], ["r"]),
        node("Reshape", ["r", "flat"], ["h"]), end,
    ]  # fmt: skip
    of_two = [
        node("Reshape", ["image", "row"], ["x"]), node("Gemm", ["x", "w", "b"], ["a"]),
        node("Relu", ["a"], ["h"]), end,
    ]  # fmt: skip
    options = {"composite": composite, "bias": bias}
    found, expected = (
        evaluate(rewrite(classifier(nodes, own, size=3), "lrp", **options), FEEDS)["attribution"]
        for nodes in (of_three, of_two)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("op_type", ["AveragePool", "MaxPool", "LpPool"])
@pytest.mark.parametrize(
    ("size", "kernel", "counted"), [(5, [2, 2], 0), (5, [2, 2], 1), (7, [3, 3], 0), (6, [2, 3], 0)]
)
def test_a_window_that_would_begin_in_the_padding_is_none(op_type, size, kernel, counted):
    options = {"count_include_pad": counted} if op_type == "AveragePool" else {}
    layers = [
        node("Conv", ["image", "u"], ["a"]),
        node(op_type, ["a"], ["y"], kernel_shape=kernel, strides=[2, 2], pads=[1, 1, 1, 1],
             ceil_mode=1, **options),
        node("GlobalMaxPool", ["y"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "fc"], ["logits"]),
    ]  # fmt: skip
    model = classifier(layers, {"u": weights(4, 3, 1, 1), "fc": weights(4, 5)}, size=size)
    rewritten = rewrite(model, "input_x_gradient")
    x = RANDOM.normal(size=(2, 3, size, size)).astype(np.float32)
    session = ort.InferenceSession(rewritten.SerializeToString())
    feeds = {"image": x, "target": FEEDS["target"]}
    logits, shares = session.run(["logits", "attribution"], feeds)
    plain = ort.InferenceSession(model.SerializeToString()).run(None, {"image": x})[0]
    np.testing.assert_allclose(logits, plain, rtol=1e-5)
    expected = logits[[0, 1], FEEDS["target"]]  # nothing has a bias: all scales with the image
    np.testing.assert_allclose(shares.sum(axis=(1, 2, 3)), expected, rtol=1e-4)


DENSE = {
    "a vector behind": (
        [node("MatMul", ["flat", "v"], ["p"]), node("Unsqueeze", ["p", "one"], ["q"])],
        [node("MatMul", ["flat", "column"], ["q"])],
    ),
    "a vector before": (
        [node("Transpose", ["flat"], ["t"]), node("MatMul", ["v", "t"], ["p"]),
         node("Unsqueeze", ["p", "one"], ["q"])],
        [node("MatMul", ["flat", "column"], ["q"])],
    ),
    "weights of rank 3": (
        [node("Unsqueeze", ["flat", "one"], ["t"]), node("MatMul", ["t", "wide"], ["p"]),
         node("Squeeze", ["p", "one"], ["q"])],
        [node("MatMul", ["flat", "column"], ["q"])],
    ),
    "a transposed input": (
        [node("Transpose", ["flat"], ["t"]),
         node("Gemm", ["t", "column"], ["q"], transA=1, alpha=2.0)],
        [node("Gemm", ["flat", "column"], ["q"], alpha=2.0)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("method", ["gradient", "lrp", "deep_lift"])
def test_products_of_other_forms_are_the_layer_they_stand_for(name, method):
    v = weights(27)
    own = {
        "v": v,
        "column": v[:, None],
        "wide": v[None, :, None],
        "one": np.array([1]),
        "row": weights(1, 5),
    }
    found = []
    for layers in DENSE[name]:
        ends = [
            node("Flatten", ["image"], ["flat"]),
            *layers,
            node("MatMul", ["q", "row"], ["logits"]),
        ]
        used = {value for one in ends for value in one.input}
        model = classifier(ends, {k: x for k, x in own.items() if k in used}, size=3)
        feeds = FEEDS | ({"baseline": np.zeros((1, 3, 3, 3))} if method == "deep_lift" else {})
        rewritten = rewrite(model, method)
        onnx.checker.check_model(rewritten, full_check=True)
        found.append(evaluate(rewritten, feeds)["attribution"])
    assert relative_error(*found) < 1e-6


def test_of_equal_maxima_the_first_wins_however_it_is_written():
    found = []
    for pool in (
        node("GlobalMaxPool", ["a"], ["y"]), node("ReduceMax", ["a", "axes"], ["y"])
    ):  # fmt: skip
        layers = [
            node("Conv", ["image", "u"], ["a"]),
            pool,
            node("Flatten", ["y"], ["flat"]),
            node("MatMul", ["flat", "fc"], ["logits"]),
        ]
        own = {"u": np.ones((4, 3, 1, 1)), "fc": np.ones((4, 5)), "axes": np.array([2, 3])}
        if pool.op_type == "GlobalMaxPool":
            del own["axes"]
        feeds = FEEDS | {"image": np.ones((2, 3, 3, 3))}
        model = classifier(layers, own, size=3)
        found.append(evaluate(rewrite(model, "gradient"), feeds)["attribution"])
    np.testing.assert_array_equal(*found)
    assert np.count_nonzero(found[0]) == 6
