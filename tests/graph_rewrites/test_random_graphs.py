"""Random small CNNs: branches, joins, gates and all; their gradient against differences."""

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxplain.graph_rewrites import rewrite

from tests.double import evaluate

CLASSES, SIZE, STEP = 3, 8, 1e-6


class Net:
    """A graph that grows: a tensor is ``(name, channels, side)``."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.initializers = [], []
        self.tensors = [("image", 3, SIZE)]

    def weights(self, *shape, positive=False):
        name = f"w{len(self.initializers)}"
        array = self.random.normal(0, (1.5 / np.prod(shape[1:])) ** 0.5, shape)
        array = np.abs(array) + 0.5 if positive else array
        self.initializers.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def add(self, op_type, inputs, channels, side, **attributes):
        name = f"t{len(self.nodes)}"
        node = helper.make_node(op_type, inputs, [name], name=f"n{len(self.nodes)}", **attributes)
        self.nodes.append(node)
        self.tensors.append((name, channels, side))
        return self.tensors[-1]


def conv(net, tensor, draw):
    name, channels, side = tensor
    out, kernel = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 3]))
    stride, dilation = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
    depthwise = draw(st.booleans())
    out = channels * draw(st.integers(1, 2)) if depthwise else out
    weight = net.weights(out, 1 if depthwise else channels, kernel, kernel)
    pads = [draw(st.integers(0, kernel - 1)) for _ in range(4)]
    reach = dilation * (kernel - 1) + 1
    sides = [(side + pads[i] + pads[i + 2] - reach) // stride + 1 for i in range(2)]
    if sides[0] != sides[1] or sides[0] < 1:
        return
    net.add(
        "Conv", [name, weight], out, sides[0], pads=pads, strides=[stride] * 2,
        dilations=[dilation] * 2, group=channels if depthwise else 1,
    )  # fmt: skip


def pool(net, tensor, draw):
    name, channels, side = tensor
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    if side >= kernel:
        op_type = draw(st.sampled_from(["MaxPool", "AveragePool"]))
        after = (side - kernel) // stride + 1
        net.add(op_type, [name], channels, after, kernel_shape=[kernel] * 2, strides=[stride] * 2)


def activation(net, tensor, draw):
    name, channels, side = tensor
    names = ["Relu", "LeakyRelu", "Sigmoid", "Tanh", "Elu", "HardSwish", "Softplus", "Gelu"]
    net.add(draw(st.sampled_from(names)), [name], channels, side)


def normalise(net, tensor, draw):
    name, channels, side = tensor
    parts = [net.weights(channels), net.weights(channels), net.weights(channels)]
    variance = net.weights(channels, positive=True)
    net.add("BatchNormalization", [name, *parts, variance], channels, side)


def join(net, tensor, draw):
    name, channels, side = tensor
    same = [other for other in net.tensors if other[1:] == tensor[1:]]
    other = draw(st.sampled_from(same))
    net.add(draw(st.sampled_from(["Add", "Mul", "Sub", "Max"])), [name, other[0]], channels, side)


def concatenate(net, tensor, draw):
    name, channels, side = tensor
    other = draw(st.sampled_from([other for other in net.tensors if other[2] == side]))
    net.add("Concat", [name, other[0], name], 2 * channels + other[1], side, axis=1)


def gate(net, tensor, draw):
    name, channels, side = tensor
    pooled = net.add("GlobalAveragePool", [name], channels, 1)
    gate = net.add("Sigmoid", [pooled[0]], channels, 1)
    net.tensors = net.tensors[:-2]  # of another shape than the rest expects
    net.add("Mul", [name, gate[0]], channels, side)


STEPS = [conv, conv, conv, pool, activation, activation, normalise, join, concatenate, gate]


@st.composite
def models(draw):
    net = Net(draw(st.integers(0, 2**16)))
    for _ in range(draw(st.integers(2, 12))):
        recent = net.tensors[-3:]
        draw(st.sampled_from(STEPS))(net, draw(st.sampled_from(recent)), draw)
    name, channels, side = net.tensors[-1]
    net.add("Flatten", [name], channels, side)
    head = net.weights(channels * side * side, CLASSES)
    net.add("MatMul", [net.tensors[-1][0], head], CLASSES, 1)
    scores = net.tensors[-1][0]
    graph = helper.make_graph(
        net.nodes,
        "random",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(scores, TensorProto.FLOAT, ["N", CLASSES])],
        net.initializers,
    )
    opset = [helper.make_opsetid("", draw(st.sampled_from([20, 21, 22])))]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(models())
def test_the_gradient_of_a_random_cnn_is_its_derivative(model):
    onnx.checker.check_model(model, full_check=True)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 3, SIZE, SIZE)).astype(np.float32).astype(np.float64)
    directions = random.normal(size=(4, *x.shape[1:]))
    targets = np.array([2, 0])
    rewritten = rewrite(model, "gradient")
    gradient = evaluate(rewritten, {"image": x, "target": targets})["attribution"]
    (scores,) = (value.name for value in model.graph.output)
    for row, target in enumerate(targets):
        after, before = (
            evaluate(model, {"image": x[row] + sign * STEP * directions})[scores][:, target]
            for sign in (1, -1)
        )
        expected = (after - before) / (2 * STEP)
        found = np.sum(gradient[row] * directions, axis=(1, 2, 3))
        scale = np.linalg.norm(gradient[row]) * np.linalg.norm(directions[0])
        np.testing.assert_allclose(found, expected, atol=1e-6 * scale + 1e-8)
