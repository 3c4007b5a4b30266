"""What methods of many passes cost, from the picture to the map, beside the passes they need."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from lime.lime_image import LimeImageExplainer
from onnxplain.explainers import Control, Model
from onnxplain.explainers.black_box import PictureRun
from onnxplain.explainers.finite_differences import Differences
from onnxplain.explainers.inputs import prepare
from onnxplain.graph_rewrites import OnnxplainError, rewrite
from skimage import data

from .subject import Cost, Effort, Subject, feed, run, session
from .timing import Work, compare

__all__ = ["sampling_costs"]

_STEPS = 32


def sampling_costs(
    subject: Subject, model: Model, effort: Effort, *, threads: int
) -> Iterator[Cost]:
    """Measure integrated gradients, sensitivity, LIME and RISE, and LIME's own package."""
    plain = session(subject.source, threads)
    yield _path_cost(subject, model, effort.sampling_pairs, threads)
    yield _moves_cost(subject, model, plain, effort.moved_pixels, effort.sampling_pairs)
    for method, n_samples, options in (
        ("lime", effort.lime_samples, {"segmenter": "grid"}),
        ("rise", effort.rise_samples, {}),
    ):
        yield _masks_cost(subject, model, plain, method, n_samples, options, effort.sampling_pairs)
    yield _reference_cost(subject, model, plain, effort.lime_samples, effort.sampling_pairs)


def _path_cost(subject: Subject, model: Model, pairs: int, threads: int) -> Cost:
    """Compare integrated gradients with one pass of the gradient's graph, of one image."""
    work, base, method = f"integrated_gradients, {_STEPS} steps", "gradient", "integrated_gradients"
    own = feed(model, 1)
    (image,) = own.values()
    try:
        graph = rewrite(subject.source, "gradient")
        model.explain_all(tensor=image, method=method, n_steps=_STEPS)
    except OnnxplainError as error:
        return Cost(subject.name, work, base, None, refusal=str(error))
    runner = session(graph.SerializeToString(), threads)
    (target,) = {one.name for one in runner.get_inputs()} - set(own)
    measured = compare(
        lambda: model.explain_all(tensor=image, method=method, n_steps=_STEPS),
        run(runner, own | {target: np.zeros(len(image), np.int64)}),
        pairs=pairs,
    )
    return Cost(subject.name, work, base, measured, subject.bars.get(method))


def _moves_cost(
    subject: Subject, model: Model, plain: ort.InferenceSession, n_pixels: int, pairs: int
) -> Cost:
    """Compare sensitivity's differences at some pixels with the passes they need."""
    (image,) = feed(model, 1).values()
    classifier = model._classifier
    (prepared,) = prepare(None, image, model.preprocessing, classifier)
    moved = PictureRun(prepared, classifier, (0,), "logit", None, Control())
    differences = Differences(moved, None, True, "logit")
    elements = np.random.default_rng(0).choice(image.size, n_pixels, replace=False)

    def measure() -> None:
        moves = ((np.array([index]), differences.steps[[index]]) for index in elements)
        for _ in differences.stream(moves):
            pass

    passes = 2 * n_pixels
    forwards = _forwards(plain, model, passes, moved.batch_size)
    base = f"{passes} forwards by {moved.batch_size}"
    measured = compare(measure, forwards, pairs=pairs, warm=False)
    return Cost(
        subject.name,
        f"sensitivity, {n_pixels} values",
        base,
        measured,
        subject.bars.get("sensitivity"),
    )


def _masks_cost(
    subject: Subject,
    model: Model,
    plain: ort.InferenceSession,
    method: str,
    n_samples: int,
    options: Mapping[str, Any],
    pairs: int,
) -> Cost:
    """Compare a method of samples with the passes it needs.

    The base runs them at the batch size measured for the model, by plain onnxruntime and on ready
    arrays. Segments are a grid, so that none of the time is segmentation.
    """
    chelsea: Callable[[], npt.NDArray[np.uint8]] = data.chelsea
    work = f"{method}, {n_samples} samples"
    given: Mapping[str, Any] = (
        {"image": chelsea()}
        if model.preprocessing
        else {"tensor": next(iter(feed(model, 1).values()))}
    )
    try:
        (first,) = model.explain_all(**given, method=method, n_samples=2, **options)
    except OnnxplainError as error:
        return Cost(subject.name, work, f"{n_samples} forwards", None, refusal=str(error))
    batch_size = first.provenance.batch_size

    def explain() -> None:
        model.explain_all(
            **given, method=method, n_samples=n_samples, batch_size=batch_size, **options
        )

    base = f"{n_samples} forwards by {batch_size}"
    forwards = _forwards(plain, model, n_samples, batch_size)
    measured = compare(explain, forwards, pairs=pairs, warm=False)
    return Cost(subject.name, work, base, measured, subject.bars.get(method))


def _forwards(plain: ort.InferenceSession, model: Model, passes: int, batch_size: int) -> Work:
    """Return the work of so many forward passes; one has been done."""
    one = run(plain, feed(model, batch_size))
    one()

    def work() -> None:
        for _ in range(math.ceil(passes / batch_size)):
            one()

    return work


def _reference_cost(
    subject: Subject, model: Model, plain: ort.InferenceSession, n_samples: int, pairs: int
) -> Cost:
    """Compare LIME with the reference library on the same picture, segments and session."""
    work, base = f"lime, {n_samples} samples", "the lime package"
    known = model.preprocessing
    if known is None:
        refusal = "no preprocessing is known for a photo"
        return Cost(subject.name, work, base, None, refusal=refusal)
    chelsea: Callable[[], npt.NDArray[np.uint8]] = data.chelsea
    options: dict[str, Any] = {"method": "lime", "segmenter": "grid", "n_samples": n_samples}
    (first,) = model.explain_all(chelsea(), **options | {"n_samples": 2})
    (name,) = feed(model, 1)
    explainer = LimeImageExplainer(feature_selection="none")

    def reference() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            explainer.explain_instance(
                first.picture,
                lambda pictures: plain.run(None, {name: known.normalise(pictures)})[0],
                labels=(first.target,),
                top_labels=None,
                num_samples=n_samples,
                batch_size=first.provenance.batch_size,
                segmentation_fn=lambda _: first.segments,
            )

    measured = compare(
        lambda: model.explain_all(chelsea(), **options), reference, pairs=pairs, warm=False
    )
    return Cost(subject.name, work, base, measured, subject.bars.get("lime package"))
