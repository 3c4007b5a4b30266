"""Sampling methods at any time: what they tell, when they end, and what they then give."""

from __future__ import annotations

import numpy as np
import pytest
from onnxplain.explainers import Control, load
from onnxplain.explainers.access import check_limits
from onnxplain.explainers.shapley import choose_coalitions
from onnxplain.graph_rewrites import InvalidArgument, get_method, list_methods

from tests.models import PREPROCESSING, tiny_cnn
from tests.runs import PHOTO

MODEL = load(tiny_cnn(size=16), preprocessing=PREPROCESSING | {"resize": {"size": [16, 16]}})
GRID = {"segmenter": "grid", "n_segments": 16}
CASES = {
    "lime": ("lime", {"n_samples": 400, **GRID}),
    "lime, sparse": ("lime", {"n_samples": 400, "feature_selection": "lasso_path", **GRID}),
    "kernel_shap": ("kernel_shap", {"n_samples": 400, **GRID}),
    "rise": ("rise", {"n_samples": 500, "n_cells": 4}),
    "smooth_grad": ("smooth_grad", {"n_samples": 60}),
    "smooth_grad, var": ("smooth_grad", {"n_samples": 60, "variant": "var"}),
    "sensitivity": ("sensitivity", {}),
    "sensitivity, patch": ("sensitivity", {"granularity": "patch", "patch": 2}),
    "sensitivity, budget": ("sensitivity", {"budget": 1400}),
}
each_case = pytest.mark.parametrize(("method", "options"), CASES.values(), ids=CASES)


