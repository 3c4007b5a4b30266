"""Where a classifier runs: in this process or elsewhere, batch after batch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import Interface, MaskForm

from .control import Control

__all__ = ["DTYPES", "MaskingPredictor", "Predictor", "TensorInfo"]

#: What images may be made of: numpy's types of the Open Inference Protocol's.
DTYPES: dict[str, type[np.generic]] = {
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


class Predictor(Protocol):
    """A classifier of images that takes batches of its input and gives its outputs.

    Attributes
    ----------
    inputs, outputs
        The tensors it takes and gives.
    interface
        Which of them are the image and the scores. The image's batch axis is ``None`` where any
        number of rows up to ``max_batch`` may be given, else all batches have that many rows.
    max_batch
        The largest batch it takes; ``None`` where memory alone sets the limit.
    quantised
        Whether it is known to compute with integers.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    interface: Interface
    max_batch: int | None
    quantised: bool

    def run(
        self, batches: Iterable[npt.NDArray[Any]], outputs: Sequence[str], control: Control
    ) -> Generator[list[npt.NDArray[Any]], None, None]:
        """Yield the named outputs of every batch, in order.

        Batches may be taken some ahead of what is yielded; closing the iterator gives up on them.

        Raises
        ------
        FailedPrecondition
            It fails on this input.
        Unavailable
            It cannot be reached now.
        """
        ...


@runtime_checkable
class MaskingPredictor(Predictor, Protocol):
    """A predictor that makes pictures of masks by itself, so that only masks are moved."""

    def can_mask(self, form: MaskForm) -> bool:
        """Return whether it does so for this form of masks."""
        ...

    def run_masked(
        self,
        form: MaskForm,
        shared: Mapping[str, npt.NDArray[Any]],
        batches: Iterable[Mapping[str, npt.NDArray[Any]]],
        outputs: Sequence[str],
        control: Control,
    ) -> Generator[list[npt.NDArray[Any]], None, None]:
        """Yield the named outputs of every batch of masks; the roles are `prepend_masking`'s."""
        ...
