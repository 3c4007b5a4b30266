"""DeconvNet and guided backprop: the gradient, but for what passes a rectifier.

A rectifier is Relu, Clip from 0, Max with 0, LeakyRelu, PRelu or ThresholdedRelu. Zeiler & Fergus
2014, section 2.1; Springenberg et al. 2015, section 3.4.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, operand
from onnxplain.graph_rewrites.engine import Contributions, RuleTable

from .activations import clip
from .arithmetic import extremum
from .masks import above
from .quantisation import quantize_linear
from .tables import gradient

__all__ = ["SMOOTH", "deconvnet", "guided_backprop", "is_rectifier"]

deconvnet = RuleTable("deconvnet", gradient)
guided_backprop = RuleTable("guided_backprop", gradient)

#: Activations for which neither method is defined: they keep their gradient.
SMOOTH = frozenset({
    "Celu", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Selu", "Sigmoid", "Softplus",
    "Softsign", "Swish", "Tanh",
})  # fmt: skip

_LINEAR = ("Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "Sum")
_ALWAYS = ("LeakyRelu", "PRelu", "Relu", "ThresholdedRelu")


def is_rectifier(node: ir.Node) -> bool:
    """Return whether the node lets positive values pass and stops or dampens negative ones."""
    if node.op_type == "Clip":
        return _is_zero(node.inputs[1] if len(node.inputs) > 1 else None)
    if node.op_type == "Max":
        return len(node.inputs) == 2 and any(_is_zero(value) for value in node.inputs)
    if node.op_type == "QuantizeLinear":
        return _is_fused(node)
    return node.op_type in _ALWAYS


def _is_fused(node: ir.Node) -> bool:
    """Return whether the node quantises a linear layer to a type whose least value means 0."""
    before = operand(node).producer()
    zero = constant_array(node.inputs[2] if len(node.inputs) > 2 else None)
    if before is None or before.op_type not in _LINEAR or zero is None:
        return False
    return bool((zero == np.iinfo(zero.dtype).min).all())


def _is_zero(value: ir.Value | None) -> bool:
    array = constant_array(value)
    return array is not None and not array.any()


@deconvnet.rule(*_ALWAYS)
def deconvnet_rectifier(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = max(dy, 0), whatever x is."""
    return [op.Relu(dy), *[None] * (len(node.inputs) - 1)]


@guided_backprop.rule(*_ALWAYS)
def guided_rectifier(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = max(dy, 0) where x lets pass as it is."""
    alpha = attribute(node, "alpha", 0.0)
    from_input = node.op_type == "PRelu" or (node.op_type == "LeakyRelu" and alpha <= 0)
    mask = above(op, operand(node) if from_input else node.outputs[0], 0.0)
    return [op.Mul(op.Relu(dy), mask), *[None] * (len(node.inputs) - 1)]


@deconvnet.rule("Clip")
def deconvnet_clip(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Treat Clip from 0 as a rectifier, any other one by its gradient."""
    return deconvnet_rectifier(op, node, dy) if is_rectifier(node) else clip(op, node, dy)


@guided_backprop.rule("Clip")
def guided_clip(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Treat Clip from 0 as a rectifier that is also closed above, any other one by its gradient."""
    return clip(op, node, op.Relu(dy) if is_rectifier(node) else dy)


@deconvnet.rule("Max", broadcasts=True)
def deconvnet_max(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Treat Max with 0 as a rectifier, any other one by its gradient."""
    if not is_rectifier(node):
        return extremum(op, node, dy)
    return [None if _is_zero(value) else op.Relu(dy) for value in node.inputs]


@guided_backprop.rule("Max", broadcasts=True)
def guided_max(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Treat Max with 0 as a rectifier, any other one by its gradient."""
    return extremum(op, node, op.Relu(dy) if is_rectifier(node) else dy)


@deconvnet.rule("QuantizeLinear")
def deconvnet_quantise(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Treat what took a Relu in as the rectifier it is."""
    if is_rectifier(node):
        return deconvnet_rectifier(op, node, dy)
    return quantize_linear(op, node, dy)


@guided_backprop.rule("QuantizeLinear")
def guided_quantise(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Treat what took a Relu in as the rectifier it is."""
    return quantize_linear(op, node, op.Relu(dy) if is_rectifier(node) else dy)
