"""Checkpoints: a run that was ended goes on to the bytes of one that was not, another is not."""

from __future__ import annotations

import os

import numpy as np
import pytest
from onnxplain.explainers import Control, load
from onnxplain.explainers.checkpoint import Checkpoint
from onnxplain.graph_rewrites import Cancelled, InvalidArgument

from tests.models import PREPROCESSING, tiny_cnn
from tests.runs import PHOTO

SMALL = PREPROCESSING | {"resize": {"size": [8, 8]}}
MODEL = load(tiny_cnn(size=8), preprocessing=SMALL)
ASKED = {"method": "sensitivity", "target": [1, 3], "batch_size": 7}


def cancelling(after):
    def on_progress(progress):
        if progress.stage == "differences" and progress.done >= after:
            control.cancel()

    control = Control(on_progress)
    return control


@pytest.mark.parametrize("options", [{}, {"difference": "forward"}, {"granularity": "pixel_joint"}])
def test_a_run_ended_twice_goes_on_to_the_same_bytes(options, tmp_path):
    path = tmp_path / "some.npz"
    given = ASKED | options
    whole = MODEL.explain_all(PHOTO, **given)
    for after in (20, 45):
        with pytest.raises(Cancelled):
            MODEL.explain_all(PHOTO, checkpoint=path, control=cancelling(after), **given)
    first_reported = []
    control = Control(lambda progress: first_reported.append(progress.done))
    resumed = MODEL.explain_all(PHOTO, checkpoint=path, control=control, **given)
    again = MODEL.explain_all(PHOTO, checkpoint=path, **given)
    for one, other, third in zip(resumed, whole, again, strict=True):
        assert one.heatmap.tobytes() == other.heatmap.tobytes() == third.heatmap.tobytes()
        assert one.measures == other.measures
        assert one.warnings == other.warnings
    assert resumed[0].provenance.evaluations < whole[0].provenance.evaluations
    assert again[0].provenance.evaluations < 20
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_time_ends_a_run_that_goes_on_later(tmp_path):
    path = tmp_path / "some.npz"
    (first,) = MODEL.explain_all(PHOTO, checkpoint=path, time_budget=1e-9, **ASKED | {"target": 1})
    assert {one.code for one in first.warnings} == {"STOPPED_EARLY", "NOT_ALL_MEASURED"}
    (second,) = MODEL.explain_all(PHOTO, checkpoint=path, **ASKED | {"target": 1})
    (whole,) = MODEL.explain_all(PHOTO, **ASKED | {"target": 1})
    np.testing.assert_array_equal(second.heatmap, whole.heatmap)


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"image": PHOTO[::-1].copy()}, ["input"]),
        ({"target": [1, 2]}, ["targets"]),
        ({"step": 0.01}, ["steps"]),
        ({"difference": "forward"}, ["passes of a move"]),
        ({"granularity": "patch", "patch": 2}, ["cells", "granularity"]),
        ({"score": "probability", "target": 1}, ["score", "targets"]),
        ({"model": load(tiny_cnn(size=8, seed=9), preprocessing=SMALL)}, ["model"]),
        ({"batch_size": 3, "reduction": "l2", "tolerance": 0.5, "seed": 4}, []),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_what_differs(changed, differs, tmp_path):
    path = tmp_path / "some.npz"
    MODEL.explain_all(PHOTO, checkpoint=path, **ASKED)
    before = path.read_bytes()
    given = {"model": MODEL, "image": PHOTO, **ASKED, **changed}
    model, image = given.pop("model"), given.pop("image")
    if not differs:
        assert model.explain_all(image, checkpoint=path, **given)[0].provenance.evaluations < 20
        return
    with pytest.raises(InvalidArgument, match="another run") as caught:
        model.explain_all(image, checkpoint=path, **given)
    assert caught.value.reason == "CHECKPOINT_MISMATCH"
    subjects = [one.subject for one in caught.value.violations]
    assert subjects == [f"checkpoint.{name}" for name in differs]
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"text", None])
def test_a_file_that_is_no_checkpoint_is_left_alone(content, tmp_path):
    path = tmp_path / "some.npz"
    if content is None:
        np.savez(path, heatmap=np.zeros(3))
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(InvalidArgument) as caught:
        MODEL.explain_all(PHOTO, checkpoint=path, **ASKED)
    assert caught.value.reason == "CHECKPOINT_INVALID"
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_told_before_anything_is_measured(tmp_path):
    reported = []
    with pytest.raises(FileNotFoundError):
        MODEL.explain_all(
            PHOTO, checkpoint=tmp_path / "no" / "c.npz", control=Control(reported.append), **ASKED
        )
    assert all(one.stage != "differences" for one in reported)


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({"method": "lime"}, "checkpoint"),
        ({"method": "sensitivity", "budget": 100}, "checkpoint"),
        ({"method": "sensitivity", "image": [PHOTO, PHOTO]}, "checkpoint"),
        ({"method": "sensitivity", "budget": 100, "tolerance": 0.1}, "tolerance"),
    ],
)
def test_what_no_checkpoint_can_hold_is_refused(given, subject, tmp_path):
    with pytest.raises(InvalidArgument) as caught:
        MODEL.explain_all(**{"image": PHOTO, "checkpoint": tmp_path / "c.npz", **given})
    assert caught.value.violations[0].subject == subject
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "c.npz", {"model": "m"})
    checkpoint.save(np.ones((3, 2)))
    before = (tmp_path / "c.npz").read_bytes()

    def failing(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(np.ones((5, 2)))
    assert [one.name for one in tmp_path.iterdir()] == ["c.npz"]
    assert (tmp_path / "c.npz").read_bytes() == before


def test_rows_are_written_twice_a_minute(tmp_path):
    now, written = [0.0], []
    checkpoint = Checkpoint(tmp_path / "c.npz", {}, clock=lambda: now[0])
    assert checkpoint.restore(np.empty((9, 1)), {}) == 0
    for second in range(100):
        now[0] = second
        before = (tmp_path / "c.npz").stat().st_ino
        checkpoint.keep(np.ones((5, 1)))
        if (tmp_path / "c.npz").stat().st_ino != before:
            written.append(second)
    assert written == [30, 60, 90]
    rows = np.zeros((9, 1))
    assert Checkpoint(tmp_path / "c.npz", {}).restore(rows, {}) == 5
    assert rows.sum() == 5