class Ticks:
    """A clock on which a second passes whenever it is read."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 1
        return self.seconds


def explain(method, options, control=None, **given):
    given = {"target": [1, 0], "batch_size": 2, "control": control, **options, **given}
    return MODEL.explain_all(PHOTO, method=method, **given)


def codes(explanation):
    return {warning.code for warning in explanation.warnings}


@each_case
def test_the_last_estimate_is_the_result_and_listening_changes_nothing(method, options):
    events = []
    told = explain(method, options, Control(events.append, clock=Ticks()))
    alone = explain(method, options)
    events = [event for event in events if event.total]
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[0].done == 0
    assert events[-1].done == events[-1].total
    estimates = [event.estimate for event in events if event.estimate]
    assert len(set(map(id, estimates))) > 2
    for one, other, heatmap in zip(told, alone, estimates[-1].heatmaps(), strict=True):
        np.testing.assert_array_equal(heatmap, one.heatmap)
        np.testing.assert_array_equal(one.heatmap, other.heatmap)
        assert one.measures == other.measures
        assert one.warnings == other.warnings
    assert estimates[-1].uncertainty == max(one.measures["relative_error"] for one in told)


@each_case
def test_estimates_come_near_the_result(method, options):
    events = []
    (result,) = explain(method, options, Control(events.append, clock=Ticks()), target=1)
    estimates = list({id(one.estimate): one.estimate for one in events if one.estimate}.values())
    distances = [
        np.abs(one.heatmaps()[0] - result.heatmap).mean() / result.heatmap.std()
        for one in estimates
    ]
    assert np.mean(distances[-len(distances) // 3 :]) < np.mean(distances[: len(distances) // 3])
    known = [one.uncertainty for one in estimates if one.uncertainty is not None]
    assert known[-1] < known[0]


@pytest.mark.parametrize(
    ("name", "further", "factor"),
    [
        ("lime", {}, 1.4),
        ("kernel_shap", {}, 1.4),
        ("rise", {}, 1.4),
        ("smooth_grad", {}, 1.4),
        ("smooth_grad, var", {}, 1.4),
        ("sensitivity, budget", {"budget": 520}, 1.4),  # of squares that all seeds have
    ],
)
def test_the_error_told_is_the_distance_between_seeds(name, further, factor):
    method, options = CASES[name]
    found = [explain(method, {**options, **further}, target=1, seed=seed)[0] for seed in range(8)]
    maps = np.stack([one.heatmap if one.attribution is None else one.attribution for one in found])
    if method == "rise":  # its maps are mean scores: only differences between pixels count
        maps -= maps.mean(axis=(1, 2), keepdims=True)
    deviation = np.sqrt(np.var(maps, axis=0, ddof=1).mean())
    variation = np.mean([one.std() for one in maps])
    told = np.mean([one.measures["relative_error"] for one in found])
    assert deviation / variation / factor < told < deviation / variation * factor


@pytest.mark.parametrize(
    ("name", "batch_size", "seconds"),
    [
        ("sensitivity", 4, 40),
        ("sensitivity", 4, 120),
        ("sensitivity, patch", 1, 20),
        ("sensitivity, patch", 1, 40),
    ],
)
def test_the_error_told_is_the_distance_to_the_whole_map(name, batch_size, seconds):
    method, options = CASES[name]
    (whole,) = explain(method, options, target=1)
    given = {"target": 1, "time_budget": seconds, "batch_size": batch_size}
    (found,) = explain(method, options, Control(clock=Ticks()), **given)
    assert "NOT_ALL_MEASURED" in codes(found)
    distance = np.sqrt(np.square(found.heatmap - whole.heatmap).mean()) / whole.heatmap.std()
    assert distance / 2 < found.measures["relative_error"] < 2 * distance
    assert np.isin(found.heatmap, whole.heatmap).all()  # what is shown was measured


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("lime", 0.3),
        ("kernel_shap", 0.3),
        ("rise", 0.5),
        ("smooth_grad", 0.5),
        ("sensitivity", 0.5),
    ],
)
def test_it_ends_when_the_maps_are_as_precise_as_asked(name, tolerance):
    method, options = CASES[name]
    options = options | ({} if method == "sensitivity" else {"n_samples": 20_000})
    events = []
    found = explain(method, options, tolerance=tolerance)
    again = explain(method, options, Control(events.append, clock=Ticks()), tolerance=tolerance)
    whole = {"sensitivity": 1537}.get(method, 20_000)
    for one, other in zip(found, again, strict=True):
        assert one.measures["relative_error"] < tolerance
        assert one.provenance.evaluations < whole
        assert "STOPPED_EARLY" not in codes(one)
        np.testing.assert_array_equal(one.heatmap, other.heatmap)
        assert one.measures == other.measures
    assert events[-1].done == events[-1].total


@each_case
@pytest.mark.parametrize("seconds", [1e-9, 6])
def test_time_ends_it_with_the_map_of_the_samples_so_far(method, options, seconds):
    found = explain(method, options, Control(clock=Ticks()), time_budget=seconds)
    whole = explain(method, options)
    for one, complete in zip(found, whole, strict=True):
        assert "STOPPED_EARLY" in codes(one)
        (message,) = [w.message for w in one.warnings if w.code == "STOPPED_EARLY"]
        assert "the time ended after" in message
        assert one.provenance.evaluations < complete.provenance.evaluations
        assert np.isfinite(one.heatmap).all()
        assert np.any(one.heatmap)
        if method in ("lime", "rise", "smooth_grad"):  # the first samples are a run of their own
            n_samples = int(one.measures["n_samples"])
            assert f" {n_samples} of " in message
            fewer = explain(method, options, n_samples=n_samples)[found.index(one)]
            np.testing.assert_array_equal(one.heatmap, fewer.heatmap)
        if one.residual is not None:
            assert abs(one.residual) < 1e-9


def test_a_budget_ended_before_all_squares_were_moved_has_those_that_were():
    options = {"budget": 700, "target": 1, "batch_size": 1}
    (found,) = explain("sensitivity", options, Control(clock=Ticks()), time_budget=9)
    assert codes(found) == {"STOPPED_EARLY", "NOT_ALL_MEASURED"}
    (message,) = [one.message for one in found.warnings if one.code == "NOT_ALL_MEASURED"]
    assert len(np.unique(found.heatmap)) == int(message.split()[0]) < 64


def test_every_image_and_every_baseline_has_its_share_of_the_time():
    options = {"method": "rise", "target": 1, "batch_size": 4, "n_samples": 400}
    found = MODEL.explain_all(
        [PHOTO, PHOTO[::-1].copy()], time_budget=30, control=Control(clock=Ticks()), **options
    )
    (shared,) = MODEL.explain_all(
        PHOTO,
        time_budget=30,
        control=Control(clock=Ticks()),
        baseline=["black", "mean"],
        **options,
    )
    counts = [one.measures["n_samples"] for one in found]
    assert counts[0] == counts[1] < 400
    assert counts[0] / 3 < shared.measures["n_samples"] < counts[0] / 1.5


@pytest.mark.parametrize("seconds", [0, -1, np.inf, np.nan, "5"])
def test_no_time_is_refused(seconds):
    with pytest.raises(InvalidArgument, match="above 0") as caught:
        explain("rise", {}, time_budget=seconds)
    assert [one.subject for one in caught.value.violations] == ["time_budget"]


@pytest.mark.parametrize("method", [one for one in list_methods() if not one.anytime])
def test_methods_that_cannot_end_early_name_those_that_can(method):
    with pytest.raises(InvalidArgument, match="kernel_shap, lime, rise") as caught:
        check_limits(method, 5.0, checkpoint=True, n_inputs=1)
    subjects = [one.subject for one in caught.value.violations]
    assert subjects == ["time_budget", "checkpoint"]
    assert not method.resumable
    assert get_method("sensitivity").resumable


def test_estimates_take_a_twentieth_of_the_time_at_most():
    clock = Ticks()
    spent = []

    def estimate():
        spent.append(1)
        clock.seconds += 9  # and the clock is read before and after

    control = Control(lambda _: None, clock=clock)
    for done in range(1, 2000):
        control.report("samples", done, 5000, estimate)
    assert 10 * len(spent) / clock.seconds == pytest.approx(1 / 20, rel=0.1)
    Control(clock=clock).report("samples", 5, 5, estimate=lambda: spent.clear())
    assert spent  # nobody listens: nothing is estimated


@pytest.mark.parametrize(("n_players", "n_samples"), [(12, 400), (30, 500)])
def test_the_first_coalitions_weigh_as_those_drawn_by_then(n_players, n_samples):
    chosen = choose_coalitions(n_players, n_samples, np.random.default_rng(1))
    n_certain = len(chosen.masks) - chosen.n_drawn
    left = 1 - chosen.weights[:n_certain].sum()
    assert chosen.first(len(chosen.masks)) is chosen
    for n in (1, n_certain, n_certain + 1, n_certain + 20, len(chosen.masks) - 1):
        first = chosen.first(n)
        n_pairs = first.n_drawn // 2
        assert n - 1 <= len(first.masks) <= n
        assert first.weights.sum() == pytest.approx(1)
        np.testing.assert_array_equal(first.masks, chosen.masks[: len(first.masks)])
        counts = [0] * n_pairs
        for draw in chosen.draws:
            if draw == n_pairs:
                break
            counts[draw] += 1
        if n_pairs:
            expected = left * np.array(counts) / sum(counts) / 2
            np.testing.assert_allclose(first.weights[n_certain::2], expected)
