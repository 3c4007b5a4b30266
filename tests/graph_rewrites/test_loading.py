"""Models are read without being trusted."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxplain.explainers import load
from onnxplain.graph_rewrites import FailedPrecondition, NotFound, read_model

from tests.models import external_data_model, save, tiny_cnn


def refusal(source, **limits):
    with pytest.raises((FailedPrecondition, NotFound)) as refused:
        read_model(source, **limits)
    return refused.value


def with_foreign_operators():
    model = tiny_cnn()
    model.graph.node[1].domain = model.graph.node[3].domain = "evil.corp"
    model.opset_import.append(helper.make_opsetid("evil.corp", 1))
    return model


def with_opset(version):
    model = tiny_cnn()
    model.opset_import[0].version = version
    return model


def test_path_bytes_and_model_are_the_same_model(tmp_path):
    model = tiny_cnn()
    path = save(model, tmp_path / "model.onnx")
    for source in (path, str(path), path.read_bytes(), model):
        assert read_model(source).SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"{}", tiny_cnn().SerializeToString()[:200], b"\x08\x07"]
)
def test_what_is_no_onnx_model_is_refused(data):
    assert refusal(data).reason == "NOT_ONNX"


def test_a_missing_file_is_named_without_its_folder(tmp_path):
    error = refusal(tmp_path / "missing.onnx")
    assert error.reason == "MODEL_FILE_NOT_FOUND"
    assert "missing.onnx" in error.message
    assert str(tmp_path) not in error.message


def test_a_model_above_the_limit_is_refused_before_it_is_parsed(tmp_path):
    path = save(tiny_cnn(), tmp_path / "model.onnx")
    for source in (path, path.read_bytes()):
        assert refusal(source, max_bytes=100).reason == "MODEL_TOO_LARGE"


def test_foreign_operators_are_all_named_unless_allowed():
    error = refusal(with_foreign_operators())
    assert error.reason == "MODEL_UNSAFE"
    assert [violation.description for violation in error.violations] == [
        "operator evil.corp::Relu"
    ] * 2
    read_model(with_foreign_operators(), allow_domains=["evil.corp"])


def test_an_opset_below_seven_is_refused():
    assert refusal(with_opset(6)).reason == "OPSET_UNSUPPORTED"


@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin",
        "sub/../../secret.bin",
        "/etc/passwd",
        "../../../../../../../../etc/passwd",
        "link.bin",
        "linked/secret.bin",
        "hard.bin",
        "*/_ORT_MEM_ADDR_/*",
        "missing.bin",
        "",
        "C:\\secret.bin",
    ],
)
def test_external_data_outside_the_models_own_folder_is_refused(tmp_path, location):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(10_000))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    os.link(secret, folder / "hard.bin")
    path = save(external_data_model(location), folder / "model.onnx")
    assert refusal(path).reason == "MODEL_UNSAFE"


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-8"), ("length", "-1"), ("length", "99999999"), ("offset", "x")]
)
def test_external_data_beyond_its_file_is_refused(tmp_path, key, value):
    model = external_data_model("weights.bin")
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    (tmp_path / "weights.bin").write_bytes(bytes(10_000))
    assert refusal(save(model, tmp_path / "model.onnx")).reason == "MODEL_UNSAFE"


def test_external_data_without_a_folder_is_refused():
    model = external_data_model("weights.bin")
    for source in (model, model.SerializeToString()):
        assert refusal(source).reason == "MODEL_UNSAFE"


def test_external_data_in_the_models_own_folder_is_read(tmp_path):
    model = external_data_model("weights.bin")
    weight = np.arange(8 * 3 * 3 * 3, dtype=np.float32).reshape(8, 3, 3, 3)
    (tmp_path / "weights.bin").write_bytes(weight.tobytes())
    read = read_model(save(model, tmp_path / "model.onnx"))
    found = onnx.numpy_helper.to_array(read.graph.initializer[0])
    np.testing.assert_array_equal(found, weight)
    assert read.graph.initializer[0].data_location == TensorProto.DEFAULT


def as_paddle_writes():
    """Any size is written as -1, and the head's shape is computed from what goes into it."""
    model = onnx.parser.parse_model(
        """<ir_version: 7, opset_import: ["" : 11]>
        g (float["N",3,"H","W"] image) => (float["N",4] scores) <
            int64[1] zero = {0}, int64[1] one = {1}, int32[1] four = {4}
        > {
            c = Conv(image, w) q = GlobalAveragePool(c) s = Shape(q) n = Slice(s, zero, one)
            i = Cast <to=6> (n) j = Concat <axis=0> (i, four) k = Cast <to=7> (j)
            logits = Reshape(q, k) scores = Softmax <axis=1> (logits)
        }"""
    )
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_value = -1
    return model


def test_sizes_below_zero_are_any_size():
    model = load(as_paddle_writes())
    assert (model.interface.shape, model.n_classes) == ((None, 3, None, None), 4)
    for n, size in ((1, 6), (3, 9)):
        found = model.explain(tensor=np.ones((n, 3, size, size)), method="gradient", target=[2])
        assert [one.attribution.shape for one in found] == [(3, size, size)] * n
