"""Products of two values that both come from the image: activations, and gates.

``x sigmoid(x)`` is an activation: both factors are functions, element by element, of the same
values. Of two others, one may be a gate: the one that a squashing function makes, or the smaller
one that is broadcast.
"""

from __future__ import annotations

import math

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import constant_array, dims, operand

__all__ = [
    "POINTWISE",
    "chosen_index",
    "gate_index",
    "is_activation",
    "is_within_activation",
    "linear_index",
    "squashed_index",
]

#: Functions of one value each; with constants beside it, the arithmetic too.
POINTWISE = (
    "Abs", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
    "LeakyRelu", "Log", "Mish", "Neg", "PRelu", "Pow", "Reciprocal", "Relu", "Selu", "Sigmoid",
    "Sin", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
)  # fmt: skip
_ARITHMETIC = ("Add", "Div", "Max", "Mean", "Min", "Mul", "Sub", "Sum")
_COMPARISONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_GATES = ("HardSigmoid", "Sigmoid", "Softmax", "Tanh")
_THROUGH = (
    "Cast", "Dropout", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip


def is_activation(node: ir.Node) -> bool:
    """Return whether all factors are functions, element by element, of the same values."""
    leaves = [_behind(value)[0] for value in node.inputs if value is not None]
    return len(leaves) > 1 and all(found == leaves[0] for found in leaves)


def is_within_activation(node: ir.Node) -> bool:
    """Return whether what the node makes is used, element by element, by an activation."""
    waiting, seen = [*node.outputs], {*node.outputs}
    while waiting:
        for user, _ in waiting.pop().uses():
            if user.domain != "" or user.op_type not in (*POINTWISE, *_ARITHMETIC):
                continue
            varying = [v for v in user.inputs if v is not None and constant_array(v) is None]
            if len(varying) > 1:
                if is_activation(user):
                    return True
            elif user.outputs[0] not in seen:
                seen.add(user.outputs[0])
                waiting.append(user.outputs[0])
    return False


def chosen_index(node: ir.Node) -> int | None:
    """Return which branch of a Where is what its condition and the other are functions of.

    So LeakyRelu and Elu are, taken apart. ``None`` where neither is.
    """
    comparison = operand(node).producer()
    if comparison is None or comparison.op_type not in _COMPARISONS:
        return None
    values = [*comparison.inputs, *node.inputs[1:]]
    varying = [value for value in values if value is not None and constant_array(value) is None]
    leaves = [_behind(value)[0] for value in varying]
    if not leaves or any(found != leaves[0] for found in leaves) or len(leaves[0]) != 1:
        return None
    (leaf,) = leaves[0]
    return next((index for index in (1, 2) if node.inputs[index] is leaf), None)


def linear_index(node: ir.Node) -> int | None:
    """Return which factor of an activation is what the other is a function of."""
    found = [
        index
        for index in range(2)
        if _without_factors(operand(node, index)) in _behind(operand(node, 1 - index))[1]
    ]
    return found[0] if len(found) == 1 else None


def gate_index(node: ir.Node) -> int | None:
    """Return which factor is the gate; ``None`` where both may be, or neither."""
    squashed = squashed_index(node)
    if squashed is not None:
        return squashed
    sizes = [_size(operand(node, index)) for index in range(2)]
    if sizes[0] is None or sizes[1] is None or sizes[0] == sizes[1]:
        return None
    return 0 if sizes[0] < sizes[1] else 1


def squashed_index(node: ir.Node) -> int | None:
    """Return which of two factors alone a squashing function makes."""
    squashed = [_is_squashed(operand(node, index)) for index in range(2)]
    return squashed.index(True) if squashed[0] != squashed[1] else None


def _behind(value: ir.Value) -> tuple[set[ir.Value], set[ir.Value]]:
    """Return the values that this one is a function of, element by element: the first, and all."""
    leaves: set[ir.Value] = set()
    waiting, seen = [value], {value}
    while waiting:
        current = waiting.pop()
        node = current.producer()
        if node is None or node.domain != "" or node.op_type not in (*POINTWISE, *_ARITHMETIC):
            leaves.add(current)
            continue
        for given in node.inputs:
            if given is not None and constant_array(given) is None and given not in seen:
                seen.add(given)
                waiting.append(given)
    return leaves, seen


def _without_factors(value: ir.Value) -> ir.Value:
    """Return what constant factors make the value of."""
    node = value.producer()
    while node is not None and node.op_type in ("Div", "Mul") and node.domain == "":
        constant = [constant_array(given) is not None for given in node.inputs]
        if constant == [False, True]:
            value = operand(node, 0)
        elif constant == [True, False] and node.op_type == "Mul":
            value = operand(node, 1)
        else:
            break
        node = value.producer()
    return value


def _is_squashed(value: ir.Value) -> bool:
    node = value.producer()
    while node is not None and node.op_type in _THROUGH:
        node = operand(node).producer()
    return node is not None and node.op_type in _GATES


def _size(value: ir.Value) -> int | None:
    """Return the number of elements per image; ``None`` where it is unknown."""
    sizes = dims(value)[1:]
    if value.shape is None or None in sizes:
        return None
    return math.prod(int(size or 0) for size in sizes)
