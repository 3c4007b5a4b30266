"""Masks go in, pictures are made inside: a prologue in front of a model's image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .interface import Interface

__all__ = ["MaskForm", "MaskedModel", "prepend_masking"]

MaskForm = Literal["segments", "product"]

_OLDEST = 7  # before it arithmetic does not broadcast
_NEWEST = 17  # for a model that has no standard operators of its own
_PREFIX = "onnxplain/masking/"


@dataclass(frozen=True)
class MaskedModel:
    """A model that takes masks for its image.

    Attributes
    ----------
    model
        Otherwise as it was, outputs too.
    inputs
        Names of the new inputs by role: ``shown`` and ``hidden``, images ``[1, C, H, W]`` whatever
        the model's layout, and what the form asks for.
    dtype
        Type of all inputs but ``segments``: what pictures are blended in.
    """

    model: onnx.ModelProto
    inputs: dict[str, str]
    dtype: np.dtype[np.floating]


def prepend_masking(
    model: onnx.ModelProto, interface: Interface, form: MaskForm
) -> MaskedModel | None:
    """Return the model with ``x = v shown + (1 - v) hidden`` in place of its image ``x``.

    The form ``segments`` takes masks ``[K, N]``, and the segment of every pixel as int64
    ``[1, H, W]``: ``v = masks[segments]``. The form ``product`` takes ``rows`` ``[N, 1, H, n]``,
    ``cells`` ``[N, 1, n, m]`` and ``columns`` ``[N, 1, m, W]``: ``v = rows cells columns``. Blends
    for integer images are rounded. ``None`` where the file's opset cannot express it.

    Notes
    -----
    Whole rows of masks are looked up, and blends are made plane by plane, because onnxruntime
    copies single numbers slowly and broadcasts along a short last axis slowly.
    """
    masked = onnx.ModelProto()
    masked.CopyFrom(model)
    opset = next((one.version for one in masked.opset_import if one.domain == ""), None)
    if opset is None:
        masked.opset_import.append(helper.make_opsetid("", _NEWEST))
    elif opset < _OLDEST:
        return None
    graph = masked.graph
    place = [value.name for value in graph.input].index(interface.image)
    image = graph.input[place].type.tensor_type
    exact = TensorProto.DOUBLE if image.elem_type == TensorProto.DOUBLE else TensorProto.FLOAT
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(exact))
    sizes: list[int | str | None] = [
        dim.dim_value or dim.dim_param or None for dim in image.shape.dim
    ]
    if interface.layout == "NHWC":
        sizes.insert(1, sizes.pop())
    n_rows, *plane = sizes
    one_image = [1, *plane]
    several: dict[str, tuple[int, list[int | str | None]]] = {
        "shown": (exact, one_image),
        "hidden": (exact, one_image),
    }
    if form == "segments":
        several |= {
            "masks": (exact, [None, n_rows]),
            "segments": (TensorProto.INT64, [1, *plane[1:]]),
        }
    else:
        factor = [n_rows, 1, None, None]
        several |= dict.fromkeys(("rows", "cells", "columns"), (exact, factor))
    names = {role: _PREFIX + role for role in several}
    nodes = list(_prologue(names, form, interface, image.elem_type, dtype))
    nodes += graph.node
    inputs = [
        helper.make_tensor_value_info(names[role], kind, shape)
        for role, (kind, shape) in several.items()
    ]
    others = [value for value in graph.input if value.name != interface.image]
    graph.value_info.append(graph.input[place])
    _replace(graph.node, nodes)
    _replace(graph.input, [*inputs, *others])
    return MaskedModel(masked, names, dtype)


def _replace(field: Any, values: Iterable[Any]) -> None:
    """Put values, of which some may be the field's own, in place of all that it holds."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copies)


def _prologue(
    names: dict[str, str],
    form: MaskForm,
    interface: Interface,
    elem_type: int,
    dtype: np.dtype[np.floating],
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that make the image."""

    def node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op_type, inputs, [output], name=_PREFIX + output, **attributes)

    def number(value: float, output: str) -> onnx.NodeProto:
        return node("Constant", [], output, value=numpy_helper.from_array(np.array(value, dtype)))

    def new(name: str) -> str:
        return _PREFIX + name

    if form == "segments":
        yield node("Gather", [names["masks"], names["segments"]], new("looked_up"), axis=0)
        yield node("Transpose", [new("looked_up")], new("visible"), perm=[3, 0, 1, 2])
    else:
        yield node("MatMul", [names["rows"], names["cells"]], new("left"))
        yield node("MatMul", [new("left"), names["columns"]], new("visible"))
    yield number(1, new("one"))
    yield node("Sub", [new("one"), new("visible")], new("covered"))
    yield node("Mul", [new("visible"), names["shown"]], new("seen"))
    yield node("Mul", [new("covered"), names["hidden"]], new("filled"))
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Add", [new("filled")], {}),
    ]
    if elem_type in (TensorProto.UINT8, TensorProto.INT8):
        yield number(0.5, new("half"))
        steps += [("Add", [new("half")], {}), ("Floor", [], {})]
    if elem_type not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        steps.append(("Cast", [], {"to": elem_type}))
    if interface.layout == "NHWC":
        steps.append(("Transpose", [], {"perm": [0, 2, 3, 1]}))
    value = new("seen")
    for index, (op_type, others, attributes) in enumerate(steps, start=1):
        output = interface.image if index == len(steps) else new(f"blend_{index}")
        yield node(op_type, [value, *others], output, **attributes)
        value = output
