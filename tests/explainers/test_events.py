"""Explanations as events: what is read, what a slow reader misses, and how it ends early."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from onnxplain.explainers import Control, Estimate, Explained, Progress, load
from onnxplain.explainers.events import stream
from onnxplain.graph_rewrites import Cancelled, InvalidArgument

from tests.models import PREPROCESSING, tiny_cnn
from tests.runs import PHOTO

MODEL = load(tiny_cnn(size=16), preprocessing=PREPROCESSING | {"resize": {"size": [16, 16]}})
LIME = {"method": "lime", "segmenter": "grid", "target": [1, 0], "batch_size": 4}


class Watched(Control):
    """Knows what was reported before and after it was cancelled."""

    def __init__(self):
        self.reported, self.before = [], None
        super().__init__(self.reported.append)

    def cancel(self, error=None):
        self.before = len(self.reported)
        super().cancel(error)


def running():
    return [thread for thread in threading.enumerate() if thread.name == "explain"]


@pytest.mark.parametrize("arguments", [LIME, {"method": "grad_cam"}])
def test_progress_comes_first_and_the_result_last(arguments):
    *told, last = MODEL.stream(PHOTO, **arguments)
    assert all(isinstance(one, Progress) for one in told)
    assert isinstance(last, Explained)
    for one, other in zip(last.explanations, MODEL.explain_all(PHOTO, **arguments), strict=True):
        np.testing.assert_array_equal(one.heatmap, other.heatmap)
    if arguments is LIME:
        (final,) = [one for one in told if one.total and one.done == one.total]
        for heatmap, one in zip(final.estimate.heatmaps(), last.explanations, strict=True):
            np.testing.assert_array_equal(heatmap, one.heatmap)
    assert not running()


def test_what_goes_wrong_is_raised_where_it_is_read():
    with pytest.raises(InvalidArgument) as caught:
        list(MODEL.stream(PHOTO, method="lime", n_samples=0))
    assert caught.value.violations[0].subject == "n_samples"


@pytest.mark.parametrize("method", ["lime", "kernel_shap", "rise", "smooth_grad", "sensitivity"])
def test_closing_ends_the_work_within_a_batch(method):
    many = {} if method == "sensitivity" else {"n_samples": 100_000}
    if method in ("lime", "kernel_shap"):
        many["segmenter"] = "grid"
    control = Watched()
    events = MODEL.stream(PHOTO, control=control, method=method, target=1, batch_size=1, **many)
    for event in events:
        if event.total and event.done > 3:
            break
    events.close()
    assert len(control.reported) - control.before <= 1
    assert control.reported[-1].done < control.reported[-1].total
    assert not running()


def test_whoever_holds_the_control_may_end_it():
    control = Control()
    events = MODEL.stream(PHOTO, control=control, n_samples=100_000, **LIME)
    next(events)
    control.cancel()
    with pytest.raises(Cancelled):
        list(events)


def test_a_slow_reader_gets_the_latest_progress_and_the_end_and_nothing_is_kept():
    control, ended, alive = Control(), threading.Event(), weakref.WeakSet()

    def work():
        for done in range(1, 1001):
            estimate = Estimate(None, list)
            alive.add(estimate)
            for listener in control._listeners:
                listener(Progress("samples", done, 1000, estimate))
        del estimate
        ended.set()
        return []

    events = stream(work, control)
    first = next(events)
    assert ended.wait(10)
    gc.collect()
    assert len(alive) <= 2  # the one read and the latest
    rest = list(events)
    assert [one.done for one in (first, *rest[:-1])] in ([1000], [first.done, 1000])
    assert isinstance(rest[-1], Explained)


def test_nothing_begins_before_the_first_event_is_asked_for():
    begun = []
    events = stream(lambda: begun.append(1) or [], Control())
    events.close()
    assert not begun


def test_a_control_is_as_good_as_new_after_its_end():
    control = Control()
    for _ in range(20):
        *_, last = MODEL.stream(PHOTO, control=control, method="grad_cam")
    assert isinstance(last, Explained)
    control.check()
