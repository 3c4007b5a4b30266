"""Every rule against finite differences, in double, over its attribute variants.

One line a variant: the nodes in ONNX text form, from ``x`` to ``y``; the shape of x; constants by
name, a tuple being the shape of a random one. The scores are a random linear function of ``y``.
"""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxplain.graph_rewrites import FailedPrecondition, canonise, read_model, rewrite, rules

from tests.double import central_differences, evaluate, relative_error

SHAPE = (2, 3, 6, 5)
CLASSES = 3
TARGETS = np.array([2, 0])

# fmt: off
TABLE = [
    # convolutions
    ("y = Conv(x, w, b)", {"w": (4, 3, 3, 3), "b": (4,)}),
    ("y = Conv <pads=[1,1,1,1], strides=[2,2]> (x, w)", {"w": (4, 3, 3, 3)}),
    ("y = Conv <pads=[2,0,1,1], strides=[2,1]> (x, w)", {"w": (4, 3, 4, 2)}),
    ("y = Conv <strides=[3,3]> (x, w)", {"w": (4, 3, 2, 2)}),
    ("y = Conv <strides=[2,2]> (x, w)", {"w": (4, 3, 1, 1)}),
    ("y = Conv <strides=[3,1]> (x, w)", {"w": (4, 3, 1, 1)}),
    ("y = Conv <strides=[2,2], pads=[1,0,0,1]> (x, w)", {"w": (4, 3, 1, 1)}),
    ("y = Conv <auto_pad=\"SAME_LOWER\", strides=[2,3]> (x, w)", {"w": (4, 3, 1, 1)}),
    ("y = Conv <dilations=[2,2], pads=[2,2,2,2]> (x, w)", {"w": (4, 3, 3, 3)}),
    ("y = Conv <dilations=[2,1], strides=[2,3], pads=[1,0,2,1]> (x, w)", {"w": (4, 3, 2, 2)}),
    ("y = Conv <group=3, pads=[1,1,1,1]> (x, w)", {"w": (6, 1, 3, 3)}),
    ("y = Conv <group=3, pads=[1,1,1,1], strides=[2,2]> (x, w)", {"w": (3, 1, 3, 3)}),
    ("y = Conv <auto_pad=\"SAME_UPPER\", strides=[2,2]> (x, w)", {"w": (4, 3, 3, 3)}),
    ("y = Conv <auto_pad=\"SAME_LOWER\", strides=[2,2]> (x, w)", {"w": (4, 3, 3, 3)}),
    ("y = Conv <auto_pad=\"SAME_UPPER\", strides=[3,2], group=3> (x, w)", {"w": (6, 1, 4, 2)}),
    ("y = Conv <auto_pad=\"SAME_LOWER\", strides=[3,1]> (x, w)", {"w": (4, 3, 2, 2)}),
    ("y = Conv <auto_pad=\"VALID\">(x, w)", {"w": (4, 3, 3, 3)}),
    ("z = Reshape(x, s) y = Conv <pads=[1,1], strides=[2]> (z, w)", {"s": [0, 3, 30], "w": (4, 3, 3)}),
    ("y = ConvTranspose(x, w, b)", {"w": (3, 4, 3, 3), "b": (4,)}),
    ("y = ConvTranspose <strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]> (x, w)", {"w": (3, 4, 3, 3)}),
    ("y = ConvTranspose <strides=[2,3], pads=[1,0,0,1], dilations=[1,2]> (x, w)", {"w": (3, 4, 3, 2)}),
    ("y = ConvTranspose <group=3, strides=[2,2]> (x, w)", {"w": (3, 1, 3, 3)}),
    ("y = ConvTranspose <strides=[2,2], auto_pad=\"SAME_UPPER\"> (x, w)", {"w": (3, 4, 3, 3)}),
    ("y = ConvTranspose <strides=[2,2], output_shape=[13,11]> (x, w)", {"w": (3, 4, 3, 3)}),
    # products
    ("f = Flatten(x) y = Gemm(f, w, b)", {"w": (90, 4), "b": (4,)}),
    ("f = Flatten(x) y = Gemm <transB=1, alpha=0.5, beta=2.0> (f, w, b)", {"w": (4, 90), "b": (1, 4)}),
    ("y = MatMul(x, w)", {"w": (5, 4)}),
    ("y = MatMul(w, x)", {"w": (4, 6)}),
    ("t = Transpose <perm=[0,1,3,2]> (x) y = MatMul(x, t)", {}),
    ("h = Unsqueeze(x, a) y = MatMul(h, w)", {"a": [2], "w": (7, 5, 4)}),
    ("y = Einsum <equation=\"nchw, nchv -> nwv\"> (x, x)", {}),
    ("y = Einsum <equation=\"nchw,cd->ndhw\"> (x, w)", {"w": (3, 4)}),
    # elementwise arithmetic and broadcasting
    ("y = Add(x, w)", {"w": (3, 1, 5)}),
    ("m = ReduceMean(x, a) y = Sub(m, x)", {"a": [2, 3]}),
    ("m = ReduceMean <keepdims=0> (x, a) n = Unsqueeze(m, b) y = Mul(x, n)", {"a": [1, 2], "b": [1, 2]}),
    ("e = Exp(x) y = Div(x, e)", {}),
    ("y = Div(w, x)", {"w": (1, 3, 1, 1), "x": "positive"}),
    ("a = Sigmoid(x) y = Sum(x, a, w)", {"w": (5,)}),
    ("a = Sigmoid(x) y = Mean(x, a, w)", {"w": (5,)}),
    ("a = Sigmoid(x) y = Max(x, a, w)", {"w": (5,)}),
    ("a = Sigmoid(x) y = Min(x, a, w)", {"w": (5,)}),
    ("c = Greater(x, w) s = Sigmoid(x) y = Where(c, x, s)", {"w": (5,)}),
    ("m = ReduceMean(x, a) y = Expand(m, s)", {"a": [2], "s": [1, 3, 4, 5]}),
    ("y = Pow(x, p)", {"p": np.float32(3)}),
    ("y = Pow(x, p)", {"p": np.float32(0.5), "x": "positive"}),
    ("y = Neg(x)", {}), ("y = Abs(x)", {}), ("y = Exp(x)", {}), ("y = Sin(x)", {}), ("y = Cos(x)", {}), ("y = Erf(x)", {}),
    ("y = Sqrt(x)", {"x": "positive"}), ("y = Log(x)", {"x": "positive"}), ("y = Reciprocal(x)", {"x": "positive"}),
    ("y = Cast <to=1> (x)", {}), ("z = Identity(x) y = Mul(z, z)", {}), ("d = Dropout(x) y = Mul(d, d)", {}),
    # activations
    ("y = Relu(x)", {}), ("y = LeakyRelu <alpha=0.3> (x)", {}), ("y = LeakyRelu <alpha=-0.3> (x)", {}),
    ("y = Clip(x, l, h)", {"l": np.float32(-0.5), "h": np.float32(0.7)}), ("y = Clip(x, l)", {"l": np.float32(0)}),
    ("y = Clip(x, , h)", {"h": np.float32(0.7)}),
    ("y = PRelu(x, s)", {"s": (3, 1, 1)}), ("y = ThresholdedRelu <alpha=0.4> (x)", {}),
    ("y = Elu <alpha=0.7> (x)", {}), ("y = Celu <alpha=0.7> (x)", {}), ("y = Selu(x)", {}),
    ("y = Sigmoid(x)", {}), ("y = Tanh(x)", {}), ("y = Softplus(x)", {}), ("y = Softsign(x)", {}),
    ("y = HardSigmoid <alpha=0.4, beta=0.6> (x)", {}), ("y = HardSwish(x)", {"x": "wide"}), ("y = Mish(x)", {}),
    ("y = Gelu(x)", {}), ("y = Gelu <approximate=\"tanh\"> (x)", {}),
    ("y = Softmax <axis=1> (x)", {}), ("y = Softmax(x)", {}), ("y = LogSoftmax <axis=2> (x)", {}),
    # pools
    ("y = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x)", {}),
    ("y = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)", {}),
    ("y = MaxPool <kernel_shape=[3,2], strides=[2,2], ceil_mode=1> (x)", {}),
    ("y = MaxPool <kernel_shape=[2,2], dilations=[2,2]> (x)", {}),
    ("y = MaxPool <kernel_shape=[3,3], strides=[2,2], auto_pad=\"SAME_LOWER\"> (x)", {}),
    ("y = AveragePool <kernel_shape=[2,2], strides=[2,2]> (x)", {}),
    ("y = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)", {}),
    ("y = AveragePool <kernel_shape=[3,3], pads=[1,0,1,1], count_include_pad=1> (x)", {}),
    ("y = AveragePool <kernel_shape=[3,3], strides=[2,2], ceil_mode=1, pads=[0,0,1,1], count_include_pad=1> (x)", {}),
    ("y = AveragePool <kernel_shape=[3,2], strides=[2,2], ceil_mode=1> (x)", {}),
    ("y = AveragePool <kernel_shape=[3,3], strides=[2,2], auto_pad=\"SAME_UPPER\"> (x)", {}),
    ("y = AveragePool <kernel_shape=[3,2], strides=[1,2], auto_pad=\"SAME_LOWER\"> (x)", {}),
    ("y = AveragePool <kernel_shape=[4,3], strides=[2,3], auto_pad=\"SAME_LOWER\", count_include_pad=1> (x)", {}),
    ("y = AveragePool <kernel_shape=[2,2], strides=[2,2], auto_pad=\"SAME_UPPER\"> (x)", {}),
    ("g = ReduceMean(x, a) y = AveragePool <kernel_shape=[3,2], strides=[2,2], ceil_mode=1> (g)", {"a": [1]}),
    ("y = GlobalAveragePool(x)", {}), ("y = GlobalMaxPool(x)", {}),
    ("y = LpPool <kernel_shape=[2,3], strides=[2,1], p=3> (x)", {}),
    ("y = LpPool <kernel_shape=[3,3], pads=[1,1,0,1]> (x)", {}),
    ("y = LpPool <kernel_shape=[3,3], strides=[2,2], auto_pad=\"SAME_UPPER\"> (x)", {}),
    # normalisation
    ("y = MeanVarianceNormalization <axes=[2,3]> (x)", {}), ("y = MeanVarianceNormalization <axes=[1,2,3]> (x)", {}),
    ("y = BatchNormalization <epsilon=0.01> (x, s, b, m, v)", {"s": (3,), "b": (3,), "m": (3,), "v": np.float32([0.5, 1, 2])}),
    ("y = InstanceNormalization <epsilon=0.01> (x, s, b)", {"s": (3,), "b": (3,)}),
    ("z = Conv(x, w) y = GroupNormalization <num_groups=2, epsilon=0.01> (z, s, b)", {"w": (4, 3, 1, 1), "s": (4,), "b": (4,)}),
    ("y = LayerNormalization <epsilon=0.01> (x, s, b)", {"s": (5,), "b": (5,)}),
    ("y = LayerNormalization <axis=2, epsilon=0.01> (x, s)", {"s": (6, 5)}),
    ("z = Conv(x, w) y = LRN <size=5, alpha=0.9, beta=0.6, bias=1.5> (z)", {"w": (6, 3, 1, 1)}),
    ("z = Conv(x, w) y = LRN <size=3> (z)", {"w": (6, 3, 1, 1)}),
    # shapes
    ("y = Reshape(x, s)", {"s": [0, -1, 10]}), ("y = Flatten(x)", {}), ("y = Transpose <perm=[0,2,3,1]> (x)", {}),
    ("p = GlobalAveragePool(x) y = Squeeze(p, a)", {"a": [2, 3]}), ("y = Unsqueeze(x, a)", {"a": [1, -1]}),
    ("s = Shape <start=0, end=1> (x) r = Concat <axis=0> (s, t) y = Reshape(x, r)", {"t": [5, 18]}),
    ("y = ReduceMean(x, a)", {"a": [2, 3]}), ("y = ReduceMean <keepdims=0> (x, a)", {"a": [-1]}),
    ("y = ReduceSum <keepdims=0> (x, a)", {"a": [1, 3]}), ("y = ReduceL2(x, a)", {"a": [1]}), ("y = ReduceL2 <keepdims=0> (x, a)", {"a": [2, 1]}),
    ("y = ReduceL1(x, a)", {"a": [1, 2]}), ("y = ReduceL1 <keepdims=0> (x, a)", {"a": [-1]}),
    ("y = ReduceSumSquare <keepdims=0> (x, a)", {"a": [2, 3]}), ("y = ReduceLogSumExp <keepdims=0> (x, a)", {"a": [1]}),
    ("y = ReduceLogSum(x, a)", {"a": [1], "x": "positive"}),
    ("y = ReduceMax(x, a)", {"a": [2, 3]}), ("y = ReduceMin <keepdims=0> (x, a)", {"a": [1]}),
    ("y = ReduceProd(x, a)", {"a": [1]}), ("z = Relu(x) o = Sub(z, w) y = ReduceProd <keepdims=0> (o, a)", {"a": [1, 3], "w": np.float32([[[0]], [[0.1]], [[0.2]]])}),
    ("y = Tile(x, r)", {"r": [1, 2, 1, 3]}), ("r = ReduceMean(x, a) y = Tile(r, t)", {"a": [2], "t": [1, 1, 4, 1]}),
    # parts
    ("s = Sigmoid(x) y = Concat <axis=1> (x, s, x)", {}), ("s = Sigmoid(x) y = Concat <axis=-1> (x, s)", {}),
    ("a, b = Split <axis=1> (x, l) y = Mul(a, a)", {"l": [2, 1]}),
    ("a, b = Split <axis=2, num_outputs=2> (x) y = Mul(a, b)", {}),
    ("y = Slice(x, s, e)", {"s": [0, 1], "e": [999, 3]}), ("y = Slice(x, s, e, a)", {"s": [1, -4], "e": [-1, 5], "a": [2, -1]}),
    ("y = Slice(x, s, e, a, t)", {"s": [-1, 0], "e": [-99, 5], "a": [2, 3], "t": [-2, 2]}),
    ("y = Slice(x, s, e, a, t)", {"s": [1, 1], "e": [5, 4], "a": [2, 3], "t": [3, 1]}),
    ("y = Gather <axis=2> (x, i)", {"i": [3, -1, 3]}), ("y = Gather <axis=1> (x, i)", {"i": np.int64(2)}),
    ("y = Gather <axis=3> (x, i)", {"i": np.array([[0, 1], [4, 1]])}),
    ("t = Transpose <perm=[1,2,0,3]> (x) g = GatherND(t, i) y = Transpose <perm=[1,0,2]> (g)", {"i": np.array([[0, 1], [2, 5], [0, 1]])}),
    ("z = Mul(x, x) t = Transpose <perm=[1,2,0,3]> (x) u = Transpose <perm=[1,2,0,3]> (z) g = GatherND(u, i) "
     "s = ScatterND(t, i, g) y = Transpose <perm=[2,0,1,3]> (s)", {"i": np.array([[0, 1], [2, 5]])}),
    ("z = Mul(x, x) t = Transpose <perm=[1,2,0,3]> (x) u = Transpose <perm=[1,2,0,3]> (z) g = GatherND(u, i) "
     "s = ScatterND <reduction=\"add\"> (t, i, g) y = Transpose <perm=[2,0,1,3]> (s)", {"i": np.array([[0, 1], [0, 1]])}),
    ("n = Shape <end=1> (x) s = Concat <axis=0> (n, t) j = Expand(i, s) y = GatherND <batch_dims=1> (x, j)", {"t": [2, 2], "i": np.array([[0, 1], [2, 5]])}),
    ("n = Shape <end=1> (x) s = Concat <axis=0> (n, t) j = Expand(i, s) y = GatherND <batch_dims=2> (x, j)", {"t": [3, 3, 2], "i": np.array([[0, 1], [5, 4], [0, 1]])}),
    ("n = Shape <end=1> (x) s = Concat <axis=0> (n, t) j = Expand(i, s) y = GatherElements <axis=2> (x, j)", {"t": [3, 3, 5], "i": np.array([[1, 0, 1, -1, 1], [1, 3, 1, 2, 5], [0, 0, 4, 4, 1]])}),
    ("n = Shape <end=1> (x) s = Concat <axis=0> (n, t) j = Expand(i, s) z = Mul(x, x) g = GatherElements <axis=3> (z, j) "
     "y = ScatterElements <axis=3> (x, j, g)", {"t": [3, 6, 2], "i": np.array([4, 1])}),
    ("n = Shape <end=1> (x) s = Concat <axis=0> (n, t) j = Expand(i, s) z = Mul(x, x) g = GatherElements <axis=3> (z, j) "
     "y = ScatterElements <axis=3, reduction=\"add\"> (x, j, g)", {"t": [3, 6, 2], "i": np.array([4, 4])}),
    ("y = Pad(x, p)", {"p": [0, 0, 1, 2, 0, 0, 2, 0]}), ("y = Pad(x, p, , a)", {"p": [1, 1], "a": [3]}),
    ("y = Pad(x, p, v)", {"p": [0, 1, 0, 1, 0, 0, 0, 0], "v": np.float32(2)}),
    ("y = Pad <mode=\"reflect\"> (x, p)", {"p": [0, 0, 2, 1, 0, 0, 1, 3]}), ("y = Pad <mode=\"edge\"> (x, p)", {"p": [0, 0, 2, 1, 0, 0, 1, 3]}),
    # resolution
    ("y = Resize <mode=\"nearest\", coordinate_transformation_mode=\"asymmetric\", nearest_mode=\"floor\"> (x, , s)", {"s": np.float32([1, 1, 2, 2])}),
    ("y = Resize <mode=\"nearest\", axes=[3,2]> (x, , , s)", {"s": [5, 9]}),
    ("y = Resize <mode=\"linear\"> (x, , s)", {"s": np.float32([1, 1, 2, 1.5])}),
    ("y = Resize <mode=\"linear\", coordinate_transformation_mode=\"align_corners\", axes=[2,3]> (x, , , s)", {"s": [11, 7]}),
    ("y = Resize <mode=\"linear\", axes=[2,3]> (x, , s)", {"s": np.float32([0.5, 0.6])}),
    ("y = Resize <mode=\"cubic\", cubic_coeff_a=-0.5> (x, , s)", {"s": np.float32([1, 1, 2, 2])}),
    ("z = Conv(x, w) y = DepthToSpace <blocksize=2> (z)", {"w": (8, 3, 1, 1)}),
    ("z = Conv(x, w) y = DepthToSpace <blocksize=2, mode=\"CRD\"> (z)", {"w": (8, 3, 1, 1)}),
    ("p = Slice(x, s, e) y = SpaceToDepth <blocksize=2> (p)", {"s": [0, 0, 0, 0], "e": [999, 9, 6, 4]}),
]
# fmt: on

