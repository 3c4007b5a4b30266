"""The documents say what is so: tables are up to date, links lead somewhere, examples run."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import RunningServer

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def shell_lines(start):
    lines = [line for block in blocks("") for line in block.splitlines()]
    return [line for line in lines if line.startswith(start)]


def test_generated_pages_are_up_to_date():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for path, text in generate.pages().items():
        assert path.read_text("utf-8") == text, f"{path.name}: run {generate.COMMAND}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    text = document.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)\s#]+)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """A folder in which the README's installation steps have been done; runs commands there."""
    home = tmp_path_factory.mktemp("readme")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def run(*command):
        environment = os.environ | {"PATH": path}
        done = subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    for line in shell_lines("python "):
        run(*shlex.split(line))
    run.home = home
    return run


@pytest.mark.parametrize(
    "command", [line for line in shell_lines("onnxplain ") if " serve " not in line]
)
def test_the_readmes_commands_run(command, at_home):
    assert at_home(*shlex.split(command))


def test_the_readmes_python_runs(at_home):
    remote, local = sorted(blocks("python"), key=lambda block: "Client" not in block)
    assert "tabby" in at_home("python", "-c", local)
    assert (at_home.home / "tabby.png").is_file()
    model = at_home.home / "efficientnet_lite0.onnx"
    with RunningServer("--port", 0, "--model", f"efficientnet_lite0={model}") as server:
        at_home("python", "-c", remote.replace("localhost:50051", server.address))
        assert server.stop() == 0
    assert (at_home.home / "cat_grad_cam.png").is_file()
