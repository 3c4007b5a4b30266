"""Methods that are a rewritten graph: rewritten once for each set of options, then run."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxplain.graph_rewrites import (
    FailedPrecondition,
    Method,
    OnnxplainError,
    canonise,
    feature_layer,
    provenance_of,
    rewrite_canonical,
)

from .control import Control
from .explanation import Notice
from .run import Result
from .session import Session

__all__ = ["WhiteBox"]

Array = npt.NDArray[Any]

_CACHED_SESSIONS = 8
_ROWS = 8


@dataclass(frozen=True)
class _Rewritten:
    session: Session
    image: str
    target: str
    maps: dict[str, str]
    layer: str | None
    notices: list[Notice]


class WhiteBox:
    """The canonical graph of one model, and its rewritten forms.

    Parameters
    ----------
    original
        The model as `read_model` returns it.
    provider, threads
        See `Session`.
    fixed_batch
        The batch size the file is fixed to, if it is.
    """

    def __init__(
        self, original: onnx.ModelProto, provider: str, threads: int, fixed_batch: int | None
    ) -> None:
        self._original = original
        self._provider, self._threads = provider, threads
        self._fixed_batch = fixed_batch
        self._lock = threading.RLock()
        self._rewritten: OrderedDict[tuple[Any, ...], _Rewritten] = OrderedDict()

    @property
    def batch_size(self) -> int:
        """Rows of one pass."""
        return self._fixed_batch or _ROWS

    @functools.cached_property
    def feature_layer(self) -> str | None:
        """The tensor that CAM methods take as feature map; ``None`` when there is none."""
        try:
            return feature_layer(self._canonical)
        except OnnxplainError:
            return None

    def obstacle(self, method: Method) -> str:
        """Say why the method does not apply to this model; empty when it does."""
        try:
            with self._lock:
                rewrite_canonical(self._canonical, method, method.defaults)
        except FailedPrecondition as error:
            return error.message
        return ""

    def prepare(
        self, method: Method, options: Mapping[str, Any]
    ) -> tuple[str | None, list[Notice]]:
        """Rewrite the model if that is not done yet; return its feature layer and its notices.

        Raises
        ------
        FailedPrecondition
            The method does not apply to the model; the violations name the nodes.
        """
        rewritten = self._get(method, options)
        return rewritten.layer, rewritten.notices

    def run(
        self,
        method: Method,
        options: Mapping[str, Any],
        x: Array,
        targets: Sequence[int],
        control: Control,
    ) -> list[Result]:
        """Explain one input ``[1, ...]`` for every target, in order."""
        rewritten = self._get(method, options)
        feeds = {
            rewritten.image: np.repeat(x, len(targets), axis=0),
            rewritten.target: np.asarray(targets, np.int64),
        }
        arrays = rewritten.session.run_rows(
            feeds,
            list(rewritten.maps.values()),
            control,
            batch_size=self.batch_size,
            fixed=self._fixed_batch is not None,
        )
        by_map = dict(zip(rewritten.maps, arrays, strict=True))
        return [
            _result({name: array[row] for name, array in by_map.items()})
            for row in range(len(targets))
        ]

    @functools.cached_property
    def _canonical(self) -> onnx.ModelProto:
        return canonise(self._original)

    def _get(self, method: Method, options: Mapping[str, Any]) -> _Rewritten:
        key = (method.name, *sorted(options.items()))
        with self._lock:
            if key not in self._rewritten:
                self._rewritten[key] = self._rewrite(method, options)
                if len(self._rewritten) > _CACHED_SESSIONS:
                    self._rewritten.popitem(last=False)
            self._rewritten.move_to_end(key)
            return self._rewritten[key]

    def _rewrite(self, method: Method, options: Mapping[str, Any]) -> _Rewritten:
        model = rewrite_canonical(self._canonical, method, options)
        note = provenance_of(model)
        assert note is not None
        return _Rewritten(
            Session(model.SerializeToString(), self._provider, self._threads),
            image=note["image"],
            target=note["target"],
            maps=note["added"],
            layer=note["layer"],
            notices=[Notice(*notice) for notice in note["warnings"]],
        )


def _result(maps: dict[str, Array]) -> Result:
    """Return the maps as float32, and what is no map but a number as a measure."""
    arrays: dict[str, Any] = {
        name: array.astype(np.float32) for name, array in maps.items() if array.ndim
    }
    numbers = {name: float(array) for name, array in maps.items() if not array.ndim}
    return Result(**arrays, residual=numbers.pop("residual", None), measures=numbers)
