import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from onnxplain.clients.python import Client, ExplainError
from onnxplain.proto import catalog_pb2, types_pb2
from PIL import ExifTags, Image

from tests.conftest import LABELS

ARRAYS = ("attribution", "heatmap", "native_heatmap", "segments", "coefficients")


def png(picture, **options):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", **options)
    return file.getvalue()


@pytest.fixture
def as_kinds(picture, tmp_path):
    """Return the same picture in every form a caller may have it in."""
    path = tmp_path / "picture.png"
    path.write_bytes(png(picture))
    return {
        "array": picture,
        "strided array": np.asfortranarray(picture),
        "bytes": png(picture),
        "memoryview": memoryview(png(picture)),
        "Path": path,
        "str": str(path),
        "PIL": Image.fromarray(picture),
        "PIL with palette-free alpha": Image.fromarray(picture).convert("RGBA"),
    }


def test_every_kind_of_image_gives_the_same_map(client, as_kinds):
    maps = {kind: client.explain(image, model="cnn").heatmap for kind, image in as_kinds.items()}
    first = maps.pop("array")
    assert first.shape == (32, 32)
    for kind, heatmap in maps.items():
        np.testing.assert_array_equal(heatmap, first, err_msg=kind)


def test_a_grey_array_is_a_picture(client, picture):
    grey = picture[..., 0]
    one, two = (client.explain(image, model="cnn").heatmap for image in (grey, grey[..., None]))
    np.testing.assert_array_equal(one, two)


def test_the_orientation_of_a_pil_image_is_sent_along(client, picture):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3  # upside down
    turned = Image.open(io.BytesIO(png(picture[::-1, ::-1], exif=exif)))
    upright = client.explain(picture, model="cnn").heatmap
    np.testing.assert_array_equal(client.explain(turned, model="cnn").heatmap, upright)


def test_a_tensor_is_the_models_own_input(client):
    x = np.random.default_rng(1).normal(size=(3, 32, 32))
    kinds = [x, x.astype(np.float32), x[None], x.astype(np.float32).tolist()]
    maps = [client.explain(tensor=tensor, model="cnn", method="saliency") for tensor in kinds]
    assert maps[0].attribution.shape == (3, 32, 32)
    assert maps[0].provenance.preprocessing is None
    for one in maps[1:]:
        np.testing.assert_array_equal(one.attribution, maps[0].attribution)


def test_a_result_holds_only_the_arrays_asked_for(client, picture):
    options = {"model": "cnn", "method": "lime", "n_samples": 50, "segmenter": "grid"}
    full = client.explain(picture, **options)
    assert full.segments.dtype == np.int32
    assert full.segments.shape == (32, 32)
    assert full.coefficients.shape == (full.segments.max() + 1,)
    assert 0 <= full.measures["r2"] <= 1
    assert (full.attribution, full.overlay_png) == (None, None)
    small = client.explain(picture, arrays=("heatmap",), **options)
    assert [getattr(small, name) is None for name in ARRAYS] == [True, False, True, True, False]
    np.testing.assert_array_equal(small.heatmap, full.heatmap)
    assert client.explain(picture, arrays=(), **options).heatmap is None


def test_the_overlay_is_a_png_drawn_as_asked(client, picture):
    def drawn(overlay):
        return client.explain(picture, model="cnn", overlay=overlay).overlay_png

    plain = drawn(True)
    with Image.open(io.BytesIO(plain)) as image:
        assert image.format == "PNG"
    assert drawn({}) == plain
    with Image.open(io.BytesIO(drawn({"colour_bar": False}))) as image:
        assert image.width == image.height
    others = [drawn(how) for how in ({"colormap": "magma"}, {"opacity": 0.0}, {"signed": True})]
    assert len({plain, *others}) == 4


