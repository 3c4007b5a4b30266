"""The graphs made of one model, each made once: rewritten by a method, or cut in two."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnxplain.graph_rewrites import (
    Access,
    FailedPrecondition,
    Method,
    OnnxplainError,
    Split,
    TargetKind,
    canonise,
    feature_layer,
    get_method,
    provenance_of,
    rewrite_canonical,
    split,
    training_notices,
)
from onnxplain.graph_rewrites.patterns import Folded, folded

from .control import Control
from .explanation import Notice
from .run import Result
from .session import CPU, Session
from .session_cache import SHARED, SessionCache
from .verification import has_few_bits

__all__ = ["Parts", "WhiteBox"]

Array = npt.NDArray[Any]

_ROWS, _ROWS_ON_CPU = 8, 2  # on a CPU, more take longer for each
_GIVEN = ("baseline", "high", "low", "seed")  # options that say what a graph is fed, not what it is


@dataclass(frozen=True)
class _Rewritten:
    session: Session
    image: str
    target: str
    maps: dict[str, str]
    layer: str | None
    given: dict[str, str]
    notices: list[Notice]
    names: dict[str, list[str]]

    @property
    def n_bytes(self) -> int:
        return self.session.n_bytes


@dataclass(frozen=True)
class Parts:
    """A model cut at its feature map, both parts ready to run; see `Split`."""

    trunk: Session
    head: Session
    split: Split

    @property
    def n_bytes(self) -> int:
        """What both take of memory, by estimate."""
        return self.trunk.n_bytes + self.head.n_bytes


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
    output
        Name of the output that holds the scores.
    sessions
        Keeps the sessions of what is made of the model.
    """

    def __init__(
        self,
        original: onnx.ModelProto,
        provider: str,
        threads: int,
        fixed_batch: int | None,
        output: str,
        sessions: SessionCache = SHARED,
    ) -> None:
        self._original = original
        self._provider, self._threads = provider, threads
        self._fixed_batch, self._output = fixed_batch, output
        self._lock = threading.RLock()
        self._sessions, self._owner = sessions, object()
        weakref.finalize(self, sessions.forget, self._owner)

    @property
    def batch_size(self) -> int:
        """Rows of one pass."""
        return self._fixed_batch or (_ROWS_ON_CPU if self._provider == CPU else _ROWS)

    @functools.cached_property
    def feature_layer(self) -> str | None:
        """The tensor that CAM methods take as feature map; ``None`` when there is none."""
        try:
            return feature_layer(self._canonical, self._output)
        except OnnxplainError:
            return None

    @functools.cached_property
    def folded(self) -> dict[str, list[Folded]]:
        """What methods of relevance fold into other nodes, by the pattern's name."""
        try:
            return folded(self._canonical)
        except OnnxplainError:
            return {}

    def obstacle(self, method: Method) -> FailedPrecondition | None:
        """Return why the method does not apply to this model; ``None`` when it does."""
        try:
            with self._lock:
                if method.in_graph:
                    rewrite_canonical(self._canonical, method, method.defaults, output=self._output)
                elif method.access is Access.FEATURES:
                    split(self._canonical, None, self._output)
                elif method.access is Access.GRADIENT:
                    return self.obstacle(get_method("gradient"))
        except FailedPrecondition as error:
            return error
        return None

    @functools.cached_property
    def rounds_otherwise(self) -> bool:
        """Whether the file computes with fewer bits than its canonical form: halves, integers."""
        return has_few_bits(self._original)

    @property
    def notices(self) -> list[Notice]:
        """What is to be known of the canonical form, whatever the method."""
        return [Notice(*notice) for notice in training_notices(self._canonical)]

    def prepare(
        self, method: Method, options: Mapping[str, Any], targets: Array
    ) -> tuple[str | None, list[Notice], frozenset[str]]:
        """Rewrite the model if that is not done yet.

        Returns its feature layer, its notices, and the roles of what it is given beside the image
        and the target: ``low``, ``high``, ``baseline``.

        Raises
        ------
        FailedPrecondition
            The method does not apply to the model; the violations name the nodes.
        """
        rewritten = self._get(method, options, targets)
        return rewritten.layer, rewritten.notices, frozenset(rewritten.given)

    def explain(
        self,
        method: Method,
        options: Mapping[str, Any],
        x: Array,
        targets: Array,
        control: Control,
        given: Mapping[str, Array] | None = None,
        batch_size: int | None = None,
    ) -> list[Result]:
        """Explain one input ``[1, ...]`` for every one of ``targets``, in order; see `maps`."""
        repeated = np.repeat(x, len(targets), axis=0)
        maps = self.maps(method, options, repeated, targets, control, given, batch_size)
        names = self._get(method, options, targets).names
        return [
            _result({name: array[row] for name, array in maps.items()}, names)
            for row in range(len(targets))
        ]

    def maps(
        self,
        method: Method,
        options: Mapping[str, Any],
        x: Array,
        targets: Array,
        control: Control,
        given: Mapping[str, Array] | None = None,
        batch_size: int | None = None,
    ) -> dict[str, Array]:
        """Run a rewritten graph on inputs ``[N, ...]``, one target for each; return its maps.

        Besides them ``scores``: the model's own output that holds them, by the rewritten graph.
        ``targets`` are as `Targets.start` returns them.
        ``given`` are what the graph may need besides, by role: ``low`` and ``high``, the smallest
        and largest value of each channel; ``baseline``.
        """
        rewritten, given = self._get(method, options, targets), given or {}
        if "low" in rewritten.given and "low" not in given:
            raise FailedPrecondition(
                "BOUNDS_UNKNOWN",
                f"{method.name} with these options needs the bounds of the image's values: give "
                "the preprocessing, or choose another composite or input_domain",
            )
        feeds = {rewritten.image: x, rewritten.target: targets}
        shared = {name: given[role] for role, name in rewritten.given.items()}
        names = list(rewritten.maps.values())
        arrays = self.run_rows(rewritten.session, feeds, names, control, batch_size, shared)
        return dict(zip(rewritten.maps, arrays, strict=True))

    def run_rows(
        self,
        session: Session,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        control: Control,
        batch_size: int | None = None,
        shared: Mapping[str, Array] | None = None,
    ) -> list[Array]:
        """Run a session of this model on any number of rows."""
        return session.run_rows(
            feeds,
            outputs,
            control,
            batch_size=self._fixed_batch or batch_size or self.batch_size,
            fixed=self._fixed_batch is not None,
            shared=shared,
        )

    @functools.cached_property
    def _canonical(self) -> onnx.ModelProto:
        return canonise(self._original)

    def parts(self, layer: str | None) -> Parts:
        """Return the model cut at the feature map ``layer``, by default the one found."""
        return cast("Parts", self._cached(("split", layer), lambda: self._split(layer)))

    def _split(self, layer: str | None) -> Parts:
        found = split(self._canonical, layer, self._output)
        trunk, head = (
            Session(model, self._provider, self._threads) for model in (found.trunk, found.head)
        )
        return Parts(trunk, head, found)

    def _get(self, method: Method, options: Mapping[str, Any], targets: Array) -> _Rewritten:
        own = {name: value for name, value in options.items() if name not in _GIVEN}
        kind: TargetKind = "index" if targets.ndim == 1 else "weights"
        key = (method.name, kind, *sorted(own.items()))
        return cast("_Rewritten", self._cached(key, lambda: self._rewrite(method, own, kind)))

    def _cached(self, key: tuple[Any, ...], make: Callable[[], _Rewritten | Parts]) -> Any:
        with self._lock:
            found = self._sessions.find(self._owner, key)
            if found is None:
                found = make()
                self._sessions.keep(self._owner, key, found, found.n_bytes)
            return found

    def _rewrite(
        self, method: Method, options: Mapping[str, Any], target_kind: TargetKind
    ) -> _Rewritten:
        model = rewrite_canonical(
            self._canonical, method, options, target_kind=target_kind, output=self._output
        )
        note = provenance_of(model)
        assert note is not None
        return _Rewritten(
            Session(model, self._provider, self._threads),
            image=note["image"],
            target=note["target"],
            maps=note["added"] | {"scores": note["score_output"]},
            layer=note["layer"],
            given=note["given"],
            notices=[Notice(*notice) for notice in note["warnings"]],
            names=note["names"],
        )


def _result(maps: dict[str, Array], names: Mapping[str, list[str]]) -> Result:
    """Return the maps as float32, named numbers by name, other numbers as measures."""
    found: dict[str, Any] = {
        key: dict(zip(known, map(float, maps[key]), strict=True)) for key, known in names.items()
    }
    found |= {
        name: array.astype(np.float32)
        for name, array in maps.items()
        if array.ndim and name not in names
    }
    numbers = {name: float(array) for name, array in maps.items() if not array.ndim}
    return Result(**found, residual=numbers.pop("residual", None), measures=numbers)
