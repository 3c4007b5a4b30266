"""The model as a black box: from inputs to class scores, wherever it runs."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import FailedPrecondition, InvalidArgument, Violation
from scipy.special import expit, softmax

from .batching import Company, beside_others, best_batch_size
from .control import Control
from .perturbation import Masking, composite
from .predictor import DTYPES, MaskingPredictor, Predictor

__all__ = ["Classifier", "ScoreKind", "Scores"]

ScoreKind = Literal["logit", "probability"]
Array = npt.NDArray[Any]
Extension = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

_BYTES_OF_ACTIVATIONS = 256 * 2**20
_MAX_BATCH = 64


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
    """A classifier run forward.

    Parameters
    ----------
    predictor
        Runs it.

    Raises
    ------
    FailedPrecondition
        ``NO_IMAGE_INPUT``: its input's type is not one of images.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.interface, self.quantised = predictor.interface, predictor.quantised
        (datatype,) = {
            info.datatype for info in predictor.inputs if info.name == self.interface.image
        }
        if datatype not in DTYPES:
            raise FailedPrecondition(
                "NO_IMAGE_INPUT",
                f"the model's image has the type {datatype}; images of the types "
                f"{', '.join(DTYPES)} are supported",
            )
        self.dtype = np.dtype(DTYPES[datatype])
        self._batch_sizes: dict[tuple[int, ...], int] = {}
        self._measuring = threading.Lock()
        self._extend: Extension = np.asarray
        self._company: Company | None = None

    def extended(self, extend: Extension) -> Classifier:
        """Return this classifier with further scores: ``extend`` adds columns to its own."""
        other = copy.copy(self)
        other._extend = extend
        return other

    @property
    def channel_axis(self) -> int:
        """The image's channel axis."""
        return 1 if self.interface.layout == "NCHW" else 3

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the model is fixed to, if it is."""
        return self.interface.shape[0]

    def batch_size(self, x: Array, control: Control, wanted: int | None = None) -> int:
        """Return how many rows like ``x`` ``[1, ...]`` are best run at once.

        That is what the model is fixed to, or ``wanted``, at most what it takes; else what was
        measured the first time that inputs of this size were asked for.
        """
        if self.fixed_batch is not None:
            return self.fixed_batch
        limit = self._predictor.max_batch or np.iinfo(np.int64).max
        if wanted is not None:
            return int(min(wanted, limit))
        with self._measuring:
            if x.shape not in self._batch_sizes:
                # A CNN's widest activations take around 32 times the bytes of its input.
                affordable = max(1, _BYTES_OF_ACTIVATIONS // (32 * 4 * x.size))
                self._batch_sizes[x.shape] = best_batch_size(
                    lambda size: self.scores(np.repeat(x, size, axis=0), control),
                    int(min(affordable, limit, _MAX_BATCH)),
                )
        return self._batch_sizes[x.shape]

    def beside_others(self, x: Array, control: Control) -> Company:
        """Say what becomes of a row's scores when others are run beside it; found out once."""
        if 1 in (self.fixed_batch, self._predictor.max_batch):
            return "same"

        def run(rows: Array) -> list[npt.NDArray[np.float64]]:
            found = self.scores(rows, control)
            known = (found.logits, found.probabilities)
            return [array for array in known if array is not None]

        with self._measuring:
            if self._company is None:
                self._company = beside_others(run, x)
        return self._company

    def scores(self, x: Array, control: Control, batch_size: int | None = None) -> Scores:
        """Run the model on ``x`` ``[N, ...]``, at most ``batch_size`` rows at a time.

        Raises
        ------
        FailedPrecondition
            ``MODEL_OUTPUT_NOT_FINITE``: a score is NaN or infinite.
        """
        size = self.fixed_batch or batch_size or len(x)
        batches = (x[start : start + size] for start in range(0, len(x), size))
        found = list(self.stream(batches, control))
        logits = [part.logits for part in found if part.logits is not None]
        return Scores(
            np.concatenate(logits) if logits else None,
            np.concatenate([part.probabilities for part in found]),
        )

    def stream(self, batches: Iterable[Array], control: Control) -> Generator[Scores, None, None]:
        """Yield the scores of every batch, in order; none is larger than `batch_size` says.

        Batches are taken some ahead where that is of use; see `scores`.
        """
        sizes: deque[int] = deque()
        filled = (self._filled((batch,), sizes)[0] for batch in batches)
        outputs = self._predictor.run(filled, self._names, control)
        return self._stream(outputs, sizes)

    def stream_masked(
        self,
        masking: Masking,
        shown: Array,
        hidden: Array,
        batches: Iterable[tuple[Array, ...]],
        control: Control,
    ) -> Generator[Scores, None, None]:
        """Yield the scores of inputs ``[1, ...]`` seen through batches of masks; see `stream`."""
        if not isinstance(self._predictor, MaskingPredictor) or not self._predictor.can_mask(
            masking.form
        ):
            inputs = (
                composite(
                    np.expand_dims(masking.visibility(*masks), self.channel_axis), shown, hidden
                )
                for masks in batches
            )
            return self.stream(inputs, control)
        sizes: deque[int] = deque()
        feeds = (masking.feeds(*self._filled(masks, sizes)) for masks in batches)
        outputs = self._predictor.run_masked(
            masking.form,
            {
                "shown": np.moveaxis(shown, self.channel_axis, 1),
                "hidden": np.moveaxis(hidden, self.channel_axis, 1),
            }
            | masking.shared(),
            feeds,
            self._names,
            control,
        )
        return self._stream(outputs, sizes)

    @property
    def _names(self) -> list[str]:
        """The outputs that the scores are made of."""
        interface = self.interface
        names = [interface.scores] if interface.logits is None else [interface.logits]
        if interface.activation != "none" and interface.scores not in names:
            names.append(interface.scores)
        return names

    def _stream(
        self, outputs: Generator[list[Array], None, None], sizes: deque[int]
    ) -> Generator[Scores, None, None]:
        """Yield the scores of every batch, less the rows that were added to it."""
        with closing(outputs):
            for arrays in outputs:
                size = sizes.popleft()
                found = (self._flat(array)[:size] for array in arrays)
                yield self._scores(dict(zip(self._names, found, strict=True)))

    def _filled(self, batch: tuple[Array, ...], sizes: deque[int]) -> tuple[Array, ...]:
        """Return arrays with the last row repeated up to the batch size the model is fixed to."""
        size = len(batch[0])
        sizes.append(size)
        missing = (self.fixed_batch or size) - size
        if not missing:
            return batch
        return tuple(
            np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1), mode="edge")
            for array in batch
        )

    def _scores(self, found: dict[str, npt.NDArray[np.float64]]) -> Scores:
        interface = self.interface
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
        return Scores(None if logits is None else self._extend(logits), self._extend(probabilities))

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