def test_a_result_is_json_but_for_its_arrays(client, picture):
    result = client.explain(picture, model="cnn", overlay=True)
    values = json.loads(json.dumps(result.to_dict()))
    pictures = {"overlay_png", "summary_png"}
    assert set(values) == set(vars(result)) - {*ARRAYS, *pictures}
    assert values["provenance"]["options"] == {"relu": True, "layer": None}
    assert values["provenance"]["model_version"] == "1"
    assert {"queue", "total", "run"} <= set(values["provenance"]["timings_ms"])
    assert result.request_id


def test_preprocessing_can_be_replaced(client, picture):
    darker = {"range": [-1, 0], "resize": {"size": [32, 32]}}
    usual = client.explain(picture, model="cnn")
    other = client.explain(picture, model="cnn", preprocessing=darker)
    assert other.provenance.preprocessing["range"] == [-1, 0]
    assert other.score != usual.score
    # and makes images fit for a model that has none
    assert client.explain(picture, model="versions", preprocessing=darker).heatmap.any()


def test_a_version_can_be_chosen(client, picture):
    x = np.zeros((3, 32, 32), np.float32)
    newest, older = (
        client.explain(tensor=x, model="versions", version=version) for version in ("", "2")
    )
    assert newest.provenance.model_version == "10"
    assert older.provenance.model_version == "2"
    assert newest.provenance.model_sha256 != older.provenance.model_sha256


def test_the_catalog_tells_methods_models_and_limits(client):
    methods = {method.name: method for method in client.list_methods()}
    assert list(methods) == sorted(methods)
    assert {"cam", "grad_cam", "gradient", "lime", "saliency"} <= set(methods)
    options = {option.name: option for option in methods["lime"].options}
    assert options["n_samples"].default_value.integer_value == 1000
    assert (options["n_samples"].minimum, options["seed"].minimum) == (2, 0)
    assert "grid" in options["segmenter"].choices
    assert not options["batch_size"].HasField("default_value")
    states = {(model.name, model.version): model for model in client.list_models()}
    assert states["cnn", "1"].sha256
    assert states["not_onnx", "1"].reason == "NOT_ONNX"
    assert not states["versions", "2"].default_version
    assert states["versions", "10"].default_version
    limits = client.server_info().limits
    assert limits.max_message_bytes == 64 * 2**20
    assert limits.max_targets == 32


