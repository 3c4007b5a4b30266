"""The command line, in this process: what it prints, writes and ends with."""

import io
import json
import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnxplain.clients.commands.environment import Environment, ExitCode, ProgressBar
from onnxplain.clients.commands.method_options import parse_options
from onnxplain.clients.commands.output_files import OutputFiles, UsageError
from onnxplain.explainers import Progress, load
from onnxplain.graph_rewrites import get_method, list_methods
from PIL import Image

from tests.commands import Ended, Terminal


def test_explain_prints_what_it_found_and_draws_it(model, image, tmp_path):
    ended = Ended(["explain", model, image, "-o", tmp_path / "deep" / "o.png"])
    assert ended.code == 0
    header, row = ended.out.splitlines()
    assert header.split() == ["image", "method", "target", "label", "score", "ms", "file"]
    assert "grad_cam" in row
    assert row.endswith("o.png")
    with Image.open(tmp_path / "deep" / "o.png") as picture:
        assert picture.format == "PNG"


def test_a_file_of_arrays_holds_the_floats_of_the_library(model, image, tmp_path):
    options = ["--target", "cat", "--method", "lime", "--n-samples", 20, "--segmenter", "grid"]
    (report,) = Ended(
        ["explain", model, image, *options, "--array", tmp_path / "a.npz", "--json"]
    ).json
    expected = load(model).explain(
        image, target="cat", method="lime", n_samples=20, segmenter="grid"
    )
    found = np.load(tmp_path / "a.npz")
    assert set(found) == {"heatmap", "native_heatmap", "segments", "coefficients"}
    for name in found:
        np.testing.assert_array_equal(found[name], getattr(expected, name))
    assert (report["target"], report["label"]) == (2, "cat")
    assert report["provenance"]["options"]["n_samples"] == 20
    assert report["files"] == {"array": str(tmp_path / "a.npz")}


@pytest.mark.parametrize("method", ["grad_cam", "saliency", "lime"])
def test_a_server_and_this_process_give_the_same_floats(
    method, server, repository, image, tmp_path
):
    local = repository / "cnn" / "1" / "model.onnx"
    preprocessing = repository / "cnn" / "preprocessing.json"
    options = ["--method", method, "--target", 1, "--preprocessing", preprocessing]
    if method == "lime":
        options += ["--n-samples", 30, "--segmenter", "grid"]
    here = Ended(["explain", local, image, *options, "--array", tmp_path / "here.npy"])
    there = Ended(
        ["explain", "cnn", image, *options, "--array", tmp_path / "there.npy", "--server", server]
    )
    assert (here.code, there.code) == (0, 0), here.err + there.err
    one, other = np.load(tmp_path / "here.npy"), np.load(tmp_path / "there.npy")
    np.testing.assert_array_equal(one, other)
    assert one.any()


def test_a_server_draws_the_same_picture(server, repository, image, tmp_path):
    local = repository / "cnn" / "1" / "model.onnx"
    preprocessing = repository / "cnn" / "preprocessing.json"
    here, there = tmp_path / "here.png", tmp_path / "there.png"
    Ended(["explain", local, image, "--preprocessing", preprocessing, "-o", here])
    Ended(["explain", "cnn", image, "-o", there, "--server", server])
    with Image.open(here) as one, Image.open(there) as other:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_a_profile_is_printed_and_plotted_here_and_by_a_server(server, repository, image, tmp_path):
    local = repository / "cnn" / "1" / "model.onnx"
    options = ["--method", "lrp", "--profile", "--target", 1]
    options += ["--preprocessing", repository / "cnn" / "preprocessing.json"]
    (here,) = Ended(["explain", local, image, *options, "--json", "-o", tmp_path / "o.png"]).json
    (there,) = Ended(["explain", "cnn", image, *options, "--json", "--server", server]).json
    assert here["profile"] == there["profile"]
    start, *_, end = here["profile"].values()
    assert end - start == pytest.approx(here["residual"], abs=1e-5)
    assert here["files"]["profile"] == str(tmp_path / "o_profile.png")
    with Image.open(tmp_path / "o_profile.png") as plot:
        assert plot.width == 700
    printed = Ended(["explain", local, image, *options]).out
    assert f"{start:.4g}" in printed
    assert all(name in printed for name in here["profile"])


