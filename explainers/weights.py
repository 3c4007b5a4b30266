"""A model for onnxruntime, its weights handed over as arrays.

A serialised model holds less than 2 GiB, and writing and parsing weights takes longer than all else
that making a session does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

__all__ = ["detach_weights"]

_LARGE = 1 << 10  # bytes; below it, a tensor is as well left where it is
_TYPES = frozenset({
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8,
    TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32, TensorProto.UINT32, TensorProto.INT64,
    TensorProto.UINT64, TensorProto.BOOL,
})  # fmt: skip


def detach_weights(model: onnx.ModelProto) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """Return the model's bytes without its large initializers, and these by name.

    The model is not changed. In the bytes, the tensors that are missing are external data.
    """
    bare, weights = onnx.ModelProto(), {}
    used = {name for node in model.graph.node for name in node.input}
    _copy(model, bare, without="graph")
    _copy(model.graph, bare.graph, without="initializer")
    for tensor in model.graph.initializer:
        array = _array(tensor) if tensor.name in used else None
        if array is None:
            bare.graph.initializer.append(tensor)
            continue
        weights[tensor.name] = array
        place = bare.graph.initializer.add(
            name=tensor.name,
            data_type=tensor.data_type,
            dims=tensor.dims,
            data_location=TensorProto.EXTERNAL,
        )
        place.external_data.add(key="location", value="weights")
    return bare.SerializeToString(), weights


def _copy(source: Any, target: Any, *, without: str) -> None:
    for field, value in source.ListFields():
        if field.name == without:
            continue
        place = getattr(target, field.name)
        if hasattr(place, "MergeFrom"):
            place.MergeFrom(value)
        else:
            setattr(target, field.name, value)


def _array(tensor: TensorProto) -> npt.NDArray[Any] | None:
    """Return a large tensor's array; ``None`` where it is to stay in the file."""
    if tensor.data_type not in _TYPES or not tensor.HasField("raw_data"):
        return None
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    n_bytes = math.prod(tensor.dims) * dtype.itemsize
    if n_bytes <= _LARGE:
        return None
    data = tensor.raw_data
    return np.frombuffer(data, dtype).reshape(tensor.dims) if len(data) == n_bytes else None
