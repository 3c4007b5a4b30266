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
        Names of the new inputs by role: ``shown`` and ``hidden``, images ``[1, ...]`` of type
        ``dtype``, and what the form asks for.
    dtype
        What pictures are blended in.
    """

    model: onnx.ModelProto
    inputs: dict[str, str]
    dtype: np.dtype[np.floating]


def prepend_masking(
    model: onnx.ModelProto, interface: Interface, form: MaskForm
) -> MaskedModel | None:
    """Return the model with ``x = v shown + (1 - v) hidden`` in place of its image ``x``.

    The form ``segments`` takes masks ``[N, K]``, and the segment of every pixel as int64, with
    axes of size 1 so that it has the image's rank less one: ``v = masks[:, segments]``. The form
    ``product`` takes ``rows`` ``[N, 1, H, n]``, ``cells`` ``[N, 1, n, m]`` and ``columns``
    ``[N, 1, m, W]``: ``v = rows cells columns``. All are floats of the blend's type. Blends for
    integer images are rounded. ``None`` where the file's opset cannot express it.
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
    n_rows = sizes[0]
    one_image = [1, *sizes[1:]]
    several: dict[str, tuple[int, list[int | str | None]]] = {
        "shown": (exact, one_image),
        "hidden": (exact, one_image),
    }
    if form == "segments":
        several |= {
            "masks": (exact, [n_rows, None]),
            "segments": (TensorProto.INT64, [None, None, None]),
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
        yield node("Gather", [names["masks"], names["segments"]], new("visible"), axis=1)
    else:
        yield node("MatMul", [names["rows"], names["cells"]], new("left"))
        upright = interface.layout == "NCHW"
        product = new("visible" if upright else "product")
        yield node("MatMul", [new("left"), names["columns"]], product)
        if not upright:
            yield node("Transpose", [product], new("visible"), perm=[0, 2, 3, 1])
    yield number(1, new("one"))
    yield node("Sub", [new("one"), new("visible")], new("covered"))
    yield node("Mul", [new("visible"), names["shown"]], new("seen"))
    yield node("Mul", [new("covered"), names["hidden"]], new("filled"))
    floats = (TensorProto.FLOAT, TensorProto.DOUBLE)
    blend = interface.image if elem_type in floats else new("blend")
    yield node("Add", [new("seen"), new("filled")], blend)
    if elem_type in floats:
        return
    if elem_type != TensorProto.FLOAT16:
        yield number(0.5, new("half"))
        yield node("Add", [blend, new("half")], new("raised"))
        yield node("Floor", [new("raised")], new("whole"))
        blend = new("whole")
    yield node("Cast", [blend], interface.image, to=elem_type)
