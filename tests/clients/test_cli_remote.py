"""The command line and models on other servers."""

import json

import numpy as np
import pytest
from onnxplain.explainers import load

from tests.commands import Ended
from tests.models import PREPROCESSING, tiny_mlp

oip = pytest.importorskip("tests.oip", exc_type=ImportError)

RISE = ["--method", "rise", "--n-samples", 20, "--target", 1]


def test_a_model_on_another_server_is_explained_as_its_flags_say(image, tmp_path):
    preprocessing = tmp_path / "how.json"
    preprocessing.write_text(json.dumps(PREPROCESSING))
    model = tiny_mlp(softmax=False).SerializeToString()
    servicer = oip.OipServer(model)
    flags = ["--activation", "softmax", "--batch-timeout", 20, "--max-batch", 3, "--in-flight", 2]
    with oip.serving(servicer) as address:
        argv = ["explain", f"oip://{address}/net", image, "--preprocessing", preprocessing]
        (report,) = Ended([*argv, *RISE, *flags, "--array", tmp_path / "a.npy", "--json"]).json
    assert report["provenance"]["provider"] == f"oip://{address}"
    assert max(servicer.batches) <= 3
    assert servicer.most_at_once <= 2
    expected = load(model, preprocessing=PREPROCESSING).explain(
        image, method="rise", n_samples=20, target=1, score="logit"
    )  # which the flag says are probabilities
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), expected.heatmap, atol=1e-6)


@pytest.mark.parametrize(
    ("place", "flags", "said"),
    [
        ("oip://localhost:1/net", ["--threads", 2], "the other server's own"),
        ("oip://localhost:1/net", ["--provider", "cpu"], "the other server's own"),
        ("file", ["--max-batch", 2, "--in-flight", 1], "--max-batch, --in-flight: for a model on"),
        ("server", ["--activation", "none"], "models on other servers is the server's own"),
    ],
)
def test_flags_that_would_be_without_effect_are_refused(place, flags, said, model, image):
    argv = {"file": [model], "server": ["net", "--server", "localhost:1"]}.get(place, [place])
    ended = Ended(["explain", *argv, image, *RISE, *flags])
    assert (ended.code, said in ended.err) == (2, True)
