"""One method carried out on one input, whatever kind of method it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import Access, FailedPrecondition, Method

from .averaging import mean_result, of_each_baseline
from .baselines import baseline
from .black_box import PictureRun
from .bounds import bounds_of, outside
from .classifier import Classifier, Scores
from .clock import Clock
from .control import Control
from .explanation import Notice
from .graph_run import GraphRun
from .inputs import PreparedInput
from .run import Result
from .set_run import SetRun
from .targets import Targets
from .verification import compare_forward
from .white_box import WhiteBox

__all__ = ["Outcome", "carry_out", "carry_out_set"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a method found for every target, in order, and how; see `Provenance`."""

    results: list[Result]
    options: Mapping[str, Any]
    layer: str | None
    batch_size: int
    evaluations: int
    notices: list[Notice]


def carry_out(
    method: Method,
    options: Mapping[str, Any],
    prepared: PreparedInput,
    targets: Targets,
    scores: Scores,
    classifier: Classifier,
    graphs: WhiteBox | None,
    control: Control,
    clock: Clock,
) -> Outcome:
    """Explain one input for every target; of several baselines, return the mean over them.

    Parameters
    ----------
    options
        Resolved, one value each but for ``baseline``.
    scores
        Of the input, by the model's file as it is.
    graphs
        Of the model; ``None`` only where `check_access` lets the method through without.
    clock
        Takes the time of the stages.
    """
    outcomes, asked = [], list(of_each_baseline(options))
    for position, each in enumerate(asked):
        with control.sharing(len(asked) - position):
            outcomes.append(
                _carry_out(
                    method, each, prepared, targets, scores, classifier, graphs, control, clock
                )
            )
    if len(outcomes) == 1:
        return outcomes[0]
    axis, reduction = classifier.channel_axis - 1, options.get("reduction", "sum")
    return dataclasses.replace(
        outcomes[0],
        results=[
            mean_result(results, axis, reduction)
            for results in zip(*(one.results for one in outcomes), strict=True)
        ],
        options={**outcomes[0].options, "baseline": options["baseline"]},
        evaluations=sum(one.evaluations for one in outcomes),
        notices=list(dict.fromkeys(notice for one in outcomes for notice in one.notices)),
    )


def _carry_out(
    method: Method,
    options: Mapping[str, Any],
    prepared: PreparedInput,
    targets: Targets,
    scores: Scores,
    classifier: Classifier,
    graphs: WhiteBox | None,
    control: Control,
    clock: Clock,
) -> Outcome:
    """Explain one input for every target, from one baseline."""
    apart, size = None, options.get("batch_size")
    if not method.in_graph or len(targets.items) > 1:
        with clock.stage("run"):
            apart = _apart(classifier, prepared.x, control)
    if apart is not None:
        size = 1
    if method.in_graph:
        assert graphs is not None
        outcome = _in_graph(
            method, options, prepared, targets, scores, classifier, graphs, size, control, clock
        )
    else:
        with clock.stage("run"):
            run: PictureRun | GraphRun
            if method.access is Access.FORWARD:
                kind, seen = options.get("score", "logit"), classifier.extended(targets.extend)
                run = PictureRun(prepared, seen, targets.columns, kind, size, control)
            else:
                assert graphs is not None
                run = GraphRun(prepared, classifier, graphs, targets, size, control)
                run.notices += graphs.notices
            outcome = _driven(method, options, run)
            if isinstance(run, GraphRun) and graphs is not None and graphs.rounds_otherwise:
                found, are_logits = run.forward(method.access)
                results, differs = _compared(
                    outcome.results, found, scores, classifier, are_logits=are_logits
                )
                notices = [*outcome.notices, *differs]
                outcome = dataclasses.replace(outcome, results=results, notices=notices)
    if apart is None:
        return outcome
    return dataclasses.replace(outcome, notices=[apart, *outcome.notices])


def _apart(classifier: Classifier, x: Array, control: Control) -> Notice | None:
    """Say why inputs are run one by one, if they are to be."""
    company, fixed = classifier.beside_others(x, control), classifier.fixed_batch
    if company == "same":
        return None
    if company == "fails":
        return Notice(
            "BATCH_FAILING",
            "the model fails on two inputs at once though its file lets any number in: they are "
            "run one by one",
        )
    what = "the model's scores of an input depend on the others in its batch"
    if fixed is None:
        return Notice("BATCH_MIXING", f"{what}: they are run one by one")
    return Notice(
        "BATCH_MIXING",
        f"{what}, which its file fixes to {fixed}, and so does this map: export it with a batch of "
        "1, or of any number",
    )


def _driven(method: Method, options: Mapping[str, Any], run: PictureRun | GraphRun) -> Outcome:
    """Let the method drive the model through many passes."""
    return _outcome(options, run, method.run(run, **options))


