"""What bringing a model into canonical form finds out."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnx.helper import make_node
from onnxplain.graph_rewrites import FailedPrecondition, canonise, provenance_of, rewrite

from tests.models import branches


def shuffles(x, blocks):
    """Return nodes that shuffle the channels by sizes read from shapes at run time."""
    for n in range(blocks):
        yield make_node("Shape", [x], [f"shape{n}"])
        for axis, name in enumerate(("batch", "channels", "height", "width")):
            yield make_node("Gather", [f"shape{n}", f"axis{axis}"], [f"{name}{n}"], axis=0)
            yield make_node("Unsqueeze", [f"{name}{n}", "zero"], [f"{name}{n}_"])
        yield make_node("Gather", [f"shape{n}", "one"], [f"size{n}"], axis=0)
        yield make_node("Add", [f"size{n}", "one"], [f"more{n}"])
        yield make_node("Div", [f"more{n}", "two"], [f"half{n}"])
        yield make_node("Slice", [x, "zero", f"half{n}", "one"], [f"first{n}"])
        yield make_node("Slice", [x, f"half{n}", f"size{n}", "one"], [f"second{n}"])
        yield make_node("Concat", [f"second{n}", f"first{n}"], [f"swapped{n}"], axis=1)
        batch, channels, *rest = (
            f"{name}{n}_" for name in ("batch", "channels", "height", "width")
        )
        yield make_node("Div", [f"channels{n}", "pair"], [f"scalar{n}"])
        yield make_node("Unsqueeze", [f"scalar{n}", "zero"], [f"half{n}_"])
        yield make_node("Concat", [batch, "two", f"half{n}_", *rest], [f"apart{n}"], axis=0)
        yield make_node("Reshape", [f"swapped{n}", f"apart{n}"], [f"pairs{n}"])
        yield make_node("Transpose", [f"pairs{n}"], [f"turned{n}"], perm=[0, 2, 1, 3, 4])
        yield make_node("Concat", [batch, channels, *rest], [f"whole{n}"], axis=0)
        yield make_node("Reshape", [f"turned{n}", f"whole{n}"], [x := f"joined{n}"])
    yield make_node("Identity", [x], ["y"])


def test_sizes_that_follow_from_each_other_become_constants():
    ints = {"pair": 2, "zero": [0], "one": [1], "two": [2], **{f"axis{n}": n for n in range(4)}}
    constants = {name: np.array(values) for name, values in ints.items()}
    canonical = canonise(branches(*shuffles("a", 4), **constants))
    slices = [node for node in canonical.graph.node if node.op_type == "Slice"]
    known = {tensor.name for tensor in canonical.graph.initializer}
    assert len(slices) == 8
    assert all(set(node.input[1:]) <= known for node in slices)


def picture_model(text, opset=21, **constants):
    """Return the model of nodes in ONNX text form, from ``x`` to ``y``, of shape ``x``'s."""
    whole = f"{text} p = GlobalAveragePool(y) scores = Flatten(p)"
    graph = onnx.parser.parse_graph(f"g (float[N,3,6,6] x) => (float[N,3] scores) {{ {whole} }}")
    for name, array in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


STATISTICS = {
    "s": np.float32([1, 2, 3]), "b": np.float32([0, 1, 0]), "m": np.float32([2, 0, 1]),
    "v": np.float32([3, 1, 4]), "rate": np.float32(0.5), "yes": np.array(True),
}  # fmt: skip
BATCH_NORM = "y = BatchNormalization(x, s, b, m, v)"


def run(model, feeds):
    return ort.InferenceSession(model.SerializeToString()).run(["scores", "attribution"], feeds)


