"""What a command works on: models in files, a picture."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import models
from tests.conftest import LABELS


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = models.save(models.tiny_cnn(), tmp_path_factory.mktemp("models") / "cnn.onnx")
    path.with_suffix(".json").write_text(json.dumps(models.PREPROCESSING | {"labels": LABELS}))
    return path


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    return models.save(models.tiny_mlp(), tmp_path_factory.mktemp("models") / "mlp.onnx")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path
