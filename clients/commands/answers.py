"""Answers of this process and of a server in one form, so that a command cannot tell them apart."""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .environment import Environment, ProgressBar
from .model_arguments import load_model
from .output_files import UsageError

if TYPE_CHECKING:
    from onnxplain.explainers import Control, Explanation

__all__ = ["Answer", "Explain", "local_answers", "remote_answers"]

_T = TypeVar("_T")

_ARRAYS = ("heatmap", "native_heatmap", "attribution", "segments", "coefficients")


class _Made(Protocol):
    """What an `Explanation` and a `Result` have in common."""

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Answer:
    """One explanation: of one input and one target.

    ``summary_png`` draws what a method of several inputs found out about them, for this target.
    """

    made: _Made
    overlay_png: Callable[[], bytes]
    milliseconds: float
    summary_png: Callable[[], bytes] | None = None

    @property
    def arrays(self) -> dict[str, Any]:
        """The arrays it has, by name."""
        found = {name: getattr(self.made, name) for name in _ARRAYS}
        return {name: array for name, array in found.items() if array is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return all but arrays and picture, as JSON values."""
        return self.made.to_dict() | {"milliseconds": round(self.milliseconds, 3)}


Explain = Callable[[Mapping[str, Any], str, Any, Mapping[str, Any]], list[Answer]]
"""Explains inputs: ``image=`` or ``tensor=`` as a mapping, method, target, options.

Of several inputs the answers are image-major, with as many targets for each."""


@contextmanager
def local_answers(arguments: argparse.Namespace, environment: Environment) -> Iterator[Explain]:
    """Load the model here and explain with it."""
    from onnxplain.explainers import Control

    with ProgressBar(environment) as bar:
        bar.stage("load")
        model = load_model(arguments)

    def explain(
        given: Mapping[str, Any], method: str, target: Any, options: Mapping[str, Any]
    ) -> list[Answer]:
        with ProgressBar(environment) as bar:
            control = Control(bar if bar.shown else None)
            call = partial(
                model.explain_all,
                **given,
                method=method,
                target=target,
                time_budget=arguments.time_budget,
                checkpoint=arguments.checkpoint,
                control=control,
                **options,
            )
            start = time.perf_counter()
            found = _interruptible(call, control)
        passed = 1000 * (time.perf_counter() - start)
        return [
            Answer(
                one,
                partial(_png, partial(one.overlay, show=arguments.show)),
                passed,
                None if one.summary is None else partial(_summary_png, found, one),
            )
            for one in found
        ]

    yield explain


@contextmanager
def remote_answers(arguments: argparse.Namespace, environment: Environment) -> Iterator[Explain]:
    """Have the server explain; it knows the model by name."""
    from onnxplain.clients.python import Client

    preprocessing = _preprocessing(arguments.preprocessing)
    wants_all = (arguments.array or "").lower().endswith(".npz")
    arrays = [name for name in _ARRAYS if name != "coefficients"] if wants_all else ["heatmap"]
    with Client(arguments.server, timeout=arguments.timeout) as client:

        def explain(
            given: Mapping[str, Any], method: str, target: Any, options: Mapping[str, Any]
        ) -> list[Answer]:
            start = time.perf_counter()
            with ProgressBar(environment) as bar:
                bar.stage(f"waiting for {arguments.server}")
                found = client.explain(
                    **given,
                    model=arguments.model,
                    method=method,
                    target=target,
                    preprocessing=preprocessing,
                    time_budget=arguments.time_budget,
                    arrays=arrays if arguments.array else (),
                    overlay=bool(arguments.output) and _rendering(arguments.show),
                    **options,
                )
            passed = 1000 * (time.perf_counter() - start)
            results = found if isinstance(found, list) else [found]
            return [
                Answer(
                    one,
                    partial(_drawn, one.overlay_png),
                    passed,
                    None if one.summary is None else partial(_drawn, one.summary_png),
                )
                for one in results
            ]

        yield explain


def _rendering(show: int | None) -> dict[str, int]:
    return {} if show is None else {"show": show}


def _interruptible(call: Callable[[], _T], control: Control) -> _T:
    """Call on another thread, so that Ctrl-C ends even a run inside onnxruntime at once."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        try:
            return future.result()
        except KeyboardInterrupt:
            control.cancel()
            raise


def _png(draw: Callable[[], Any]) -> bytes:
    buffer = io.BytesIO()
    draw().save(buffer, "PNG")
    return buffer.getvalue()


def _summary_png(explanations: Sequence[Explanation], of: Explanation) -> bytes:
    from onnxplain.explainers.set_pictures import summary_picture

    alike = [one for one in explanations if one.summary is of.summary]
    return _png(partial(summary_picture, alike))


def _drawn(png: bytes | None) -> bytes:
    if png is None:
        raise RuntimeError("the server sent no picture")
    return png


def _preprocessing(text: str | None) -> str | dict[str, Any] | None:
    """Return a preset's name, or what the JSON file holds, for the server has not that file."""
    if text is None or not text.lower().endswith(".json"):
        return text
    try:
        found = json.loads(Path(text).read_text("utf-8"))
    except ValueError as error:
        raise UsageError(f"{text} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{text} does not hold a JSON object")
    return found