@pytest.mark.parametrize(
    ("text", "inference", "opset"),
    [
        ("y, k, l = BatchNormalization <training_mode=1> (x, s, b, m, v)", BATCH_NORM, 21),
        ("y, k, l, n, o = BatchNormalization (x, s, b, m, v)", BATCH_NORM, 9),
        ("z = Relu(x) y = Dropout(z, rate, yes)", "y = Relu(x)", 13),
    ],
)
def test_training_mode_becomes_inference_with_a_word(text, inference, opset):
    rewritten = rewrite(picture_model(text, opset, **STATISTICS), "gradient")
    expected = rewrite(picture_model(inference, **STATISTICS), "gradient")
    feeds = {
        "x": np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32),
        "target": np.array([0, 2]),
    }
    for ours, theirs in zip(run(rewritten, feeds), run(expected, feeds), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [code for code, _ in provenance_of(rewritten)["warnings"]] == ["TRAINING_MODE"]
    assert provenance_of(expected)["warnings"] == []


def test_batch_statistics_that_are_used_are_refused():
    text = "z, k, l = BatchNormalization <training_mode=1> (x, s, b, m, v) "
    text += "r = Reshape(k, shape) y = Mul(z, r)"
    with pytest.raises(FailedPrecondition, match="training mode"):
        rewrite(picture_model(text, **STATISTICS, shape=np.array([1, 3, 1, 1])), "gradient")


def test_statistics_of_weights_are_no_statistics_of_a_batch():
    text = "w, k, l = BatchNormalization <training_mode=1> (u, s, b, m, v) y = Add(x, w)"
    weights = np.random.default_rng(1).normal(5, 2, (1, 3, 6, 6)).astype(np.float32)
    model = picture_model(text, **STATISTICS, u=weights)
    feeds = {"x": np.zeros((2, 3, 6, 6), np.float32), "target": np.array([0, 2])}
    rewritten = rewrite(model, "gradient")
    expected = STATISTICS["b"]  # the mean of what is standardised
    np.testing.assert_allclose(run(rewritten, feeds)[0], [expected] * 2, atol=1e-5)
    assert provenance_of(rewritten)["warnings"] == []


def test_weights_are_standardised_before_the_rules_see_them():
    text = "q = Reshape(u, rows) n, k, l = BatchNormalization <training_mode=1> (q, s, b, m, v) "
    text += "w = Reshape(n, shape) y = Conv(x, w)"
    weights = np.random.default_rng(1).normal(5, 2, (3, 3, 2, 2)).astype(np.float32)
    shapes = {"rows": np.array([1, 3, -1]), "shape": np.array([3, 3, 2, 2])}
    model = picture_model(text, **STATISTICS, **shapes, u=weights)
    rows = weights.reshape(3, -1).astype(np.float64)
    centred = rows - rows.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    scale, shift = (STATISTICS[name][:, None] for name in "sb")
    canonical = canonise(model)
    (conv,) = (node for node in canonical.graph.node if node.op_type == "Conv")
    (found,) = (
        numpy_helper.to_array(tensor)
        for tensor in canonical.graph.initializer
        if tensor.name == conv.input[1]
    )
    np.testing.assert_allclose(found.reshape(3, -1), centred / deviation * scale + shift, rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        # as PyTorch writes x.view(batch, 3, size // 2, -1), and pads that follow from sizes
        "s = Shape(x) n = Gather(s, i0) h = Gather(s, i2) k = Div(h, i2) n1 = Unsqueeze(n, zero) "
        "k1 = Unsqueeze(k, zero) t = Concat <axis=0> (n1, three, k1, last) r = Reshape(x, t) "
        "e = Slice(s, one, four) f = Concat <axis=0> (n1, e) y = Reshape(r, f)",
        "s = Shape(x) h = Gather(s, i2) g = Cast <to=1> (h) d = Div(g, five) c = Ceil(d) "
        "z = Cast <to=7> (c) p1 = Unsqueeze(z, zero) e = ConstantOfShape <value=int64[1] {0}> (six)"
        "q = Concat <axis=0> (e, p1, zero) t = Pad(x, q) y = Relu(t)",
    ],
)
def test_only_the_batch_stays_unknown(text):
    names = {
        "zero": [0],
        "one": [1],
        "three": [3],
        "four": [4],
        "six": [6],
        "last": [-1],
    }
    constants = {name: np.array(values) for name, values in names.items()}
    model = picture_model(text, **constants, i0=np.int64(0), i2=np.int64(2), five=np.float32(5))
    canonical = canonise(model)
    constants = {tensor.name for tensor in canonical.graph.initializer}
    for value in canonical.graph.value_info:
        if value.name in constants:
            continue
        batch, *sizes = value.type.tensor_type.shape.dim
        assert batch.dim_param == "N"
        assert all(size.HasField("dim_value") for size in sizes)
    for batch in (1, 3):
        feeds = {"x": np.random.default_rng(0).normal(size=(batch, 3, 6, 6)).astype(np.float32)}
        given, found = (
            ort.InferenceSession(m.SerializeToString()).run(["scores"], feeds)
            for m in (model, canonical)
        )
        np.testing.assert_allclose(found, given, rtol=1e-6)


def test_sizes_of_one_name_may_differ():
    text = "s = Shape(x) t = Transpose <perm=[0,1,3,2]> (x) r = Reshape(t, s) y = Mul(r, x)"
    model = picture_model(text)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "None"
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)}
    given, found = (
        ort.InferenceSession(m.SerializeToString()).run(["scores"], feeds)
        for m in (model, canonise(model))
    )
    np.testing.assert_allclose(found, given, rtol=1e-6)


def test_dropout_in_inference_mode_leaves_no_word():
    text = "z = Relu(x) y = Dropout(z, rate, no)"
    model = picture_model(text, **STATISTICS, no=np.array(False))
    assert "Dropout" not in [node.op_type for node in canonise(model).graph.node]
    assert provenance_of(rewrite(model, "gradient"))["warnings"] == []


