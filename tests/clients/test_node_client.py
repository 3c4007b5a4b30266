"""The client in another language, where node and its packages are there (npm install)."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "clients" / "node" / "explain.mjs"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    NODE is None or not (SCRIPT.parent / "node_modules").is_dir(),
    reason="needs node, and npm install --prefix clients/node",
)


def explain(*arguments):
    command = [NODE, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def image(picture, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    return path


def test_node_explains_a_picture_as_python_does(server, client, image, tmp_path):
    output = tmp_path / "overlay.png"
    done = explain(server, "cnn", image, output, "saliency")
    assert (done.returncode, done.stderr) == (0, "")
    result = client.explain(image, model="cnn", method="saliency", overlay=True)
    row, column = np.unravel_index(result.heatmap.argmax(), result.heatmap.shape)
    assert f"saliency of {result.label} ({result.score:.3f}): " in done.stdout
    assert f"row {row}, column {column} of 32 x 32" in done.stdout
    with Image.open(output) as one, Image.open(io.BytesIO(result.overlay_png)) as other:
        assert one.size == other.size


def test_node_says_what_went_wrong(server, image, tmp_path):
    done = explain(server, "cmn", image, tmp_path / "overlay.png")
    assert done.returncode == 1
    assert done.stderr.startswith("NOT_FOUND: there is no model 'cmn' here; did you mean cnn?")
