"""The model of a file, its graph as it is, run by onnxruntime in this process."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import numpy.typing as npt
import onnx
from onnxplain.graph_rewrites import expose_scores

from .control import Control
from .predictor import TensorInfo
from .session import Session

__all__ = ["LocalPredictor"]

_INTEGER_OPS = re.compile("^(Dynamic)?QuantizeLinear$|^QLinear|Integer$")

_DATATYPES = {
    "bool": "BOOL", "string": "BYTES", "float16": "FP16", "float": "FP32", "double": "FP64",
    **{f"{sign}int{n}": f"{sign}INT{n}".upper() for sign in ("", "u") for n in (8, 16, 32, 64)},
}  # fmt: skip


class LocalPredictor:
    """A `Predictor` in this process; see there for the attributes.

    Parameters
    ----------
    original
        The model as `read_model` returns it.
    provider, threads
        See `Session`.
    output
        Name of the output that holds the scores; by default the first that can.

    Raises
    ------
    FailedPrecondition
        It is not a classifier of images, or onnxruntime does not accept it.
    """

    max_batch: int | None = None

    def __init__(
        self, original: onnx.ModelProto, provider: str, threads: int, output: str | None = None
    ) -> None:
        exposed, self.interface = expose_scores(original, output)
        own_outputs = {value.name for value in original.graph.output}
        self._session = Session(exposed.SerializeToString(), provider, threads)
        self.inputs = tuple(_tensor_info(value) for value in self._session.inputs)
        self.outputs = tuple(
            _tensor_info(value) for value in self._session.outputs if value.name in own_outputs
        )
        self.quantised = any(_INTEGER_OPS.search(node.op_type) for node in original.graph.node)

    def run(
        self, batches: Iterable[npt.NDArray[Any]], outputs: Sequence[str], control: Control
    ) -> Generator[list[npt.NDArray[Any]], None, None]:
        """Yield the named outputs of every batch."""
        for batch in batches:
            yield self._session.run({self.interface.image: batch}, outputs, control)


def _tensor_info(value: Any) -> TensorInfo:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorInfo(value.name, _DATATYPES.get(kind, kind.upper()), shape)
