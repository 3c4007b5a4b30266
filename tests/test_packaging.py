"""The wheel holds the package, whole and alone, and works without the checkout."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import onnx
import pytest

from tests import models

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS = PROJECT["tool"]["setuptools"]["package-dir"]
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
DATA = {".proto", ".pyi", ".json", ".typed"}


def folder_of(package):
    """The folder, in the checkout, of a package such as onnxplain.clients.python."""
    top, *rest = package.removeprefix("onnxplain.").split(".")
    return ROOT.joinpath(FOLDERS[f"onnxplain.{top}"], *rest)


def listed_files():
    """What the wheel is to hold: every module and data file of the listed packages."""
    return {
        "/".join([*package.split("."), path.name])
        for package in PACKAGES
        for path in folder_of(package).iterdir()
        if path.suffix in DATA | {".py"}
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: the build writes beside what it reads."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for package in PACKAGES:
        target = copy / folder_of(package).relative_to(ROOT)
        target.mkdir(parents=True, exist_ok=True)
        for path in folder_of(package).iterdir():
            if path.is_file():
                (target / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's files, and only them, as pip lays them down."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-compile", "--target", target, wheel], check=True)
    return target


def outside(installed, cwd, *arguments):
    """Run Python where neither the checkout nor its editable install can be imported."""
    # PYTHONPATH runs no .pth file, so the editable install of the checkout is not found.
    site_packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), site_packages])}
    return subprocess.run(
        [sys._base_executable, "-P", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_listed_package_exists_and_every_package_is_listed():
    present = {
        ".".join(["onnxplain", *path.relative_to(ROOT).parts])
        for folder in FOLDERS.values()
        for path in [ROOT / folder, *(ROOT / folder).rglob("*")]
        if path.is_dir() and "node_modules" not in path.parts and any(path.glob("*.py"))
    }
    assert present == set(PACKAGES)
    assert len(PACKAGES) == len(set(PACKAGES))


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - metadata == listed_files()
    base = {name.split("/", 1)[1] for name in metadata}
    assert {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt", "METADATA"} <= base


def test_every_folder_says_that_it_is_typed(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert [f"onnxplain/{name}/py.typed" in names for name in FOLDERS.values()] == [True] * 5


def test_every_module_installed_imports_outside_the_checkout(installed, tmp_path):
    files = {name for name in listed_files() if name.endswith(".py")} - {
        "onnxplain/server/__main__.py",
    }
    names = sorted(name.removesuffix(".py").removesuffix("/__init__") for name in files)
    code = f"""
import importlib
for name in {names}:
    print(importlib.import_module(name.replace("/", ".")).__file__)
"""
    done = outside(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert {Path(place) for place in done.stdout.split()} == {installed / name for name in files}


def test_what_is_installed_rewrites_outside_the_checkout(installed, tmp_path):
    model = models.save(models.tiny_cnn(), tmp_path / "cnn.onnx")
    arguments = ["rewrite", model, "--method", "saliency", "-o", tmp_path / "saliency.onnx"]
    done = outside(installed, tmp_path, "-m", "onnxplain.clients.cli", *arguments)
    assert done.returncode == 0, done.stderr
    outputs = {output.name for output in onnx.load(tmp_path / "saliency.onnx").graph.output}
    assert {"attribution", "heatmap"} < outputs


def test_what_is_installed_explains_outside_the_checkout(installed, tmp_path):
    model = models.save(models.tiny_cnn(), tmp_path / "cnn.onnx")
    code = (
        "import numpy as np; np.save('x.npy', np.full((3, 32, 32), 0.5, np.float32));"
        "import onnxplain.clients.cli as cli; print(cli.__file__);"
        f"raise SystemExit(cli.main(['explain', {str(model)!r}, 'x.npy', '--array', 'a.npy']))"
    )
    done = outside(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed / "onnxplain"))
    assert (tmp_path / "a.npy").is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "onnxplain.server", "--help"],
        ["-m", "onnxplain.clients.cli", "methods"],
        [
            "-c",
            "from onnxplain.clients.demo import efficientnet_lite0 as e; e.preprocessing_json()",
        ],
        ["-c", "import proto; assert proto.Message; assert 'site-packages' in proto.__file__"],
    ],
    ids=["server", "cli", "data files", "proto-plus"],
)
def test_what_is_installed_runs_outside_the_checkout(arguments, installed, tmp_path):
    done = outside(installed, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
