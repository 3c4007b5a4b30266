"""Methods of several pictures, by the command line and by a server."""

import json

import numpy as np
import pytest
from onnxplain.clients.python import ExplainError
from onnxplain.graph_rewrites import InvalidArgument
from onnxplain.proto.explain_pb2 import ExplainRequest
from onnxplain.proto.types_pb2 import EncodedImage, Input, ModelRef, Tensor
from onnxplain.server.requests import read_request
from PIL import Image

from tests.commands import Ended
from tests.conftest import LABELS
from tests.models import PREPROCESSING

FEW = ["--n-segments", 4, "--n-samples", 20]
OPTIONS = {
    "sp_lime": [*FEW, "--n-picks", 2, "--segmenter", "grid"],
    "k_lime": [*FEW, "--min-members", 2, "--n-clusters", 2, "--target", "top2"],
    "lime_sup": [*FEW, "--min-members", 2, "--max-depth", 1, "--target", "bee"],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six pictures, half of them bright."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for n in range(6):
        pixels = random.integers(0, 100, (40, 50, 3)) + 150 * (n % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{n}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(("method", "options"), OPTIONS.items())
def test_pictures_are_explained_together_and_drawn(method, options, model, images, tmp_path):
    out = tmp_path / "{n}_{method}_{target}.png"
    argv = ["explain", model, *images, "--method", method, *options, "--json", "-o", out]
    reports = Ended(argv).json
    n_targets = 2 if method == "k_lime" else 1
    assert len(reports) == 6 * n_targets
    assert [report["image"] for report in reports[::n_targets]] == list(map(str, images))
    summary = reports[0]["summary"]
    assert all(report["summary"] == summary for report in reports[::n_targets])
    drawn = [report["files"]["summary"] for report in reports[:n_targets]]
    assert drawn == [
        str(tmp_path / f"0_{method}_{one['target']}.png") for one in reports[:n_targets]
    ]
    for path in drawn:
        with Image.open(path) as picture:
            assert min(picture.size) > 224
    assert not any("summary" in report["files"] for report in reports[n_targets:])
    if method != "sp_lime":
        leaves = [group for group in summary["groups"] if not group["split"]]
        # Bright pictures and dark ones are apart.
        assert sorted(group["members"] for group in leaves) == [[0, 2, 4], [1, 3, 5]]


def test_the_drawing_beside_a_single_file_has_a_name_of_its_own(model, images, tmp_path):
    argv = ["explain", model, images[0], "--method", "k_lime", *FEW, "-o", tmp_path / "a.png"]
    assert Ended(argv).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a_all.png"}


@pytest.fixture
def arrays(tmp_path):
    """Six inputs of the model, half of them bright."""
    random = np.random.default_rng(0)
    for n in range(6):
        np.save(tmp_path / f"{n}.npy", random.random((1, 3, 32, 32), np.float32) - n % 2)
    return [tmp_path / f"{n}.npy" for n in range(6)]


def test_arrays_are_explained_together_here_and_by_a_server(arrays, repository, client, server):
    local = [repository / "cnn" / "1" / "model.onnx"]
    local += ["--preprocessing", repository / "cnn" / "preprocessing.json"]
    argv = [*arrays, "--method", "k_lime", "--min-members", 2, "--n-clusters", 2, "--json"]
    here = Ended(["explain", *local, *argv]).json
    there = Ended(["explain", "cnn", "--server", server, *argv]).json
    tensor = np.concatenate([np.load(path) for path in arrays])
    asked = {"model": "cnn", "method": "k_lime", "min_members": 2, "n_clusters": 2}
    found = client.explain(tensor=tensor, **asked)
    assert len(here) == len(there) == len(found) == 6
    for reports in (here, there, [one.to_dict() for one in found]):
        groups = reports[0]["summary"]["groups"]
        assert sorted(group["members"] for group in groups) == [[0, 2, 4], [1, 3, 5]]


def test_inputs_that_are_not_of_one_kind_are_not_explained_together(
    arrays, images, model, client, tmp_path
):
    other = tmp_path / "other.npy"
    np.save(other, np.zeros((3, 30, 32), np.float32))
    for mixed, said in (
        ([arrays[0], images[0]], "pictures and .npy arrays are not explained together"),
        ([arrays[0], other], "each .npy array holds one input, all of one shape"),
    ):
        ended = Ended(["explain", model, *mixed, "--method", "k_lime"])
        assert (ended.code, said in ended.err) == (2, True)
    with pytest.raises(ExplainError, match="lrp explains one input a call; this tensor holds 2"):
        client.explain(tensor=np.zeros((2, 3, 32, 32)), model="cnn", method="lrp")


@pytest.mark.parametrize(("method", "options"), OPTIONS.items())
def test_a_server_gives_the_same(method, options, repository, server, images, tmp_path):
    preprocessing = tmp_path / "labelled.json"
    preprocessing.write_text(json.dumps(PREPROCESSING | {"labels": LABELS}))
    local = [repository / "cnn" / "1" / "model.onnx", "--preprocessing", preprocessing]
    argv = [*images, "--method", method, *options, "--json"]
    here = Ended(["explain", *local, *argv, "-o", f"{tmp_path}/here/"]).json
    there = Ended(["explain", "cnn", "--server", server, *argv, "-o", f"{tmp_path}/there/"]).json
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        for name in ("image", "target", "score", "summary", "measures"):
            assert one[name] == other[name], name
        scores = [[score["logit"] for score in x["prediction"]["top"]] for x in (one, other)]
        assert scores[0] == scores[1]
        for kind, path in one["files"].items():
            with Image.open(path) as drawn, Image.open(other["files"][kind]) as sent:
                np.testing.assert_array_equal(np.asarray(drawn), np.asarray(sent))


def test_a_set_is_asked_of_the_methods_that_take_one(client, images):
    with pytest.raises(ExplainError, match="explains every input on its own") as caught:
        client.explain(images, model="cnn", method="lime")
    assert [one.subject for one in caught.value.violations] == ["further_inputs"]
    found = client.explain(images[:1], model="cnn", method="k_lime", n_samples=20)
    assert [one.summary["kind"] for one in found] == ["clusters"]


@pytest.mark.parametrize(
    ("first", "further", "field"),
    [
        (Input(image=EncodedImage(data=b"x")), Input(), "further_inputs[0]"),
        (Input(tensor=Tensor()), Input(image=EncodedImage(data=b"x")), "further_inputs"),
        (
            Input(image=EncodedImage(data=b"x")),
            Input(image=EncodedImage(data=b"x"), preset="imagenet"),
            "further_inputs[0]",
        ),
    ],
)
def test_further_inputs_are_pictures_prepared_like_the_first(first, further, field):
    request = ExplainRequest(model=ModelRef(name="cnn"), input=first, further_inputs=[further])
    request.method.k_lime.SetInParent()
    with pytest.raises(InvalidArgument) as caught:
        read_request(request, max_targets=1)
    assert field in [violation.subject for violation in caught.value.violations]
