"""Reads PyTorch's old (non-zip) checkpoint format with numpy alone.

Such a file is five pickles (magic number, protocol version, byte order, the state dict, the keys
of its storages) followed by each storage as an int64 element count and its raw elements. The
unpickler knows the five names a state dict of tensors is made of and refuses every other, so
nothing in the file is ever executed.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_state_dict"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class _Unpickler(pickle.Unpickler):
    """Builds tensors as views of storages that are empty until the file's end is read."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): np.dtype("<f4"),
            ("torch", "LongStorage"): np.dtype("<i8"),
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"a state dict of tensors has no use for {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        _, dtype, key, _, n_elements, _ = pid  # ("storage", type, key, device, elements, view)
        return self.storages.setdefault(key, np.empty(n_elements, dtype))


def _tensor(
    storage: NDArray[Any], offset: int, shape: Sequence[int], strides: Sequence[int], *_: object
) -> NDArray[Any]:
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or (0 not in shape and last >= storage.size):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    in_bytes = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, in_bytes)


def read_state_dict(path: str | Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a checkpoint by name.

    Raises
    ------
    pickle.UnpicklingError
        The file is not such a checkpoint, holds anything but tensors, or is cut short.
    """
    with Path(path).open("rb") as file:
        if (_Unpickler(file).load(), _Unpickler(file).load()) != (_MAGIC, _PROTOCOL):
            raise pickle.UnpicklingError("not a PyTorch checkpoint in the old, non-zip format")
        if not _Unpickler(file).load()["little_endian"]:
            raise pickle.UnpicklingError("big-endian checkpoints are not supported")
        unpickler = _Unpickler(file)
        state: OrderedDict[str, NDArray[Any]] = unpickler.load()
        for key in _Unpickler(file).load():
            storage = unpickler.storages[key]
            count = int.from_bytes(file.read(8), "little")
            if count != storage.size or file.readinto(storage.data) != storage.nbytes:
                raise pickle.UnpicklingError(f"storage {key} is cut short")
    return dict(state)