# What depends on sizes that only a run knows; refused by name.
NEEDS_SIZES = ("y = ConvTranspose <strides=[2,2], output_shape=[13,11]> (x, w)",)


def constant(name, value, random):
    if isinstance(value, tuple):
        return numpy_helper.from_array(random.normal(size=value).astype(np.float32), name)
    return numpy_helper.from_array(np.asarray(value), name)


def model_of(text, constants, *, sizes=SHAPE[2:]):
    """Return ``x`` -> nodes of the text -> ``y`` -> Flatten, MatMul -> ``scores``."""
    random = np.random.default_rng(len(text))
    graph = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {text} }}")
    names = {k: v for k, v in constants.items() if k != "x"}
    initializers = [constant(name, value, random) for name, value in names.items()]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xy")
    bare = helper.make_graph(graph.node, "g", [x], [y], initializers)
    opset = [helper.make_opsetid("", 21)]
    size = evaluate(helper.make_model(bare, opset_imports=opset), {"x": pictures(constants)})["y"][
        0
    ].size
    head = random.normal(size=(size, CLASSES)).astype(np.float32)
    flat = helper.make_node("Flatten", ["y"], ["flat"])
    product = helper.make_node("MatMul", ["flat", "head"], ["scores"])
    whole = helper.make_graph(
        [*graph.node, flat, product],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", SHAPE[1], *sizes])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])],
        [*initializers, numpy_helper.from_array(head, "head")],
    )
    model = helper.make_model(whole, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def pictures(constants):
    x = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    spread = {"positive": lambda: np.abs(x) + np.float32(0.3), "wide": lambda: 4 * x}
    return spread.get(constants.get("x"), lambda: x)()


@pytest.mark.parametrize(("text", "constants"), TABLE)
def test_a_rule_is_the_derivative(text, constants):
    model, x = model_of(text, constants), pictures(constants)
    rewritten = rewrite(model, "gradient")
    onnx.checker.check_model(rewritten, full_check=True)
    feeds = {"x": x, "target": TARGETS}
    found = evaluate(rewritten, feeds)["attribution"]

    def scores(batch):
        return evaluate(canonise(read_model(model)), {"x": batch})["scores"]

    expected = np.concatenate(
        [
            central_differences(scores, x[n : n + 1].astype(np.float64), target)
            for n, target in enumerate(TARGETS)
        ]
    )
    assert relative_error(found, expected) < 1e-7
    assert relative_error(run_in_float(rewritten, feeds), found) < 1e-5


def dynamic_like_static(method, text, constants):
    """Assert that sizes known to the run alone change nothing."""
    arrays = {"x": pictures(constants), "target": TARGETS, "baseline": np.zeros((1, *SHAPE[1:]))}
    expected, *others = (
        run_in_float(rewrite(model_of(text, constants, sizes=sizes), method), arrays)
        for sizes in (SHAPE[2:], ("height", "width"), ("height", SHAPE[3]))
    )
    assert max(relative_error(found, expected) for found in others) < 1e-5


def run_in_float(model, arrays):
    session = ort.InferenceSession(model.SerializeToString())
    names = {value.name for value in session.get_inputs()}
    feeds = {name: arrays[name] for name in arrays if name in names}
    feeds |= {name: array.astype(np.float32) for name, array in feeds.items() if name != "target"}
    return session.run(["attribution"], feeds)[0]


@pytest.mark.parametrize(
    ("text", "constants"), [line for line in TABLE if line[0] not in NEEDS_SIZES]
)
def test_a_rule_holds_for_dynamic_heights_and_widths(text, constants):
    dynamic_like_static("gradient", text, constants)


@pytest.mark.parametrize(("text", "constants"), [line for line in TABLE if "SAME" in line[0]])
@pytest.mark.parametrize("method", ["lrp", "deep_lift"])
def test_relevance_passes_pads_that_depend_on_dynamic_sizes(method, text, constants):
    dynamic_like_static(method, text, constants)


@pytest.mark.parametrize(("text", "constants"), [line for line in TABLE if line[0] in NEEDS_SIZES])
def test_what_needs_sizes_is_refused_where_they_are_dynamic(text, constants):
    with pytest.raises(FailedPrecondition, match="dynamic"):
        rewrite(model_of(text, constants, sizes=("height", "width")), "gradient")


def test_every_rule_is_in_the_table():
    used = {
        node.op_type
        for text, _ in TABLE
        for node in onnx.parser.parse_graph(f"g (float x) => (float y) {{ {text} }}").node
    }
    elsewhere = {"DequantizeLinear", "QuantizeLinear"}  # test_quantised.py
    beyond = {"Swish"}  # opset 24, which onnxruntime does not load yet
    assert rules.gradient.op_types() - used == elsewhere | beyond
