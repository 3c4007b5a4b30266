"""A model apart from its weights, which are large and copied by whatever takes a model."""

from __future__ import annotations

import math
from typing import Any

import onnx
from onnx import TensorProto

__all__ = ["without_weights"]


def without_weights(
    model: onnx.ModelProto, larger_than: int
) -> tuple[onnx.ModelProto, dict[str, TensorProto]]:
    """Return a copy whose initializers above so many bytes have no data, and these by name.

    The model is not changed; the tensors by name are its own, not copies.
    """
    bare, taken = onnx.ModelProto(), {}
    _copy(model, bare, without="graph")
    _copy(model.graph, bare.graph, without="initializer")
    for tensor in model.graph.initializer:
        if _n_bytes(tensor) <= larger_than:
            bare.graph.initializer.append(tensor)
            continue
        taken[tensor.name] = tensor
        bare.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return bare, taken


def _copy(source: Any, target: Any, *, without: str) -> None:
    for field, value in source.ListFields():
        if field.name == without:
            continue
        place = getattr(target, field.name)
        if hasattr(place, "MergeFrom"):
            place.MergeFrom(value)
        else:
            setattr(target, field.name, value)


def _n_bytes(tensor: TensorProto) -> int:
    """Return the size of raw data, by the shape; 0 where there is none."""
    if not tensor.HasField("raw_data"):
        return 0
    return math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
