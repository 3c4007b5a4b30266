"""The costs of one model's explanations, measured against its plain forward pass."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from lime.lime_image import LimeImageExplainer
from onnx.utils import Extractor
from onnxplain.explainers import Model, load
from onnxplain.graph_rewrites import OnnxplainError, rewrite
from skimage import data

from .timing import Ratio, Work, compare

__all__ = ["BARS", "Cost", "Effort", "Subject", "costs"]

#: What a method may cost, in forward passes of EfficientNet-Lite0 on CPU; LIME also in what the
#: reference library takes.
BARS = {
    "gradient": 2.5,
    "saliency": 2.5,
    "grad_cam": 1.15,
    "lrp": 4.5,
    "lime": 1.08,
    "rise": 1.08,
    "lime package": 0.87,
}

_METHODS = ("gradient", "saliency", "grad_cam", "guided_backprop", "lrp")
_FREE_SIDE = 224  # of a model that takes any height and width

Feed = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """A model to measure: its name and its file's path or bytes."""

    name: str
    source: Path | bytes


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    pairs: int
    sampling_pairs: int
    lime_samples: int
    rise_samples: int


@dataclass(frozen=True)
class Cost:
    """A measured ratio, or why there is none."""

    model: str
    work: str
    base: str
    ratio: Ratio | None
    bar: float | None = None
    refusal: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def costs(subject: Subject, effort: Effort, *, threads: int) -> Iterator[Cost]:
    """Measure the rewritten graphs in plain onnxruntime, then LIME and RISE whole."""
    model = load(subject.source, provider="cpu", threads=threads, name=subject.name)
    plain = _session(subject.source, threads)
    feed = _feed(model, 1)
    forward = _run(plain, feed)
    rewritten = {}
    for method in _METHODS:
        try:
            rewritten[method] = rewrite(subject.source, method)
        except OnnxplainError as error:
            yield Cost(subject.name, method, "forward", None, refusal=str(error))
    for method, graph in list(rewritten.items())[:1]:
        part = Extractor(graph).extract_model(list(feed), [one.name for one in model.outputs])
        run = _run(_session(part.SerializeToString(), threads), feed)
        work = f"forward part of the {method} graph"
        yield Cost(subject.name, work, "forward", compare(run, forward, pairs=effort.pairs))
    for method, graph in rewritten.items():
        session = _session(graph.SerializeToString(), threads)
        (target,) = {one.name for one in session.get_inputs()} - set(feed)
        run = _run(session, feed | {target: np.zeros(1, np.int64)})
        measured = compare(run, forward, pairs=effort.pairs)
        yield Cost(subject.name, method, "forward", measured, BARS.get(method))
    for method, n_samples, options in (
        ("lime", effort.lime_samples, {"segmenter": "grid"}),
        ("rise", effort.rise_samples, {}),
    ):
        yield _sampling_cost(
            subject.name, model, plain, method, n_samples, options, effort.sampling_pairs
        )
    yield _reference_cost(subject.name, model, plain, effort.lime_samples, effort.sampling_pairs)


def _sampling_cost(
    name: str,
    model: Model,
    plain: ort.InferenceSession,
    method: str,
    n_samples: int,
    options: Mapping[str, Any],
    pairs: int,
) -> Cost:
    """Compare a method of samples, from the picture to the map, with the passes it needs.

    The base runs them at the batch size measured for the model, by plain onnxruntime and on ready
    arrays. Segments are a grid, so that none of the time is segmentation.
    """
    chelsea: Callable[[], npt.NDArray[np.uint8]] = data.chelsea
    work = f"{method}, {n_samples} samples"
    given: Mapping[str, Any] = (
        {"image": chelsea()}
        if model.preprocessing
        else {"tensor": next(iter(_feed(model, 1).values()))}
    )
    try:
        (first,) = model.explain_all(**given, method=method, n_samples=2, **options)
    except OnnxplainError as error:
        return Cost(name, work, f"{n_samples} forwards", None, refusal=str(error))
    batch_size = first.provenance.batch_size
    run = _run(plain, _feed(model, batch_size))
    run()

    def forwards() -> None:
        for _ in range(math.ceil(n_samples / batch_size)):
            run()

    def explain() -> None:
        model.explain_all(
            **given, method=method, n_samples=n_samples, batch_size=batch_size, **options
        )

    base = f"{n_samples} forwards by {batch_size}"
    measured = compare(explain, forwards, pairs=pairs, warm=False)
    return Cost(name, work, base, measured, BARS[method])


def _reference_cost(
    name: str, model: Model, plain: ort.InferenceSession, n_samples: int, pairs: int
) -> Cost:
    """Compare LIME with the reference library on the same picture, segments and session."""
    work, base = f"lime, {n_samples} samples", "the lime package"
    known = model.preprocessing
    if known is None:
        return Cost(name, work, base, None, refusal="no preprocessing is known for a photo")
    chelsea: Callable[[], npt.NDArray[np.uint8]] = data.chelsea
    options = {"method": "lime", "segmenter": "grid", "n_samples": n_samples}
    (first,) = model.explain_all(chelsea(), **options | {"n_samples": 2})
    (feed,) = _feed(model, 1)
    explainer = LimeImageExplainer(feature_selection="none")

    def reference() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            explainer.explain_instance(
                first.picture,
                lambda pictures: plain.run(None, {feed: known.normalise(pictures)})[0],
                labels=(first.target,),
                top_labels=None,
                num_samples=n_samples,
                batch_size=first.provenance.batch_size,
                segmentation_fn=lambda _: first.segments,
            )

    measured = compare(
        lambda: model.explain_all(chelsea(), **options), reference, pairs=pairs, warm=False
    )
    return Cost(name, work, base, measured, BARS["lime package"])


def _run(session: ort.InferenceSession, feed: Feed) -> Work:
    return lambda: session.run(None, feed)


def _session(source: Path | bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _feed(model: Model, batch_size: int) -> Feed:
    """Return random input; a free axis beside the batch is as long as photos usually are."""
    (value,) = model.inputs
    sides = [side if side > 0 else _FREE_SIDE for side in value.shape[1:]]
    batch = value.shape[0] if value.shape[0] > 0 else batch_size
    random = np.random.default_rng(0)
    return {value.name: random.standard_normal((batch, *sides), np.float32)}
