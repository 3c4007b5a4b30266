"""The strongest segments as a picture: drawn here and by a server, refused where there are none."""

import json

import numpy as np
import pytest
from onnxplain.clients.python import ExplainError
from onnxplain.explainers import load
from onnxplain.explainers.rendering import strongest_segments
from PIL import Image

from tests.commands import Ended
from tests.conftest import LABELS
from tests.models import PREPROCESSING

LIME = ["--method", "lime", "--n-samples", 40, "--segmenter", "grid", "--n-segments", 9]


def test_each_target_has_a_picture_of_its_strongest_segments(repository, server, image, tmp_path):
    preprocessing = tmp_path / "labelled.json"
    preprocessing.write_text(json.dumps(PREPROCESSING | {"labels": LABELS}))
    model = repository / "cnn" / "1" / "model.onnx"
    argv = [image, *LIME, "--target", "top3", "--show", 2, "--json"]
    local = ["--preprocessing", preprocessing, "-o", f"{tmp_path}/here/"]
    here = Ended(["explain", model, *argv, *local]).json
    there = Ended(["explain", "cnn", "--server", server, *argv, "-o", f"{tmp_path}/there/"]).json
    options = {"n_samples": 40, "segmenter": "grid", "n_segments": 9}
    explained = load(model, preprocessing=PREPROCESSING).explain(
        image, method="lime", target="top3", **options
    )
    assert len(explained) == 3
    for one, drawn, sent in zip(explained, here, there, strict=True):
        expected = strongest_segments(one.picture, one.segments, one.coefficients, show=2)
        for report in (drawn, sent):
            with Image.open(report["files"]["picture"]) as found:
                np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize(
    ("method", "show", "said"),
    [("saliency", 3, "saliency does not here"), ("lime", 0, "show 0 is below 1")],
)
def test_segments_to_show_are_refused_where_there_are_none(
    method, show, said, repository, client, image, picture, tmp_path
):
    model = repository / "cnn" / "1" / "model.onnx"
    argv = ["--preprocessing", repository / "cnn" / "preprocessing.json", "--method", method]
    ended = Ended(["explain", model, image, *argv, "--show", show, "-o", tmp_path / "a.png"])
    assert ended.code == 2
    assert said in ended.err
    with pytest.raises(ExplainError, match=said) as caught:
        client.explain(picture, model="cnn", method=method, overlay={"show": show})
    assert [one.subject for one in caught.value.violations] == ["output.overlay.show"]