BRANCHES = (
    "y = If (c) <then_branch = t () => (float[N,3,6,6] a) { a = Relu(x) }, "
    "else_branch = e () => (float[N,3,6,6] f) { f = Neg(x) }>"
)


@pytest.mark.parametrize(("condition", "op_type"), [(True, "Relu"), (False, "Neg")])
def test_a_branch_whose_condition_is_constant_is_inlined(condition, op_type):
    canonical = canonise(picture_model(f"c = Not(d) {BRANCHES}", d=np.array(not condition)))
    assert canonical.graph.node[0].op_type == op_type


@pytest.mark.parametrize(
    ("text", "op_type"),
    [
        (f"m = ReduceMean <keepdims=0> (x) c = Greater(m, zero) {BRANCHES}", "If"),
        (
            "m = ReduceMax <keepdims=0> (x) k = Cast <to=7> (m) y = Loop(k, , x) <body = l "
            "(int64 i, bool c, float[N,3,6,6] h) => (bool c, float[N,3,6,6] o) { o = Relu(h) }>",
            "Loop",
        ),
        (
            "y = Loop(many, , x) <body = l (int64 i, bool c, float[N,3,6,6] h) => "
            "(bool c, float[N,3,6,6] o) { o = Relu(h) }>",
            "Loop",
        ),
        (
            "q = ReduceMean(x, axes) w = Loop(n, , q) <body = l (int64 i, bool c, float[1,1,1,1] h)"
            " => (bool d, float[1,1,1,1] o) { d = Less(h, zero) u = ReduceMean(x, axes) "
            "o = Add(h, u) }> y = Add(x, w)",
            "Loop",
        ),
        (
            "h = ReduceMax <keepdims=0> (x, one) t = Transpose <perm=[1,0,2,3]> (x) e, r = Scan "
            "<num_scan_inputs=1, scan_input_axes=[1], body = l (float[3,6,6] s, float[3,6,6] v) => "
            "(float[3,6,6] u, float[3,6,6] u1) { u = Add(s, v) u1 = Relu(u) }> (h, t) "
            "y = Relu(r)",
            "Scan",
        ),
    ],
)
def test_control_flow_on_the_way_is_refused_by_name(text, op_type):
    constants = {"zero": np.float32(0), "n": np.array(2), "axes": np.array([0, 1, 2, 3])}
    constants |= {"many": np.array(65), "one": np.array([0])}
    model = picture_model(text, **constants)
    for node in model.graph.node:
        node.name = f"the_{node.op_type}"
    with pytest.raises(FailedPrecondition) as refused:
        rewrite(model, "gradient")
    assert refused.value.reason == "UNSUPPORTED_OPERATOR"
    assert [violation.subject for violation in refused.value.violations] == [f"the_{op_type}"]


@pytest.mark.parametrize(
    ("text", "is_rectifier"),
    [
        ("c = Greater(x, zero) y = Where(c, x, zero)", True),
        ("c = GreaterOrEqual(x, zero) y = Where(c, x, zeros)", True),
        ("c = Less(zero, x) y = Where(c, x, zero)", True),
        ("c = LessOrEqual(x, zero) y = Where(c, zero, x)", True),
        ("c = Greater(x, zero) m = Cast <to = 1> (c) y = Mul(x, m)", True),
        ("c = LessOrEqual(zero, x) m = Cast <to = 1> (c) y = Mul(m, x)", True),
        ("c = Less(x, zero) y = Where(c, x, zero)", False),
        ("c = Greater(x, zero) y = Where(c, zero, x)", False),
        ("c = Greater(x, zero) y = Where(c, x, one)", False),
        ("c = Greater(x, one) y = Where(c, x, zero)", False),
        ("a = Neg(x) c = Greater(a, zero) y = Where(c, x, zero)", False),
        ("a = Neg(x) c = Greater(a, zero) m = Cast <to = 1> (c) y = Mul(x, m)", False),
    ],
)
def test_rectifiers_taken_apart_become_relu(text, is_rectifier):
    numbers = {"zero": 0, "one": 1, "zeros": [[[[0]]]]}
    constants = {name: np.float32(value) for name, value in numbers.items()}
    model = picture_model(text, **constants)
    canonical = canonise(model)
    operators = {node.op_type for node in canonical.graph.node}
    assert (operators == {"Relu", "GlobalAveragePool", "Flatten"}) is is_rectifier
    x = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)
    before, after = (
        ort.InferenceSession(one.SerializeToString()).run(["scores"], {"x": x})[0]
        for one in (model, canonical)
    )
    np.testing.assert_allclose(after, before, rtol=1e-6)
