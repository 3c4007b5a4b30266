"""The model of a file, its graph as it is, run by onnxruntime in this process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxplain.graph_rewrites import MaskForm, expose_scores, prepend_masking

from .control import Control
from .predictor import TensorInfo
from .session import Session
from .session_cache import SHARED, SessionCache
from .verification import INTEGER_OPS

__all__ = ["LocalPredictor"]

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
    sessions
        Keeps the sessions of the model with masks.

    Raises
    ------
    FailedPrecondition
        It is not a classifier of images, or onnxruntime does not accept it.
    """

    max_batch: int | None = None

    def __init__(
        self,
        original: onnx.ModelProto,
        provider: str,
        threads: int,
        output: str | None = None,
        sessions: SessionCache = SHARED,
    ) -> None:
        self._original, self._output = original, output
        self._provider, self._threads = provider, threads
        self._impossible: set[MaskForm] = set()
        self._lock = threading.Lock()
        self._sessions, self._owner = sessions, object()
        weakref.finalize(self, sessions.forget, self._owner)
        exposed, self.interface = expose_scores(original, output)
        own_outputs = {value.name for value in original.graph.output}
        self._session = Session(exposed, provider, threads)
        self.inputs = tuple(_tensor_info(value) for value in self._session.inputs)
        self.outputs = tuple(
            _tensor_info(value) for value in self._session.outputs if value.name in own_outputs
        )
        self.quantised = any(INTEGER_OPS.search(node.op_type) for node in original.graph.node)

    def run(
        self, batches: Iterable[npt.NDArray[Any]], outputs: Sequence[str], control: Control
    ) -> Generator[list[npt.NDArray[Any]], None, None]:
        """Yield the named outputs of every batch."""
        for batch in batches:
            yield self._session.run({self.interface.image: batch}, outputs, control)

    def can_mask(self, form: MaskForm) -> bool:
        """Return whether the file's operators can make pictures of such masks."""
        return self._with_masks(form) is not None

    def run_masked(
        self,
        form: MaskForm,
        shared: Mapping[str, npt.NDArray[Any]],
        batches: Iterable[Mapping[str, npt.NDArray[Any]]],
        outputs: Sequence[str],
        control: Control,
    ) -> Generator[list[npt.NDArray[Any]], None, None]:
        """Yield the named outputs of every batch of masks."""
        masked = self._with_masks(form)
        assert masked is not None
        whole = masked.feeds(shared)
        for batch in batches:
            yield masked.session.run(whole | masked.feeds(batch), outputs, control)

    def _with_masks(self, form: MaskForm) -> _Masked | None:
        with self._lock:
            kept: _Masked | None = self._sessions.find(self._owner, form)
            if kept is not None or form in self._impossible:
                return kept
            exposed, interface = expose_scores(self._original, self._output)
            found = prepend_masking(exposed, interface, form)
            if found is None:
                self._impossible.add(form)
                return None
            session = Session(found.model, self._provider, self._threads)
            made = _Masked(session, found.inputs, found.dtype)
            self._sessions.keep(self._owner, form, made, session.n_bytes)
            return made


@dataclass(frozen=True)
class _Masked:
    session: Session
    inputs: dict[str, str]
    dtype: np.dtype[np.floating]

    def feeds(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return arrays by role as the session takes them."""
        return {
            self.inputs[role]: np.ascontiguousarray(
                array, None if role == "segments" else self.dtype
            )
            for role, array in arrays.items()
        }


def _tensor_info(value: Any) -> TensorInfo:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorInfo(value.name, _DATATYPES.get(kind, kind.upper()), shape)