def test_a_model_tells_what_it_takes_and_what_applies(client):
    model = client.get_model("mlp")
    assert [tuple(info.shape) for info in model.inputs] == [(-1, 3, 32, 32)]
    assert list(model.labels) == LABELS
    assert model.n_classes == 5
    assert model.feature_layer == ""
    applies = {one.method: one for one in model.applicability}
    assert applies["saliency"].applies
    assert not applies["grad_cam"].applies
    assert "feature" in applies["grad_cam"].reason
    assert applies["grad_cam"].nodes[0].node == "layer"
    cnn = client.get_model("cnn")
    assert (cnn.feature_layer, cnn.logits, cnn.score_output) == ("relu2", "logits", "probabilities")
    assert cnn.layout == types_pb2.LAYOUT_NCHW
    assert cnn.activation == catalog_pb2.ACTIVATION_SOFTMAX
    assert cnn.preprocessing_source == "preprocessing.json"
    broken = client.get_model("not_onnx")
    assert (broken.summary.reason, len(broken.inputs)) == ("NOT_ONNX", 0)
    with pytest.raises(ExplainError) as caught:
        client.get_model("dnn")
    assert caught.value.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("arguments", "reason", "says"),
    [
        ({"method": "gradcam"}, "UNKNOWN_METHOD", "did you mean grad_cam"),
        ({"n_sample": 5}, "UNKNOWN_OPTION", "has no option 'n_sample'"),
        ({"method": "lime", "segmenter": "grod"}, "OPTION_OUT_OF_RANGE", "is not one of auto"),
        ({"target": 1.5}, "TARGET_INVALID", "target 1.5 is not a class index"),
        ({"target": [[0]]}, "TARGET_INVALID", "target [0] is not a class index"),
        ({"target": {0: "1"}}, "TARGET_INVALID", "a weight is a number"),
        ({"target": {1.5: 1}}, "TARGET_INVALID", "target 1.5 is not a class index"),
        ({"target": 2**70}, "TARGET_INVALID", "out of all range"),
        ({"preprocessing": {"meen": 1}}, "PREPROCESSING_INVALID", "no key 'meen'"),
        ({"image": None}, "INPUT_INVALID", "either an image or a tensor"),
        ({"tensor": [1.0]}, "INPUT_INVALID", "either an image or a tensor"),
        ({"image": None, "tensor": ["a"]}, "TENSOR_INVALID", "cannot be sent"),
        ({"image": np.zeros((3, 8, 8), np.uint8)}, "IMAGE_UNDECODABLE", "give the model's own"),
        ({"image": np.zeros((8, 8), np.float32)}, "IMAGE_UNDECODABLE", "got float32"),
        ({"image": np.zeros((0, 8), np.uint8)}, "IMAGE_EMPTY", "is empty"),
        ({"image": 7}, "IMAGE_UNDECODABLE", "got int"),
        ({"arrays": ("heat",)}, "REQUEST_INVALID", "no array heat"),
        ({"overlay": {"color": "red"}}, "REQUEST_INVALID", "color"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_is_sent(picture, arguments, reason, says):
    with Client("127.0.0.1:1") as nowhere, pytest.raises(ExplainError) as caught:
        nowhere.explain(**{"image": picture, "model": "cnn"} | arguments)
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert says in error.message
    assert error.violations
    assert error.request_id == ""


def test_a_missing_file_is_the_callers_own_error(client, tmp_path):
    with pytest.raises(FileNotFoundError):
        client.explain(tmp_path / "none.png", model="cnn")


def test_no_server_is_unavailable_and_says_where():
    with Client("127.0.0.1:1", timeout=20) as nowhere:
        with pytest.raises(ExplainError, match=r"no server answers at 127\.0\.0\.1:1") as caught:
            nowhere.list_models()
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        assert caught.value.reason == "SERVER_UNREACHABLE"
        with pytest.raises(ExplainError) as caught:
            nowhere.wait_ready(0.1)
        assert caught.value.reason == "DEADLINE_EXCEEDED"


def test_a_server_of_another_kind_is_named_so(server):
    class Other(Client):
        def ask(self):
            call = self._channel.unary_unary("/onnxplain.v9.ExplainService/Explain")
            return self._call(call, b"", None)

    with Other(server) as client, pytest.raises(ExplainError) as caught:
        client.ask()
    assert caught.value.reason == "NOT_THIS_SERVICE"


def test_a_closed_client_takes_no_calls(server, picture):
    client = Client(server)
    client.list_models()
    client.close()
    with pytest.raises(ValueError, match="closed channel"):
        client.list_models()


def test_a_client_serves_many_threads(client, picture):
    def explain(target):
        return client.explain(picture, model="cnn", method="saliency", target=target).heatmap

    targets = [0, 1, 2, 3, 4] * 4
    one_by_one = [explain(target) for target in targets[:5]] * 4
    with ThreadPoolExecutor(8) as threads:
        for found, expected in zip(threads.map(explain, targets), one_by_one, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_without_pillow_encoded_images_still_go(client, picture, monkeypatch):
    data = png(picture)
    expected = client.explain(picture, model="cnn").heatmap
    monkeypatch.setitem(sys.modules, "PIL", None)
    np.testing.assert_array_equal(client.explain(data, model="cnn").heatmap, expected)
    with pytest.raises(ModuleNotFoundError, match="install Pillow to send arrays"):
        client.explain(picture, model="cnn")


def test_the_client_itself_imports_nothing_heavy():
    code = (
        "import sys, onnxplain.clients.python; "
        "print(*{'onnx', 'onnxruntime', 'PIL', 'skimage', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