def test_several_targets_and_images_have_files_of_their_own(model, image, tmp_path):
    second = tmp_path / "second.png"
    second.write_bytes(image.read_bytes())
    argv = ["explain", model, image, second, "--target", "top2", "-o", f"{tmp_path}/out/"]
    reports = Ended([*argv, "--json"]).json
    assert len(reports) == 4
    assert len({report["files"]["picture"] for report in reports}) == 4
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize(
    ("given", "weights", "label"),
    [("2:1,3:-1", {"2": 1, "3": -1}, "cat - dog"), ("0:-.5e1", {"0": -5}, "- 5 ant")],
)
def test_a_weighted_sum_of_classes_is_a_target(given, weights, label, model, image, tmp_path):
    argv = ["explain", model, image, "--target", given, "--method", "saliency"]
    (report,) = Ended([*argv, "--json", "-o", f"{tmp_path}/"]).json
    assert (report["target"], report["target_weights"], report["label"]) == (None, weights, label)
    spelled = ",".join(f"{index}:{weight}" for index, weight in weights.items())
    assert spelled in Ended(argv).out
    asked = spelled.replace(":", "x").replace(",", "_")
    assert [path.name for path in tmp_path.iterdir()] == [f"photo_saliency_{asked}.png"]


def test_several_layers_have_files_of_their_own(model, image, tmp_path):
    argv = ["explain", model, image, "--layer", "relu1", "--layer", "relu2", "-o", f"{tmp_path}/"]
    ended = Ended(argv)
    header, *rows = ended.out.splitlines()
    assert header.split()[4] == "layer"
    assert [row.split()[4] for row in rows] == ["relu1", "relu2"]
    names = {path.name.rpartition("_")[2] for path in tmp_path.iterdir()}
    assert names == {"relu1.png", "relu2.png"}
    by_option = ["--option", "layer=relu1", "--option", "layer=relu2", "--json"]
    reports = Ended(["explain", model, image, *by_option]).json
    assert [report["provenance"]["layer"] for report in reports] == ["relu1", "relu2"]


def test_a_picture_comes_from_stdin(model, image, tmp_path):
    argv = ["explain", model, "-", "--array", tmp_path / "a.npy", "--json"]
    reports = Ended(argv, stdin=image.read_bytes()).json
    assert reports[0]["image"] == "-"


