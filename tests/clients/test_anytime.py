"""Time budgets, checkpoints and running estimates as users meet them: here and on a server."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from onnxplain.clients.commands.environment import Environment, ProgressBar
from onnxplain.clients.python import ExplainError
from onnxplain.explainers import Estimate, Progress
from onnxplain.graph_rewrites import list_methods
from onnxplain.proto import explain_pb2

from tests.commands import Ended, Terminal
from tests.models import PREPROCESSING

MANY = {"n_samples": 1_000_000, "batch_size": 4}


@pytest.fixture
def known(repository, tmp_path):
    path = tmp_path / "known.json"
    path.write_text(json.dumps(PREPROCESSING))
    return [repository / "cnn" / "1" / "model.onnx", "--preprocessing", path]


@pytest.mark.parametrize("method", ["rise", "smooth_grad"])
def test_time_ends_it_here_and_on_a_server(method, known, server, client, image, picture):
    model, *preprocessing = known
    flags = ["--method", method, "--n-samples", 1_000_000, "--batch-size", 4]
    flags += ["--time-budget", 0.05]
    here = Ended(["explain", model, image, *preprocessing, *flags])
    there = Ended(["explain", "cnn", image, "--server", server, *flags])
    for ended in (here, there):
        assert ended.code == 0, ended.err
        assert "STOPPED_EARLY: the time ended after" in ended.err
    found = client.explain(picture, model="cnn", method=method, time_budget=0.05, **MANY)
    assert 4 <= found.measures["n_samples"] < 1_000_000
    assert "STOPPED_EARLY" in [one.code for one in found.warnings]


@pytest.mark.parametrize(
    ("method", "seconds", "said"),
    [("grad_cam", 5, "time_budget is for kernel_shap, lime, rise"), ("rise", 0, "above 0")],
)
def test_a_time_that_is_of_no_use_is_refused(method, seconds, said, known, client, image, picture):
    model, *preprocessing = known
    flags = ["--method", method, "--time-budget", seconds]
    ended = Ended(["explain", model, image, *preprocessing, *flags])
    assert ended.code == 2
    assert said in ended.err
    with pytest.raises(ExplainError, match=said) as caught:
        client.explain(picture, model="cnn", method=method, time_budget=seconds)
    (violation,) = caught.value.violations
    assert violation.subject == "time_budget"
    assert violation.subject in explain_pb2.ExplainRequest.DESCRIPTOR.fields_by_name


def test_a_checkpoint_goes_on_where_time_ended(known, image, tmp_path):
    model, *preprocessing = known
    base = ["explain", model, image, *preprocessing, "--method", "sensitivity"]
    base += ["--granularity", "patch", "--patch", 3, "--batch-size", 5]
    kept = ["--checkpoint", tmp_path / "c.npz"]
    first = Ended([*base, *kept, "--time-budget", 1e-6])
    assert "NOT_ALL_MEASURED" in first.err
    assert Ended([*base, *kept, "--array", tmp_path / "resumed.npy"]).code == 0
    assert Ended([*base, "--array", tmp_path / "whole.npy"]).code == 0
    resumed, whole = (np.load(tmp_path / f"{name}.npy") for name in ("resumed", "whole"))
    np.testing.assert_array_equal(resumed, whole)
    other = Ended([*base, *kept, "--step", 0.01])
    assert other.code == 2
    assert "another run: steps was" in other.err


@pytest.mark.parametrize("further", [["--server", "localhost:1"], ["other.png"]])
def test_a_checkpoint_is_of_one_picture_explained_here(further, known, image, tmp_path):
    model, *_ = known
    ended = Ended(["explain", model, image, *further, "--checkpoint", tmp_path / "c.npz"])
    assert ended.code == 2
    assert "one picture explained here" in ended.err


def test_the_bar_shows_how_certain_the_map_is():
    terminal = Terminal()
    with ProgressBar(Environment(io.StringIO(), io.StringIO(), terminal)) as bar:
        bar(Progress("samples", 5, 10, Estimate(0.123, list)))
        bar(Progress("differences", 5, 10, Estimate(None, list)))
    shown = terminal.getvalue()
    assert "5/10 ±12 %" in shown
    assert shown.count("±") == 1


def test_methods_that_can_end_early_are_listed_as_such(client):
    can = {one.name for one in list_methods() if one.anytime}
    assert can == {"lime", "kernel_shap", "rise", "sensitivity", "smooth_grad"}
    assert {one.name for one in client.list_methods() if one.anytime} == can
    assert {one["name"] for one in Ended(["methods", "--json"]).json if one["anytime"]} == can
    assert "ends early by --time-budget, and goes on" in Ended(["methods", "sensitivity"]).out
    assert "--time-budget" not in Ended(["methods", "grad_cam"]).out
