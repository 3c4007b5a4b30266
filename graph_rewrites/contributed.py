"""Operators that onnxruntime fuses when it saves a model optimised, written as ONNX's own again.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md defines them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from .builder import attribute, rank

__all__ = ["take_fused_apart"]

_DOMAIN = "com.microsoft"
_PARAMETERS = {
    "Clip": ("min", "max"), "HardSigmoid": ("alpha", "beta"), "LeakyRelu": ("alpha",),
    "Relu": (), "Sigmoid": (), "Tanh": (),
}  # fmt: skip


def take_fused_apart(graph: ir.Graph) -> None:
    """Replace FusedConv, FusedGemm, FusedMatMul and the GELUs, as far as what they fuse is known.

    Others, and unknown activations, stay: what cannot go through them refuses them by name.
    """
    for node in list(graph):
        take_apart = _FORMS.get(node.op_type) if node.domain == _DOMAIN else None
        if take_apart is None:
            continue
        tape = Tape()
        result = take_apart(tape, node)
        if result is None:
            continue
        for made in tape.nodes:
            made.name = f"{node.name or node.op_type}/{made.op_type}"
        old = node.outputs[0]
        result.name, result.type, result.shape = old.name, old.type, old.shape
        ir.convenience.replace_nodes_and_values(graph, node, [node], tape.nodes, [old], [result])


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _number(tape: Tape, number: float) -> ir.Value:
    return tape.op("Constant", [], {"value": ir.tensor(np.array(number, np.float32))})


def _activated(tape: Tape, y: ir.Value, op_type: str, numbers: list[float]) -> ir.Value | None:
    """Return the activation of ``y``; ``numbers`` are its parameters in ONNX's order."""
    names = _PARAMETERS.get(op_type)
    if names is None or len(numbers) < len(names):
        return None
    if op_type == "Clip":
        return tape.op("Clip", [y, *(_number(tape, number) for number in numbers[:2])])
    return tape.op(op_type, [y], dict(zip(names, numbers, strict=False)))


def _conv(tape: Tape, node: ir.Node) -> ir.Value | None:
    """``act(Conv(x, w, b) + z)``."""
    own = [name for name in node.attributes if not name.startswith("activation")]
    y = tape.op("Conv", node.inputs[:3], {name: attribute(node, name) for name in own})
    summand = _input(node, 3)
    if summand is not None:
        y = tape.op("Add", [y, summand])
    parameters = list(attribute(node, "activation_params", []))
    return _activated(tape, y, attribute(node, "activation", ""), parameters)


def _gemm(tape: Tape, node: ir.Node) -> ir.Value | None:
    """``act(Gemm(a, b, c))``."""
    own = [name for name in node.attributes if not name.startswith("activation")]
    y = tape.op("Gemm", node.inputs, {name: attribute(node, name) for name in own})
    names = [f"activation_{name}" for name in ("alpha", "beta", "gamma")]
    numbers = [float(attribute(node, name)) for name in names if name in node.attributes]
    return _activated(tape, y, attribute(node, "activation", ""), numbers)


def _matmul(tape: Tape, node: ir.Node) -> ir.Value | None:
    """``alpha A B``, each with its last two axes exchanged where asked."""
    if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0):
        return None
    factors = []
    for side, value in zip("AB", node.inputs, strict=True):
        assert value is not None
        n = rank(value)
        if not attribute(node, f"trans{side}", 0):
            factors.append(value)
        elif n is None or n < 2:
            return None
        else:
            order = [*range(n - 2), n - 1, n - 2]
            factors.append(tape.op("Transpose", [value], {"perm": order}))
    y = tape.op("MatMul", factors)
    alpha = attribute(node, "alpha", 1.0)
    return y if alpha == 1.0 else tape.op("Mul", [y, _number(tape, alpha)])


def _gelu(approximate: str) -> Callable[[Tape, ir.Node], ir.Value | None]:
    def take_apart(tape: Tape, node: ir.Node) -> ir.Value:
        """``gelu(x + bias)``."""
        x = node.inputs[0] if _input(node, 1) is None else tape.op("Add", node.inputs)
        return tape.op("Gelu", [x], {"approximate": approximate})

    return take_apart


def _quick_gelu(tape: Tape, node: ir.Node) -> ir.Value | None:
    """``x sigmoid(alpha x)``; SiLU where alpha is 1."""
    x, alpha = node.inputs[0], attribute(node, "alpha", 1.702)
    scaled = x if alpha == 1.0 else tape.op("Mul", [x, _number(tape, alpha)])
    return tape.op("Mul", [x, tape.op("Sigmoid", [scaled])])


_FORMS: dict[str, Callable[[Tape, ir.Node], ir.Value | None]] = {
    "BiasGelu": _gelu("none"),
    "FastGelu": _gelu("tanh"),
    "FusedConv": _conv,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "Gelu": _gelu("none"),
    "QuickGelu": _quick_gelu,
}
