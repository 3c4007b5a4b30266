"""The model as a black box: its own graph, run forward, from inputs to class scores."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnxplain.graph_rewrites import (
    FailedPrecondition,
    InvalidArgument,
    Violation,
    expose_scores,
)
from scipy.special import expit, softmax

from .control import Control
from .session import Session

__all__ = ["Classifier", "ScoreKind", "Scores", "TensorInfo"]

ScoreKind = Literal["logit", "probability"]
Array = npt.NDArray[Any]

_INTEGER_OPS = re.compile("^(Dynamic)?QuantizeLinear$|^QLinear|Integer$")

_DATATYPES = {
    "bool": "BOOL", "string": "BYTES", "float16": "FP16", "float": "FP32", "double": "FP64",
    **{f"{sign}int{n}": f"{sign}INT{n}".upper() for sign in ("", "u") for n in (8, 16, 32, 64)},
}  # fmt: skip
_DTYPES: dict[str, type[np.generic]] = {
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "UINT8": np.uint8,
    "INT8": np.int8,
}


@dataclass(frozen=True)
class TensorInfo:
    """An input or output: ``datatype`` as the Open Inference Protocol names it, -1 for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Scores:
    """Scores of a batch, each float64 ``[N, n_classes]``; logits are ``None`` when unknown."""

    logits: npt.NDArray[np.float64] | None
    probabilities: npt.NDArray[np.float64]

    def of_kind(self, kind: ScoreKind) -> npt.NDArray[np.float64]:
        """Return the logits or the probabilities.

        Raises
        ------
        FailedPrecondition
            ``LOGITS_UNKNOWN``.
        """
        if kind == "probability":
            return self.probabilities
        if self.logits is None:
            raise FailedPrecondition(
                "LOGITS_UNKNOWN",
                "the value before the model's final activation cannot be read from its graph; "
                "use the option score=probability",
            )
        return self.logits


class Classifier:
    """A classifier run forward, its graph as in the file.

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
        datatype = next(info.datatype for info in self.inputs if info.name == self.interface.image)
        if datatype not in _DTYPES:
            raise FailedPrecondition(
                "NO_IMAGE_INPUT", f"the model's image has the type {datatype}; {_known_types()}"
            )
        self.dtype = np.dtype(_DTYPES[datatype])
        self.quantised = any(_INTEGER_OPS.search(node.op_type) for node in original.graph.node)

    @property
    def channel_axis(self) -> int:
        """The image's channel axis."""
        return 1 if self.interface.layout == "NCHW" else 3

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the file is fixed to, if it is."""
        return self.interface.shape[0]

    def scores(self, x: Array, control: Control, batch_size: int | None = None) -> Scores:
        """Run the model on ``x`` ``[N, ...]``, at most ``batch_size`` rows at a time.

        Raises
        ------
        FailedPrecondition
            ``MODEL_OUTPUT_NOT_FINITE``: a score is NaN or infinite.
        """
        interface = self.interface
        names = [interface.scores] if interface.logits is None else [interface.logits]
        if interface.activation != "none" and interface.scores not in names:
            names.append(interface.scores)
        arrays = self._session.run_rows(
            {interface.image: x},
            names,
            control,
            batch_size=self.fixed_batch or batch_size or len(x),
            fixed=self.fixed_batch is not None,
        )
        found = dict(zip(names, (self._flat(array) for array in arrays), strict=True))
        scores = found.get(interface.scores)
        logits = None if interface.logits is None else found[interface.logits]
        if scores is None or interface.activation == "none":
            assert logits is not None
            probabilities = expit(logits) if interface.n_classes == 1 else softmax(logits, axis=1)
        else:
            probabilities = np.exp(scores) if interface.activation == "log_softmax" else scores
        if not all(np.isfinite(array).all() for array in found.values()):
            raise FailedPrecondition(
                "MODEL_OUTPUT_NOT_FINITE",
                "the model's score for this input is NaN or infinite, so nothing explains it; "
                "check the preprocessing, or whether float16 overflows",
            )
        return Scores(logits, probabilities)

    def as_input(self, tensor: Any) -> Array:
        """Return ``tensor`` as the model's input ``[N, ...]``; the batch axis may be missing.

        Raises
        ------
        InvalidArgument
            ``TENSOR_INVALID`` with what was expected and what was given.
        """
        x = np.asarray(tensor)
        integers = np.issubdtype(self.dtype, np.integer)
        if x.dtype.kind not in ("iu" if integers else "iuf"):
            raise _invalid(
                "tensor.datatype", f"the model's input has the type {self.dtype}, not {x.dtype}"
            )
        if x.ndim == 3:
            x = x[None]
        expected = self.interface.shape
        if x.ndim != 4 or any(
            size not in (None, given)
            for size, given in zip(expected[1:], x.shape[1:], strict=False)
        ):
            shown = ", ".join("any" if size is None else str(size) for size in expected[1:])
            raise _invalid(
                "tensor.shape",
                f"the model's input is {self.interface.layout} [N, {shown}], with or without N, "
                f"not {list(np.shape(tensor))}",
            )
        if 0 in x.shape:
            raise _invalid("tensor.shape", f"the tensor {list(np.shape(tensor))} is empty")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise _invalid("tensor.data", "the tensor holds NaN or infinity; give finite numbers")
        with np.errstate(over="ignore"):
            converted = x.astype(self.dtype)
        if integers and not np.array_equal(converted, x):
            raise _invalid("tensor.data", f"the tensor holds values outside {self.dtype}")
        if not integers and not np.isfinite(converted).all():
            raise _invalid("tensor.data", f"the tensor holds values too large for {self.dtype}")
        return converted

    def _flat(self, array: Array) -> npt.NDArray[np.float64]:
        return array.reshape(len(array), self.interface.n_classes).astype(np.float64)


def _invalid(subject: str, message: str) -> InvalidArgument:
    return InvalidArgument("TENSOR_INVALID", message, violations=[Violation(subject, message)])


def _known_types() -> str:
    return f"images of the types {', '.join(_DTYPES)} are supported"


def _tensor_info(value: Any) -> TensorInfo:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorInfo(value.name, _DATATYPES.get(kind, kind.upper()), shape)
