"""Models on another server: the same maps as in process, within its limits and ours."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxplain.clients.cli import main
from onnxplain.clients.commands.environment import Environment
from onnxplain.explainers import Control, load
from onnxplain.graph_rewrites import (
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from onnxplain.server.remote import load_remote
from PIL import Image

from tests.models import PREPROCESSING, save, tiny_mlp
from tests.runs import PHOTO

oip = pytest.importorskip("tests.oip", exc_type=ImportError)

OPTIONS = {
    "lime": {"n_samples": 60, "n_segments": 9},
    "kernel_shap": {"n_samples": 60, "n_segments": 9},
    "rise": {"n_samples": 60},
    "occlusion": {},
    "sensitivity": {"granularity": "patch", "step": 0.1, "score": "probability"},
}
RISE = {"method": "rise", "target": 1, "n_samples": 40}


def taking(dtype, *, nhwc=False, batch="N"):
    """An MLP whose image is of another type or layout."""
    model = tiny_mlp(batch=batch)
    (image,) = model.graph.input
    image.name = "pixels"
    image.type.tensor_type.elem_type = dtype
    nodes = [helper.make_node("Cast", ["pixels"], ["image"], to=TensorProto.FLOAT)]
    if nhwc:
        nodes[0].output[0] = "upright"
        nodes.append(helper.make_node("Transpose", ["upright"], ["image"], perm=[0, 3, 1, 2]))
        dims = [batch, 32, 32, 3]
        image.CopyFrom(helper.make_tensor_value_info("pixels", dtype, dims))
    own = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + own)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def both(model, address, preprocessing=PREPROCESSING, **options):
    """The model in process and the same one behind the server."""
    local = load(model, preprocessing=preprocessing)
    return local, load_remote(f"oip://{address}/net", preprocessing=preprocessing, **options)


@pytest.mark.parametrize("method", OPTIONS)
@pytest.mark.parametrize("softmax", [True, False])
def test_every_method_of_forward_passes_gives_the_map_of_the_process(method, softmax):
    model = tiny_mlp(softmax=softmax).SerializeToString()
    with oip.serving(oip.OipServer(model)) as address:
        local, remote = both(model, address)
        for given in ({"image": PHOTO}, {"tensor": np.random.default_rng(0).random((3, 32, 32))}):
            expected, found = (
                one.explain(**given, method=method, target=2, **OPTIONS[method])
                for one in (local, remote)
            )
            scale = np.abs(expected.heatmap).max()
            np.testing.assert_allclose(found.heatmap, expected.heatmap, atol=1e-5 * scale)
            assert found.score == pytest.approx(expected.score, rel=1e-5)
            assert found.provenance.provider == f"oip://{address}"
            assert found.provenance.model_name == "net"


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (TensorProto.FLOAT, "float32"),
        (TensorProto.DOUBLE, "float64"),
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.UINT8, "uint8"),
    ],
)
@pytest.mark.parametrize("nhwc", [False, True])
def test_images_travel_in_the_type_and_layout_the_server_asks_for(dtype, name, nhwc, raw):
    layout = "NHWC" if nhwc else "NCHW"
    preprocessing = PREPROCESSING | {"dtype": name, "layout": layout, "range": [0, 5]}
    model = taking(dtype, nhwc=nhwc)
    with oip.serving(oip.OipServer(model, raw=raw)) as address:
        local, remote = both(model, address, preprocessing)
        expected, found = (one.explain(PHOTO, **RISE) for one in (local, remote))
        assert remote.inputs == local.inputs
    np.testing.assert_allclose(found.heatmap, expected.heatmap, rtol=1e-4)


@pytest.mark.parametrize(
    ("server", "model", "options", "largest"),
    [
        pytest.param({"max_batch": 5}, {}, {}, 5, id="Triton's max_batch_size"),
        pytest.param({"refused_from": 3}, {}, {}, 2, id="found out by measuring"),
        pytest.param({}, {}, {"max_batch": 3}, 3, id="the caller's"),
        pytest.param({}, {"batch": 4}, {}, 4, id="fixed in the model"),
    ],
)
def test_no_batch_is_larger_than_the_server_takes(server, model, options, largest):
    model = tiny_mlp(**model).SerializeToString()
    servicer = oip.OipServer(model, **server)
    with oip.serving(servicer) as address:
        local, remote = both(model, address, **options)
        measured = remote.explain(PHOTO, **RISE)
        given = {} if "refused_from" in server else {"batch_size": 64}
        servicer.batches.clear()
        found = remote.explain(PHOTO, **RISE, **given)
    assert max(servicer.batches) <= largest
    assert measured.provenance.batch_size <= largest
    assert found.provenance.batch_size == max(servicer.batches)
    np.testing.assert_allclose(found.heatmap, local.explain(PHOTO, **RISE).heatmap, rtol=1e-4)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_so_many_requests_are_on_their_way_and_no_more(in_flight):
    servicer = oip.OipServer(tiny_mlp().SerializeToString(), seconds=0.02)
    with oip.serving(servicer) as address:
        remote = load_remote(f"oip://{address}/net", in_flight=in_flight)
        remote.explain(tensor=np.ones((3, 32, 32)), **RISE, batch_size=2)
    assert servicer.most_at_once == in_flight


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_server_that_is_away_for_a_moment_changes_nothing(code):
    servicer = oip.OipServer(tiny_mlp().SerializeToString())
    with oip.serving(servicer) as address:
        remote = load_remote(f"oip://{address}/net", preprocessing=PREPROCESSING)
        expected = remote.explain(PHOTO, **RISE, batch_size=8)
        servicer.failures = [code] * 3
        found = remote.explain(PHOTO, **RISE, batch_size=8)
    np.testing.assert_array_equal(found.heatmap, expected.heatmap)
    assert servicer.failures == []


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable, "REMOTE_UNAVAILABLE"),
        (grpc.StatusCode.NOT_FOUND, NotFound, "REMOTE_NOT_FOUND"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted, "REMOTE_EXHAUSTED"),
        (grpc.StatusCode.INTERNAL, FailedPrecondition, "REMOTE_FAILED"),
        (grpc.StatusCode.INVALID_ARGUMENT, FailedPrecondition, "REMOTE_FAILED"),
    ],
)
def test_what_the_server_says_becomes_a_typed_error(code, error, reason):
    servicer = oip.OipServer(tiny_mlp().SerializeToString())
    with oip.serving(servicer) as address:
        remote = load_remote(f"oip://{address}/net", retries=1)
        servicer.failures = [code] * 20
        with pytest.raises(error, match="as the test wants") as caught:
            remote.predict(tensor=np.ones((3, 32, 32)))
    assert caught.value.reason == reason
    assert address in caught.value.message
    assert "secret" not in caught.value.message
    assert len(servicer.failures) == (18 if error is Unavailable else 19)


def test_an_answer_that_takes_too_long_is_given_up():
    servicer = oip.OipServer(tiny_mlp().SerializeToString())
    with oip.serving(servicer) as address:
        remote = load_remote(f"oip://{address}/net", timeout=0.3)
        servicer.seconds = 1.0
        with pytest.raises(Unavailable, match=r"did not answer within 0\.3 s") as caught:
            remote.predict(tensor=np.ones((3, 32, 32)))
    assert caught.value.reason == "REMOTE_TIMEOUT"


def test_cancelling_ends_it_within_a_batch():
    servicer = oip.OipServer(tiny_mlp().SerializeToString())
    with oip.serving(servicer) as address:
        remote = load_remote(f"oip://{address}/net")
        servicer.seconds = 0.6
        control = Control()
        threading.Timer(0.2, control.cancel).start()
        start = time.monotonic()
        with pytest.raises(Cancelled):
            remote.explain(tensor=np.ones((3, 32, 32)), **RISE, batch_size=1, control=control)
        assert time.monotonic() - start < 0.5


@pytest.mark.parametrize("retries", [0, 2])
def test_a_server_killed_meanwhile_is_said_to_be_unavailable(tmp_path, retries):
    path = save(tiny_mlp(), tmp_path / "net.onnx")
    command = [sys.executable, "-m", "tests.oip", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        remote = load_remote(f"oip://{address}/net", timeout=5, retries=retries)

        def kill(progress):
            if progress.done >= 20:
                process.kill()

        start = time.monotonic()
        with pytest.raises(Unavailable, match="is unavailable") as caught:
            remote.explain(
                tensor=np.ones((3, 32, 32)),
                method="lime",
                n_samples=100_000,
                batch_size=4,
                control=Control(kill),
            )
        assert time.monotonic() - start < 5
    assert caught.value.reason == "REMOTE_UNAVAILABLE"
    assert caught.value.metadata["address"] == address


def test_methods_of_the_graph_are_refused_by_name():
    with oip.serving(oip.OipServer(tiny_mlp().SerializeToString())) as address:
        remote = load_remote(f"oip://{address}/net")
        for method in ("grad_cam", "lrp", "integrated_gradients"):
            with pytest.raises(
                FailedPrecondition, match=f"{method} does not apply.* use .*lime"
            ) as caught:
                remote.explain(tensor=np.ones((3, 32, 32)), method=method)
            assert caught.value.reason == "GRAPH_UNAVAILABLE"
        applies = {one.method: one.applies for one in remote.applicability()}
    assert {name for name in OPTIONS if applies[name]} == OPTIONS.keys()
    assert not applies["saliency"]
    assert remote.feature_layer is None


def test_logits_are_unknown_where_the_server_gives_probabilities():
    with oip.serving(oip.OipServer(tiny_mlp().SerializeToString())) as address:
        remote = load_remote(f"oip://{address}/net")
        with pytest.raises(FailedPrecondition, match="score=probability"):
            remote.explain(tensor=np.ones((3, 32, 32)), method="sensitivity")


FLOATS = {"name": "x", "datatype": "FP32", "shape": [-1, 3, 32, 32]}
SCORES = {"name": "y", "datatype": "FP32", "shape": [-1, 5]}


@pytest.mark.parametrize(
    ("inputs", "outputs", "options", "reason", "words"),
    [
        ([], [SCORES], {}, "NO_IMAGE_INPUT", "takes nothing"),
        ([FLOATS, FLOATS | {"name": "z"}], [SCORES], {}, "NO_IMAGE_INPUT", "one input"),
        ([FLOATS | {"shape": [-1, 9]}], [SCORES], {}, "NO_IMAGE_INPUT", r"x FP32 \[-1, 9\]"),
        ([FLOATS | {"datatype": "INT64"}], [SCORES], {}, "NO_IMAGE_INPUT", "INT64"),
        ([FLOATS | {"shape": [-1, 3, 8, 3]}], [SCORES], {}, "LAYOUT_UNKNOWN", "give layout"),
        ([FLOATS], [SCORES | {"datatype": "BYTES"}], {}, "NO_SCORE_OUTPUT", "y BYTES"),
        ([FLOATS], [SCORES], {"output": "top"}, "NO_SCORE_OUTPUT", "no 'top'"),
    ],
)
def test_metadata_that_fit_no_classifier_of_images_are_refused(
    inputs, outputs, options, reason, words
):
    servicer = oip.OipServer(tiny_mlp().SerializeToString())
    servicer.metadata = oip.pb.ModelMetadataResponse(inputs=inputs, outputs=outputs)
    with (
        oip.serving(servicer) as address,
        pytest.raises(FailedPrecondition, match=words) as caught,
    ):
        load_remote(f"oip://{address}/net", **options)
    assert caught.value.reason == reason


def test_one_score_between_0_and_1_needs_a_word():
    model = tiny_mlp(classes=1, softmax=False)
    model.graph.node.add(op_type="Sigmoid", input=["logits"], output=["p"], name="p")
    model.graph.output[0].name = "p"
    with oip.serving(oip.OipServer(model.SerializeToString())) as address:
        with pytest.raises(FailedPrecondition, match="give activation") as caught:
            load_remote(f"oip://{address}/net")
        remote = load_remote(f"oip://{address}/net", activation="sigmoid")
        found = remote.predict(tensor=np.ones((3, 32, 32)))
    assert caught.value.reason == "ACTIVATION_UNKNOWN"
    expected = load(model).predict(tensor=np.ones((3, 32, 32)))
    assert found.top[0].probability == pytest.approx(expected.top[0].probability, rel=1e-5)


@pytest.mark.parametrize("url", ["oip://host/net", "oip://host:1", "http://host:1/net", "net.onnx"])
def test_other_addresses_are_refused(url):
    with pytest.raises(InvalidArgument, match="oip://HOST:PORT/MODEL") as caught:
        load_remote(url)
    assert caught.value.reason == "URL_INVALID"


def test_there_may_be_no_such_model_or_no_such_server():
    with (
        oip.serving(oip.OipServer(tiny_mlp().SerializeToString())) as address,
        pytest.raises(NotFound, match="unknown model") as caught,
    ):
        load_remote(f"oip://{address}/missing")
    assert caught.value.metadata["resource_name"] == "missing"
    with pytest.raises(Unavailable):
        load_remote(f"oip://{address}/net", retries=1)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxplain.server.neighbour", None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'onnxplain\[remote\]'") as caught:
        load_remote("oip://127.0.0.1:1/net")
    assert caught.value.reason == "REMOTE_NOT_INSTALLED"


def test_the_command_line_explains_a_remote_model(tmp_path):
    (tmp_path / "net.json").write_text(json.dumps(PREPROCESSING))
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    environment = Environment(sys.stdin, io.StringIO(), io.StringIO())
    with oip.serving(oip.OipServer(tiny_mlp().SerializeToString())) as address:
        words = ["explain", f"oip://{address}/net", tmp_path / "photo.png", "--method", "lime"]
        words += ["--preprocessing", tmp_path / "net.json", "--json", "-o", tmp_path / "out.png"]
        code = main([str(word) for word in words], environment)
    assert code == 0, environment.stderr.getvalue()
    (found,) = json.loads(environment.stdout.getvalue())
    assert found["provenance"]["provider"] == f"oip://{address}"
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