def test_an_array_is_the_models_own_input(mlp, tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    (report,) = Ended(["explain", mlp, tmp_path / "x.npy", "--method", "saliency", "--json"]).json
    assert report["target"] == load(mlp).explain(tensor=x, method="saliency").target


def test_a_bad_picture_among_good_ones_is_named_and_the_others_are_explained(
    model, image, tmp_path
):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    ended = Ended(["explain", model, bad, image, "--json"])
    assert ended.code == ExitCode.USAGE
    assert [report["image"] for report in json.loads(ended.out)] == [str(image)]
    assert f"{bad}: " in ended.err


def test_methods_lists_every_method_and_option():
    assert [one["name"] for one in Ended(["methods", "--json"]).json] == [
        method.name for method in list_methods()
    ]
    table = Ended(["methods"]).out
    assert all(re.search(rf"^{method.name} ", table, re.MULTILINE) for method in list_methods())
    lime = Ended(["methods", "lime"]).out
    assert re.search(r"^n_samples +integer 2.*1000 +\S", lime, re.MULTILINE)


def test_every_option_has_a_flag():
    text = Ended(["explain", "--help"]).out
    for method in list_methods():
        for option in method.options:
            assert f"--{option.name.replace('_', '-')}" in text


def test_rewrite_writes_a_model_that_any_runtime_runs(model, tmp_path):
    out = tmp_path / "x.onnx"
    ended = Ended(["rewrite", model, "--method", "grad_cam", "--no-relu", "-o", out])
    assert ended.code == 0, ended.err
    onnx.checker.check_model(str(out), full_check=True)
    x = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
    (heatmap,) = session.run(["heatmap"], {"image": x, "target": np.array([2])})
    expected = load(model).explain(tensor=x, method="grad_cam", target=2, relu=False).heatmap
    np.testing.assert_array_equal(heatmap[0], expected)
    assert "heatmap" in ended.out


def test_rewrite_puts_weights_beside_a_model_too_large_for_one_file(model, tmp_path, monkeypatch):
    argv = ["rewrite", model, "--method", "gradient", "-o"]
    assert Ended([*argv, tmp_path / "whole.onnx"]).code == 0
    monkeypatch.setattr("onnxplain.clients.commands.rewrite._LARGEST_FILE", 1000)
    out, beside = tmp_path / "x.onnx", tmp_path / "x.onnx.data"
    beside.write_bytes(bytes(99_999))  # of an earlier run
    ended = Ended([*argv, out])
    assert ended.code == 0
    assert str(beside) in ended.err
    assert beside.stat().st_size < 50_000
    feeds = {"image": np.ones((1, 3, 32, 32), np.float32), "target": np.array([2])}
    expected, found = (
        ort.InferenceSession(path).run(["attribution"], feeds)
        for path in (tmp_path / "whole.onnx", out)
    )
    np.testing.assert_array_equal(found, expected)
    again = Ended(["inspect", out, "--json"])
    assert again.code == 0, again.err


def test_rewrite_writes_a_model_that_weighs_classes(model, tmp_path):
    out = tmp_path / "x.onnx"
    argv = ["rewrite", model, "--method", "gradient", "--target-kind", "weights", "-o", out]
    assert Ended(argv).code == 0
    x = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
    weights = np.array([[0, 1, -1, 0, 0]], np.float32)
    (found,) = session.run(["attribution"], {"image": x, "target_weights": weights})
    expected = load(model).explain(tensor=x[0], method="gradient", target={1: 1, 2: -1})
    np.testing.assert_array_equal(found[0], expected.attribution)


@pytest.mark.parametrize(
    "command", ["explain", "methods", "inspect", "rewrite", "serve", "demo", ""]
)
def test_help_is_there(command):
    ended = Ended([*([command] if command else []), "--help"])
    assert (ended.code, ended.err) == (0, "")
    assert "usage: onnxplain" in ended.out


def test_a_bar_is_drawn_on_a_terminal_only(model, image):
    argv = ["explain", model, image, "--method", "lime", "--n-samples", 20, "--segmenter", "grid"]
    words = Ended(argv).err
    shown = Ended(argv, stderr=Terminal()).err
    stages = list(dict.fromkeys(re.findall(r"\r([a-z]+) ", shown)))
    assert stages == ["load", "preprocess", "predict", "run", "samples"]
    assert "samples [" in shown
    assert shown.rpartition("\r\x1b[K")[2] == words


def test_a_bar_shows_how_far_the_work_is():
    terminal = Terminal()
    with ProgressBar(Environment(io.StringIO(), io.StringIO(), terminal)) as bar:
        bar(Progress("samples", 5, 10))
        bar(Progress("samples", 6, 10))
        bar(Progress("solve", 0, 0))
    shown = terminal.getvalue()
    assert f"samples [{'#' * 15}{' ' * 15}] 5/10" in shown
    assert "6/10" not in shown  # too soon after the other
    assert "\rsolve ..." in shown


def test_ctrl_c_ends_with_a_word(model, image, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxplain.explainers.Model.explain_all", interrupted)
    ended = Ended(["explain", model, image])
    assert (ended.code, ended.out, ended.err) == (ExitCode.INTERRUPTED, "", "interrupted\n")


def test_a_bug_shows_its_traceback_only_when_asked_for(model, image, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("oh")

    monkeypatch.setattr("onnxplain.explainers.Model.explain_all", broken)
    brief = Ended(["explain", model, image])
    assert brief.code == ExitCode.INTERNAL
    assert "Traceback" not in brief.err
    assert "Traceback" in Ended(["explain", model, image, "--debug"]).err


def test_values_for_the_channels_are_taken_together():
    method = get_method("deep_taylor")
    given = {"low": ["-1", "0", "0.5"], "high": ["2"]}
    resolved = method.resolve(parse_options(method, given))
    assert (resolved["low"], resolved["high"]) == ((-1.0, 0.0, 0.5), (2.0,))


@pytest.mark.parametrize(
    ("text", "n_targets", "first", "last"),
    [
        ("o.png", 1, "o.png", "o.png"),
        ("out/", 2, "out/cat_lime_0.png", "out/cat_lime_1.png"),
        ("{n}-{image}-{target}.png", 2, "1-cat-0.png", "1-cat-1.png"),
    ],
)
def test_results_have_the_files_asked_for(text, n_targets, first, last):
    files = OutputFiles(text, [".png"], ["pictures/cat.jpg"], n_targets)
    assert str(files.path(0, "lime", 0)) == first
    assert str(files.path(0, "lime", n_targets - 1)) == last


@pytest.mark.parametrize("text", ["o.png", "{image}.png", "{nonsense}.png", "{0}.png", "{.png"])
def test_files_that_would_overwrite_each_other_are_refused(text):
    with pytest.raises(UsageError):
        OutputFiles(text, [".png"], ["a/cat.jpg", "b/cat.jpg"], 1)
