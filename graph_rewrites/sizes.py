"""Sizes computed from shapes: constants where they are static, though the batch may be any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .builder import attribute, constant_array, constant_ints
from .patterns.surgery import constant

__all__ = ["fold_sizes", "tell_apart"]

Sizes = npt.NDArray[Any]
"""Numbers and dynamic sizes, ``[]`` or ``[n]``."""


@dataclass(frozen=True)
class _Dynamic:
    """The size of an axis that only a run knows, by the axis and its name in the model's shapes."""

    axis: int
    name: str | None


def tell_apart(graph: ir.Graph) -> None:
    """Give axes of an input that share a name names of their own: some exporters call all alike.

    Elsewhere in the graph such a name says nothing, and is taken away.
    """
    shared = set()
    for value in graph.inputs:
        names = [_name(size) for size in value.shape or ()]
        twice = {name for name in names if name is not None and names.count(name) > 1}
        shared |= twice
        if twice:
            value.shape = ir.Shape(
                f"{name}_{axis}" if name in twice else size
                for axis, (size, name) in enumerate(zip(value.shape or (), names, strict=True))
            )
    for node in graph if shared else ():
        for value in node.outputs:
            if value.shape is not None and shared & {_name(size) for size in value.shape}:
                value.shape = ir.Shape(
                    None if _name(size) in shared else size for size in value.shape
                )


def fold_sizes(graph: ir.Graph) -> None:
    """Replace by constants what is selected from shapes and is static.

    A Reshape to sizes of which some are dynamic copies those from its input (0), or infers one from
    the others (-1), so that its target is a constant too.
    """
    known: dict[ir.Value, Sizes] = {}
    for node in list(graph):
        if node.domain != "" or len(node.outputs) != 1:
            continue
        if node.op_type == "Reshape":
            _fix_target(graph, node, known)
        sizes, output = _selected(node, known), node.outputs[0]
        if sizes is None:
            continue
        if _is_static(sizes) and not output.is_graph_output():
            folded = constant(graph, f"{output.name}/size", sizes, np.dtype(np.int64))
            output.replace_all_uses_with(folded)
            graph.remove(node, safe=True)
        else:
            known[output] = sizes


def _name(size: int | ir.SymbolicDim) -> str | None:
    return None if isinstance(size, int) else size.value


def _selected(node: ir.Node, known: dict[ir.Value, Sizes]) -> Sizes | None:
    """Return the sizes that a node passes on, ``None`` where it does something else."""
    if node.op_type == "Shape":
        return _shape(node)
    if not any(value in known for value in node.inputs):
        return None
    if node.op_type == "Concat":
        parts = [_operand(value, known) for value in node.inputs]
        whole = [part for part in parts if part is not None and part.ndim == 1]
        return np.concatenate(whole) if len(whole) == len(parts) else None
    first = node.inputs[0]
    sizes = None if first is None else known.get(first)
    if sizes is None:
        return None
    match node.op_type:
        case "Identity":
            return sizes
        case "Cast" if attribute(node, "to") == ir.DataType.INT64:
            return sizes
        case "Squeeze" if sizes.size == 1:
            return sizes.reshape([])
        case "Unsqueeze" if sizes.ndim == 0:
            return sizes.reshape([1])
        case "Gather" if sizes.ndim == 1:
            places = constant_array(node.inputs[1])
            if places is None or places.ndim > 1:
                return None
            inside = (places >= -sizes.size) & (places < sizes.size)
            return np.asarray(sizes[places], object) if inside.all() else None
        case "Slice":
            return _sliced(node, sizes)
    return None


def _shape(node: ir.Node) -> Sizes | None:
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    sizes = [
        size if isinstance(size, int) else _Dynamic(axis, _name(size))
        for axis, size in enumerate(x.shape)
    ]
    return np.array(sizes, object)[attribute(node, "start", 0) : attribute(node, "end")]


def _operand(value: ir.Value | None, known: dict[ir.Value, Sizes]) -> Sizes | None:
    return None if value is None else known.get(value, constant_array(value))


def _sliced(node: ir.Node, sizes: Sizes) -> Sizes | None:
    starts, ends, steps = (constant_ints(node, index) for index in (1, 2, 4))
    if sizes.ndim == 0 or not starts or not ends or (steps is None and len(node.inputs) > 4):
        return None
    step = steps[0] if steps else 1
    return np.asarray(sizes[starts[0] : ends[0] : step]) if step else None


def _fix_target(graph: ir.Graph, node: ir.Node, known: dict[ir.Value, Sizes]) -> None:
    """Make the target of a Reshape a constant, where its input says the dynamic sizes."""
    x, target = node.inputs
    sizes = None if target is None else known.get(target)
    if x is None or target is None or sizes is None or attribute(node, "allowzero", 0):
        return
    own = {axis: _Dynamic(axis, _name(size)) for axis, size in enumerate(x.shape or ())}
    fixed = [
        0 if size == own.get(axis) and size.name is not None else size
        for axis, size in enumerate(sizes)
    ]
    left = [axis for axis, size in enumerate(fixed) if isinstance(size, _Dynamic)]
    if len(left) == 1 and -1 not in fixed:
        fixed[left[0]] = -1
    elif left:
        return
    name = f"{node.outputs[0].name}/target"
    node.replace_input_with(1, constant(graph, name, np.array(fixed), np.dtype(np.int64)))


def _is_static(sizes: Sizes) -> bool:
    return not any(isinstance(size, _Dynamic) for size in sizes.reshape(-1))
