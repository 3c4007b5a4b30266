import json

import pytest

from tests import models


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory):
    """A model that takes a good part of a second per image, with its preprocessing beside it."""
    path = tmp_path_factory.mktemp("slow") / "slow.onnx"
    models.save(models.slow_cnn(), path)
    resize = {"size": [128, 128], "filter": "bilinear"}
    path.with_suffix(".json").write_text(json.dumps(models.PREPROCESSING | {"resize": resize}))
    return path


@pytest.fixture
def endless():
    """Arguments of a call that would take hours."""
    options = {"n_samples": 100_000, "segmenter": "grid", "batch_size": 1}
    return {"model": "slow", "method": "lime", **options}