def carry_out_set(
    method: Method,
    options: Mapping[str, Any],
    inputs: Sequence[PreparedInput],
    targets: Sequence[Targets],
    scores: npt.NDArray[np.float64],
    classifier: Classifier,
    control: Control,
    clock: Clock,
) -> list[Outcome]:
    """Explain several inputs together, each for its own targets; return an outcome for each.

    ``scores`` ``[N, T]`` are those of the inputs' targets.
    """
    with clock.stage("run"):
        apart = _apart(classifier, inputs[0].x, control)
        kind, size = options.get("score", "logit"), 1 if apart else options.get("batch_size")
        runs = [
            PictureRun(one, classifier.extended(own.extend), own.columns, kind, size, control)
            for one, own in zip(inputs, targets, strict=True)
        ]
        found = method.run(SetRun(runs, scores), **options)
    for run in runs:
        run.notices[:0] = [apart] if apart else []
    return [_outcome(options, run, results) for run, results in zip(runs, found, strict=True)]


def _outcome(
    options: Mapping[str, Any], run: PictureRun | GraphRun, results: list[Result]
) -> Outcome:
    return Outcome(
        results=results,
        options=options,
        layer=run.layer,
        batch_size=run.batch_size,
        evaluations=run.evaluations,
        notices=run.notices,
    )


def _in_graph(
    method: Method,
    options: Mapping[str, Any],
    prepared: PreparedInput,
    targets: Targets,
    scores: Scores,
    classifier: Classifier,
    graphs: WhiteBox,
    batch_size: int | None,
    control: Control,
    clock: Clock,
) -> Outcome:
    """Run the model as the method rewrites it."""
    bounds = bounds_of(options, prepared, classifier.channel_axis)
    start = targets.start(targets.columns)
    with clock.stage("rewrite"):
        lost: list[Notice] = []
        if options.get("input_domain") == "auto":
            options, lost = _with_domain(method, options, bounds, start, graphs)
        layer, notices, roles = graphs.prepare(method, options, start)
        notices = [*notices, *lost]
    control.check()
    with clock.stage("run"):
        given = {} if bounds is None else {"low": bounds[0], "high": bounds[1]}
        if bounds is not None and "low" in roles:
            notices = [*notices, *outside(prepared.x, bounds)]
        if "baseline" in options:
            given["baseline"] = _baseline(options, prepared.x, bounds, classifier.channel_axis)
        results = graphs.explain(method, options, prepared.x, start, control, given, batch_size)
    own = results[0].scores
    assert own is not None
    results, differs = _compared(results, own, scores, classifier)
    return Outcome(
        results=results,
        options=options,
        layer=layer,
        batch_size=batch_size or graphs.batch_size,
        evaluations=len(results),
        notices=[*notices, *differs],
    )


def _with_domain(
    method: Method,
    options: Mapping[str, Any],
    bounds: tuple[Array, Array] | None,
    start: Array,
    graphs: WhiteBox,
) -> tuple[Mapping[str, Any], list[Notice]]:
    """Take the image for a box where its bounds are known, and warn where they get lost."""
    real, box = (dict(options, input_domain=domain) for domain in ("real", "box"))
    if bounds is None:
        return real, []
    try:
        graphs.prepare(method, box, start)
    except FailedPrecondition as error:
        message = f"input_domain=real is taken, as box does not apply: {error.message}"
        return real, [Notice("BOUNDS_LOST", message)]
    return box, []


def _compared(
    results: list[Result],
    found: Array,
    scores: Scores,
    classifier: Classifier,
    *,
    are_logits: bool = False,
) -> tuple[list[Result], list[Notice]]:
    """Measure how far the scores of the graph that was run are from those of the file itself.

    ``found`` are the file's output by that graph, or the logits.
    """
    activation = classifier.interface.activation
    are_logits |= activation == "none"
    expected = scores.logits if are_logits else scores.probabilities
    if expected is None:
        return results, []
    if activation == "log_softmax" and not are_logits:
        found = np.exp(found)
    difference, notices = compare_forward(found, expected, quantised=classifier.quantised)
    measure = {"forward_difference": difference}
    return [
        dataclasses.replace(one, measures={**one.measures, **measure}) for one in results
    ], notices


def _baseline(
    options: Mapping[str, Any], x: Array, bounds: tuple[Array, Array] | None, channel_axis: int
) -> npt.NDArray[np.float32]:
    low, high = bounds or (x.min(keepdims=True), x.max(keepdims=True))
    random = np.random.default_rng(options.get("seed"))
    found = baseline(options["baseline"], x, low, high, channel_axis, random)
    return found.astype(np.float32)
