import json

import numpy as np
import pytest
from onnxplain.clients.python import Client

from tests import models
from tests.running import RunningServer

LABELS = ["ant", "bee", "cat", "dog", "eel"]


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """A repository of small models, good ones and bad ones."""
    root = tmp_path_factory.mktemp("repository")
    for name, model in {"cnn": models.tiny_cnn(), "mlp": models.tiny_mlp()}.items():
        models.save(model, root / name / "1" / "model.onnx")
        (root / name / "preprocessing.json").write_text(json.dumps(models.PREPROCESSING))
        (root / name / "labels.txt").write_text("\n".join(LABELS))
    models.save(models.tiny_cnn(seed=2), root / "versions" / "2" / "model.onnx")
    models.save(models.tiny_cnn(seed=10), root / "versions" / "10" / "model.onnx")
    models.save(models.external_data_model("../../etc/passwd"), root / "evil" / "1" / "model.onnx")
    models.save(b"GIF89a is not ONNX", root / "not_onnx" / "1" / "model.onnx")
    (root / "hollow" / "notes").mkdir(parents=True)
    return root


@pytest.fixture(scope="session")
def server(repository):
    """The address of a running server of the repository."""
    arguments = ("--model-repository", repository, "--workers", 2)
    with RunningServer("--port", 0, *arguments) as running:
        yield running.address
        assert running.stop() == 0, running.lines


@pytest.fixture(scope="session")
def client(server):
    with Client(server) as client:
        yield client


@pytest.fixture(scope="session")
def picture():
    """A uint8 picture [40, 50, 3] with some structure."""
    y, x = np.mgrid[:40, :50]
    noise = np.random.default_rng(0).integers(0, 60, (40, 50, 3))
    waves = 80 * (1 + np.sin(np.stack([x / 5, y / 7, (x + y) / 9], axis=-1)))
    return (noise + waves).astype(np.uint8)
