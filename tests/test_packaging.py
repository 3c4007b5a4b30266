"""The wheel: our files and no others, and all that an environment without the checkout needs."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.test_imports import FOLDERS

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
DATA = ("*.proto", "*.pyi", "*.json", "py.typed")


def run(*command, cwd, path=None):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ours(*patterns):
    """The files of our folders with such names, caches and Node's packages left out."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for pattern in patterns
        for path in (ROOT / folder).rglob(pattern)
        if not {"__pycache__", "node_modules", "node"} & set(path.parts)
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build it from a copy, so that what lies about in the checkout has no part in it."""
    folder = tmp_path_factory.mktemp("build")
    skipped = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder / "source")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", "..", cwd=folder / "source")
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel installed; its dependencies come from the tests' environment."""
    target = tmp_path_factory.mktemp("installed")
    flags = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(target)]
    run("-m", "pip", "--disable-pip-version-check", "install", *flags, str(wheel), cwd=target)
    return target


def test_every_folder_with_python_files_is_a_listed_package():
    folders = {Path(name).parent for name in ours("*.py")}
    named = {".".join(("onnxplain", *folder.parts)) for folder in folders}
    assert named == set(SETTINGS["packages"])
    assert SETTINGS["package-dir"] == {f"onnxplain.{folder}": folder for folder in FOLDERS}


def test_the_wheel_holds_our_python_and_data_files_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - info == {f"onnxplain/{name}" for name in ours("*.py", *DATA)}
    licences = {Path(name).name for name in info if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_every_module_of_the_wheel_imports_outside_the_checkout(installed, tmp_path):
    files = {name for name in ours("*.py") if not name.endswith("__main__.py")}
    modules = {name.removesuffix(".py").removesuffix("/__init__") for name in files}
    code = f"""
import importlib
for name in {sorted(modules)}:
    print(importlib.import_module("onnxplain." + name.replace("/", ".")).__file__)
"""
    places = run("-c", code, cwd=tmp_path, path=installed).split()
    assert {Path(place) for place in places} == {installed / "onnxplain" / name for name in files}


def test_the_command_line_of_the_wheel_works_outside_the_checkout(installed, tmp_path):
    listed = run("-m", "onnxplain.clients.cli", "methods", cwd=tmp_path, path=installed)
    assert "grad_cam" in listed
    assert "lime" in listed


def test_the_wheel_rewrites_a_model_outside_the_checkout(installed, tmp_path):
    shutil.copy(ROOT / "tests/golden/models/lenet_tanh.onnx", tmp_path / "model.onnx")
    code = """
import onnx
from onnxplain.graph_rewrites import rewrite
graph = rewrite("model.onnx", "saliency").graph
print([output.name for output in graph.output])
"""
    outputs = ast.literal_eval(run("-c", code, cwd=tmp_path, path=installed))
    assert {"attribution", "heatmap"} <= set(outputs)
