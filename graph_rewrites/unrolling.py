"""Loop and Scan of few, constant steps, written out one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from .builder import attribute, dims
from .patterns.surgery import constant

__all__ = ["unroll"]

_MOST_STEPS = 64
_MOST_NODES = 1 << 14  # of a graph with all steps written out


def unroll(model: ir.Model) -> bool:
    """Write out every Loop and Scan whose number of steps is constant and small; say if any."""
    found = False
    for node in list(model.graph):
        if node.domain != "" or node.op_type not in _READ:
            continue
        passes.LiftSubgraphInitializersToMainGraphPass()(model)
        steps = _READ[node.op_type](model.graph, node)
        if steps is not None and _is_short(model.graph, steps):
            _write_out(model.graph, steps)
            found = True
    if found:
        passes.NameFixPass()(model)
    return found


@dataclass(frozen=True)
class _Steps:
    """What a Loop or a Scan does.

    Attributes
    ----------
    node, body, count
        The operator, what it repeats, and how often.
    states
        What the first step starts from; a step returns those of the next.
    feed
        From the number of a step and its states, the inputs of the body.
    results
        The body's outputs: states, then what is stacked over all steps.
    axes, backwards
        How each of these is stacked.
    """

    node: ir.Node
    body: ir.Graph
    count: int
    states: list[ir.Value]
    feed: Callable[[int, list[ir.Value]], list[ir.Value]]
    results: slice
    axes: list[int]
    backwards: list[int]


def _read_loop(graph: ir.Graph, node: ir.Node) -> _Steps | None:
    """Return the steps of ``Loop(count, condition, *states)`` that no condition ends."""
    body: ir.Graph = attribute(node, "body")
    count, condition = _scalar(node.inputs[0]), node.inputs[1]
    last = _origin(body.outputs[0])
    goes_on = condition is None or _scalar(condition)
    if count is None or not goes_on or not (last is body.inputs[1] or _scalar(last)):
        return None
    true = constant(graph, f"{node.name}/condition", np.array(True), np.dtype(np.bool_))

    def feed(step: int, states: list[ir.Value]) -> list[ir.Value]:
        number = constant(graph, f"{node.name}/step_{step}", np.array(step), np.dtype(np.int64))
        return [number, true, *states]

    states = [value for value in node.inputs[2:] if value is not None]
    flat = [0] * (len(node.outputs) - len(states))
    return _Steps(node, body, int(count), states, feed, slice(1, None), flat, flat)


def _read_scan(graph: ir.Graph, node: ir.Node) -> _Steps | None:
    """Return the steps of ``Scan(*states, *sequences)``; each takes the next slices of these."""
    n_sequences = attribute(node, "num_scan_inputs")
    values = [value for value in node.inputs if value is not None]
    n_states = len(values) - n_sequences
    states, sequences = values[:n_states], values[n_states:]
    axes = attribute(node, "scan_input_axes", [0] * n_sequences)
    backwards = attribute(node, "scan_input_directions", [0] * n_sequences)
    sizes = {
        dims(value)[axis] if value.shape is not None else None
        for value, axis in zip(sequences, axes, strict=True)
    }
    count = sizes.pop()
    if count is None or sizes:
        return None

    def feed(step: int, states: list[ir.Value]) -> list[ir.Value]:
        slices = []
        for value, axis, backward in zip(sequences, axes, backwards, strict=True):
            place = np.array(count - 1 - step if backward else step)
            index = constant(graph, f"{node.name}/step_{step}", place, np.dtype(np.int64))
            slices.append(_added(graph, node, "Gather", [value, index], axis=axis))
        return [*states, *slices]

    flat = [0] * (len(node.outputs) - n_states)
    return _Steps(
        node, attribute(node, "body"), count, states, feed, slice(0, None),
        attribute(node, "scan_output_axes", flat), attribute(node, "scan_output_directions", flat),
    )  # fmt: skip


_READ = {"Loop": _read_loop, "Scan": _read_scan}


def _is_short(graph: ir.Graph, steps: _Steps) -> bool:
    values = (*steps.body.inputs, *steps.body.outputs)
    return (
        (0 if steps.axes else -1) < steps.count <= _MOST_STEPS
        and len(graph) + steps.count * len(steps.body) <= _MOST_NODES
        and not any(isinstance(value.type, ir.SequenceType) for value in values)
    )


def _write_out(graph: ir.Graph, steps: _Steps) -> None:
    node, states = steps.node, steps.states
    stacked: list[list[ir.Value]] = [[] for _ in steps.axes]
    for step in range(steps.count):
        copy = steps.body.clone(allow_outer_scope_values=True)
        given = dict(zip(copy.inputs, steps.feed(step, states), strict=True))
        found = [given.get(value, value) for value in copy.outputs][steps.results]
        copy.outputs.clear()
        for value, stand_in in given.items():
            value.replace_all_uses_with(stand_in)
        for inner in list(copy):
            copy.remove(inner)
            inner.name = f"{node.name}/{inner.name}/{step}"
            for output in inner.outputs:
                output.name = f"{node.name}/{output.name}/{step}"
                output.shape = None  # a body's may differ from step to step
            graph.insert_before(node, inner)
        states = found[: len(states)]
        for values, value in zip(stacked, found[len(states) :], strict=True):
            values.append(value)
    for values, axis, backward in zip(stacked, steps.axes, steps.backwards, strict=True):
        place = constant(graph, f"{node.name}/axis", np.array([axis]), np.dtype(np.int64))
        slices = [_added(graph, node, "Unsqueeze", [value, place]) for value in values]
        whole = slices[::-1] if backward else slices
        states = [*states, _added(graph, node, "Concat", whole, axis=axis)]
    for output, value in zip(node.outputs, states, strict=True):
        final, name = _added(graph, node, "Identity", [value]), output.name
        output.replace_all_uses_with(final, replace_graph_outputs=True)
        output.name, final.name = f"{name}/of_steps", name
        final.type, final.shape = output.type, output.shape
    graph.remove(node, safe=True)


def _added(
    graph: ir.Graph, before: ir.Node, op_type: str, inputs: Sequence[ir.Value], **attributes: Any
) -> ir.Value:
    """Return the output of a new node."""
    node = ir.node(op_type, inputs, attributes)
    graph.insert_before(before, node)
    return node.outputs[0]


def _origin(value: ir.Value) -> ir.Value:
    """Return what a value is a copy of."""
    node = value.producer()
    while node is not None and node.op_type == "Identity" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def _scalar(value: ir.Value | None) -> int | None:
    """Return a constant of one number, else ``None``."""
    tensor = (
        None if value is None or value.is_graph_input() else ir.convenience.get_const_tensor(value)
    )
    return None if tensor is None or tensor.size != 1 else int(tensor.numpy().item())
