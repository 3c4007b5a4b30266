"""What rewritten graphs cost in plain onnxruntime, to run and to get ready."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx.utils import Extractor
from onnxplain.explainers import Model
from onnxplain.graph_rewrites import OnnxplainError, rewrite

from .subject import Cost, Effort, Feed, Subject, feed, run, session
from .timing import Work, compare

__all__ = ["graph_costs"]

_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "gradient": ("gradient", {}),
    "saliency": ("saliency", {}),
    "guided_backprop": ("guided_backprop", {}),
    "grad_cam": ("grad_cam", {}),
    "lrp epsilon_plus": ("lrp", {}),
    "lrp epsilon_alpha2_beta1": ("lrp", {"composite": "epsilon_alpha2_beta1"}),
    "deep_lift": ("deep_lift", {}),
}


def graph_costs(subject: Subject, model: Model, effort: Effort, *, threads: int) -> Iterator[Cost]:
    """Measure the passes of rewritten graphs, and the making of the first two's sessions."""
    own = feed(model, 1)
    forward = run(session(subject.source, threads), own)
    for work, (method, options) in _METHODS.items():
        try:
            graph = rewrite(subject.source, method, **options)
        except OnnxplainError as error:
            yield Cost(subject.name, work, "forward", None, refusal=str(error))
            continue
        if work == "gradient":
            yield _forward_part(subject, model, graph, own, forward, effort.pairs, threads)
        data = graph.SerializeToString()
        runner = session(data, threads)
        measured = compare(run(runner, _complete(graph, own)), forward, pairs=effort.pairs)
        yield Cost(subject.name, work, "forward", measured, subject.bars.get(work))
        if work in ("gradient", "grad_cam"):
            made = compare(
                functools.partial(session, data, threads),
                functools.partial(session, subject.source, threads),
                pairs=effort.pairs,
                warm=False,
            )
            name, base = f"session of {work}", "session of the file"
            yield Cost(subject.name, name, base, made, subject.bars.get("session"))


def _forward_part(
    subject: Subject,
    model: Model,
    graph: onnx.ModelProto,
    own: Feed,
    forward: Work,
    pairs: int,
    threads: int,
) -> Cost:
    part = Extractor(graph).extract_model(list(own), [one.name for one in model.outputs])
    work = run(session(part.SerializeToString(), threads), own)
    return Cost(
        subject.name,
        "forward part of the gradient graph",
        "forward",
        compare(work, forward, pairs=pairs),
    )


def _complete(graph: onnx.ModelProto, own: Feed) -> Feed:
    """Return the image with a class, and where the graph takes one, a baseline of zeros."""
    (image,) = own.values()
    given = dict(own)
    for value in graph.graph.input:
        if value.name == "baseline":
            given["baseline"] = np.zeros_like(image)
        elif value.name not in given:
            given[value.name] = np.zeros(len(image), np.int64)
    return given
