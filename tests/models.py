"""Small models with seeded random weights, for tests: from ``tests.models``."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 21

#: Preprocessing of the models here: pixels to -1..1, after a resize to the model's input.
PREPROCESSING = {
    "layout": "NCHW",
    "colour": "RGB",
    "resize": {"size": [32, 32], "filter": "bilinear"},
    "range": [-1, 1],
}


class _Layers:
    """Nodes and initializers so far; a layer takes a tensor's name and returns one."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.initializers = [], []

    def add(self, op_type, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def weights(self, name, shape, spread):
        values = self.random.normal(0, spread, shape).astype(np.float32)
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x, output, n_in, n_out):
        spread = (2 / (9 * n_in)) ** 0.5
        weight = self.weights(f"{output}.weight", (n_out, n_in, 3, 3), spread)
        bias = self.weights(f"{output}.bias", (n_out,), 0.05)
        return self.add("Conv", [x, weight, bias], output, pads=[1, 1, 1, 1])

    def dense(self, x, output, n_in, n_out):
        weight = self.weights(f"{output}.weight", (n_out, n_in), n_in**-0.5)
        bias = self.weights(f"{output}.bias", (n_out,), 0.05)
        return self.add("Gemm", [x, weight, bias], output, transB=1)

    def model(self, output, channels, size, classes, batch):
        shape = [batch, channels, size, size]
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, classes])],
            initializer=self.initializers,
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return model


def classifier(nodes, weights, *, size, channels=3, classes=5, opset=OPSET):
    """Return the classifier of ``nodes``, from ``image`` to ``logits``, with these weights."""
    shape = ["N", channels, size, size]
    tensors = [
        numpy_helper.from_array(
            array.astype(np.float32) if array.dtype == np.float64 else array, name
        )
        for name, array in weights.items()
    ]
    graph = helper.make_graph(
        nodes,
        "joined",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
        initializer=tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def branches(*nodes, **weights):
    """Return a classifier of two convolutions ``a`` and ``b`` that ``nodes`` join to ``y``.

    All of ``a``, ``b`` and ``y`` are ``[N, 4, 3, 3]``; nothing has a bias.
    """
    random = np.random.default_rng(3)
    own = {
        "u": random.normal(size=(4, 3, 3, 3)),
        "v": random.normal(size=(4, 3, 3, 3)),
        "fc": random.normal(size=(36, 5)),
        "flat": np.array([0, 36]),
    }
    layers = [
        helper.make_node("Conv", ["image", "u"], ["a"], name="conv_a", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["image", "v"], ["b"], name="conv_b", pads=[1, 1, 1, 1]),
        *nodes,
        helper.make_node("Reshape", ["y", "flat"], ["flattened"]),
        helper.make_node("MatMul", ["flattened", "fc"], ["logits"], name="dense"),
    ]
    return classifier(layers, own | weights, size=3)


def tiny_cnn(*, size=32, channels=3, width=8, classes=5, batch="N", softmax=True, seed=0):
    """Conv-Relu-Conv-Relu-GlobalAveragePool-Gemm-Softmax: ``image`` to ``probabilities``."""
    layers = _Layers(seed)
    x = layers.add("Relu", [layers.conv("image", "conv1", channels, width)], "relu1")
    x = layers.add("Relu", [layers.conv(x, "conv2", width, width)], "relu2")
    x = layers.add("Flatten", [layers.add("GlobalAveragePool", [x], "pooled")], "flattened")
    x = layers.dense(x, "logits", width, classes)
    if softmax:
        x = layers.add("Softmax", [x], "probabilities", axis=1)
    return layers.model(x, channels, size, classes, batch)


def tiny_mlp(*, size=32, channels=3, width=16, classes=5, batch="N", softmax=True, seed=0):
    """Flatten-Gemm-Relu-Gemm-Softmax: a model without convolutions."""
    layers = _Layers(seed)
    x = layers.add("Flatten", ["image"], "flattened")
    x = layers.dense(x, "hidden", channels * size * size, width)
    x = layers.dense(layers.add("Relu", [x], "relu"), "logits", width, classes)
    if softmax:
        x = layers.add("Softmax", [x], "probabilities", axis=1)
    return layers.model(x, channels, size, classes, batch)


def slow_cnn(*, repeats=150, size=128, width=32, seed=0):
    """Return a CNN whose one forward pass of one image takes a good part of a second."""
    layers = _Layers(seed)
    x = layers.add("Relu", [layers.conv("image", "conv0", 3, width)], "relu0")
    for n in range(1, repeats):
        x = layers.add("Relu", [layers.conv(x, f"conv{n}", width, width)], f"relu{n}")
    x = layers.add("Flatten", [layers.add("GlobalAveragePool", [x], "pooled")], "flattened")
    x = layers.add("Softmax", [layers.dense(x, "logits", width, 5)], "probabilities", axis=1)
    return layers.model(x, 3, size, 5, "N")


def external_data_model(location):
    """Return a tiny CNN one of whose weights claims to lie in the file ``location``."""
    model = tiny_cnn()
    weight = model.graph.initializer[0]
    n_bytes = len(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(n_bytes)}.items():
        weight.external_data.add(key=key, value=value)
    return model


def save(model: onnx.ModelProto | bytes, path: Path) -> Path:
    """Write a model, or any bytes, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path
