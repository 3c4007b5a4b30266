"""A model for onnxruntime, its weights handed over as arrays.

A serialised model holds less than 2 GiB, and writing and parsing weights takes longer than all else
that making a session does.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto
from onnxplain.graph_rewrites import without_weights

__all__ = ["detach_weights"]

_LARGE = 1 << 10  # bytes; below it, a tensor is as well left where it is


def detach_weights(model: onnx.ModelProto) -> tuple[bytes, dict[str, ort.OrtValue]]:
    """Return the model's bytes without its large initializers, and these by name.

    The model is not changed. In the bytes, the tensors that are missing are external data.
    """
    used = {name for node in model.graph.node for name in node.input}
    bare, taken = without_weights(model, _LARGE)
    weights = {}
    for place in bare.graph.initializer:
        tensor = taken.get(place.name)
        if tensor is None:
            continue
        array = _array(tensor)
        if array is None or tensor.name not in used:  # onnxruntime drops those unused by itself
            place.CopyFrom(tensor)
            continue
        place.data_location = TensorProto.EXTERNAL
        place.external_data.add(key="location", value="weights")
        weights[tensor.name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            array, tensor.data_type
        )
    return bare.SerializeToString(), weights


def _array(tensor: TensorProto) -> np.ndarray | None:
    """Return the tensor's array; ``None`` where its data does not fill its shape."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    try:
        return np.frombuffer(tensor.raw_data, dtype).reshape(tensor.dims)
    except ValueError:
        return None
