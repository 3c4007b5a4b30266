"""The architectures that come with the onnx wheel, their constant weights made random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper

__all__ = ["LIGHT", "light_model"]

#: Where the wheel keeps the files, ``light_NAME.onnx``.
LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"


def light_model(path: Path) -> onnx.ModelProto:
    """Return a model of the onnx wheel, its constant weights replaced by seeded random ones."""
    model = onnx.load(path)
    graph, random = model.graph, np.random.default_rng(0)
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    unsqueezed = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Unsqueeze"}
    factors = {  # scales and variances: numbers around 1
        unsqueezed.get(name, name)
        for node in graph.node
        if node.op_type in ("BatchNormalization", "Mul")
        for name in (node.input[1], node.input[-1])
    }
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        (name,), shape = node.output, given[node.input[0]].tolist()
        if name in factors:
            values = random.uniform(0.7, 1.3, shape)
        elif len(shape) > 1:
            values = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        else:
            values = random.normal(0, 0.1, shape)
        graph.node.remove(node)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return model
