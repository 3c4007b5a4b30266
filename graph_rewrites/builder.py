"""Emitting nodes: ``op.Relu(x)``, constants from arrays, shapes where they are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript import GraphBuilder

__all__ = ["Builder", "attribute", "constant_array", "constant_ints", "dims", "operand", "rank"]


class Builder:
    """Appends nodes to a graph; ``op.NAME(...)`` is the ONNX operator of that name.

    Python numbers and lists among the operands become constants of the type the operator wants;
    arrays go through `constant`. Arithmetic on weights is emitted as nodes, not done here: it then
    holds in the precision the graph is run in, and onnxruntime folds it at load time. Only data
    movement (flips, transposes) is done in NumPy.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        for name, value in list(graph.initializers.items()):
            if name.startswith("const_"):  # the names GraphBuilder gives to its own constants
                value.name = f"model/{name}"
        self._op = GraphBuilder(graph).op
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def __getattr__(self, op_type: str) -> Callable[..., ir.Value]:
        if not op_type[0].isupper():
            raise AttributeError(op_type)
        emit: Callable[..., ir.Value] = getattr(self._op, op_type)
        return emit

    def several(self, op_type: str, n: int, *operands: Any, **attributes: Any) -> list[ir.Value]:
        """Emit an operator with ``n`` outputs."""
        return list(getattr(self._op, op_type)(*operands, _outputs=n, **attributes))

    def constant(self, array: np.ndarray) -> ir.Value:
        """Return an initialiser holding ``array``; equal arrays share one."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"onnxplain/constant_{len(self.graph.initializers)}"
            while name in self.graph.initializers:
                name += "_"
            self._constants[key] = self._op.initializer(ir.tensor(array, name=name), name)
        return self._constants[key]

    def scalar(self, number: float, like: ir.Value) -> ir.Value:
        """Return a number in the type of ``like``."""
        if like.dtype is None:
            return self.CastLike(self.constant(np.array(number, np.float32)), like)
        return self.constant(np.array(number, like.dtype.numpy()))

    def shape(self, value: ir.Value) -> ir.Value | list[int]:
        """Return the shape of ``value``: a list where it is static, else the output of Shape."""
        sizes = dims(value)
        return self.Shape(value) if None in sizes else [int(size) for size in sizes if size]

    def reshape_like(self, x: ir.Value, like: ir.Value) -> ir.Value:
        """Return ``x`` in the shape of ``like``."""
        sizes = dims(like)
        if like.shape is not None and sizes.count(None) <= 1 and 0 not in sizes:
            shape = np.array([-1 if size is None else size for size in sizes], np.int64)
            if _same_batch(x, like):
                shape[0] = 0  # copies the length, and with it what it is called
            return self.Reshape(x, self.constant(shape))
        return self.Reshape(x, self.Shape(like))

    def expand_like(self, x: ir.Value, like: ir.Value) -> ir.Value:
        """Return ``x`` broadcast to the shape of ``like``, whose batch axis it already has."""
        sizes = dims(like)
        if like.shape is not None and None not in sizes[1:]:
            return self.Expand(x, [sizes[0] or 1, *sizes[1:]])
        return self.Expand(x, self.Shape(like))

    def sum_rows(self, value: ir.Value, like: ir.Value, image: ir.Value) -> ir.Value | None:
        """Return the sum over each row of the image's batch, ``[N]``.

        ``value`` is shaped like ``like``, whose first axis may be the batch with others merged
        into it, as of windows; ``None`` where it is another.
        """
        batch = image.shape[0] if image.shape else None
        first = like.shape[0] if like.shape else None
        if first == batch and getattr(first, "value", first) is not None:
            if spatial := list(range(2, len(dims(like)))):
                value = self.ReduceSum(value, spatial, keepdims=0)
            rows = self.Flatten(value, axis=1)
        elif isinstance(first, int) and batch != 1:
            return None
        else:
            rows = self.Reshape(value, self.Concat(self.Shape(image, start=0, end=1), [-1], axis=0))
        found: ir.Value = self.ReduceSum(rows, [1], keepdims=0)
        return found


def _same_batch(x: ir.Value, like: ir.Value) -> bool:
    """Return whether both begin with the same axis, of a length that has a name."""
    if not x.shape or not like.shape:
        return False
    first = x.shape[0]
    return isinstance(first, ir.SymbolicDim) and bool(first.value) and first == like.shape[0]


def dims(value: ir.Value) -> tuple[int | None, ...]:
    """Return the sizes of ``value``, ``None`` where dynamic; () where the rank is unknown."""
    if value.shape is None:
        return ()
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def rank(value: ir.Value) -> int | None:
    """Return the number of axes of ``value``, ``None`` where it is unknown."""
    return None if value.shape is None else len(value.shape)


def operand(node: ir.Node, index: int = 0) -> ir.Value:
    """Return the node's input ``index``, which the operator requires."""
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node.op_type} {node.name!r} lacks its input {index}")
    return value


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """Return the value of a node's attribute, or ``default`` where it is absent."""
    found = node.attributes.get(name)
    if found is None:
        return default
    return list(found.value) if isinstance(found.value, tuple | list) else found.value


def constant_array(value: ir.Value | None) -> np.ndarray | None:
    """Return the array of a value that depends on no input, else ``None``."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return np.asarray(value.const_value.numpy())


def constant_ints(node: ir.Node, index: int) -> list[int] | None:
    """Return the integers at a node's input ``index``, ``None`` where absent or not constant."""
    value: Sequence[ir.Value | None] = node.inputs
    array = constant_array(value[index]) if index < len(value) else None
    return None if array is None else [int(item) for item in array.reshape(-1)]
