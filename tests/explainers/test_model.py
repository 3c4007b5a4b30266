"""load() and explain(): the numbers are the model's own, whatever way they are asked for."""

import hashlib
import json
import threading

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxplain.explainers import Control, load
from onnxplain.graph_rewrites import (
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OnnxplainError,
    rewrite,
)
from PIL import Image
from scipy.special import softmax

from tests.models import PREPROCESSING, save, slow_cnn, tiny_cnn, tiny_mlp

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
TENSOR = np.random.default_rng(1).normal(size=(3, 3, 32, 32)).astype(np.float32)
LABELS = ["cat", "dog", "Fox", "fox", "cat"]


def model(**options):
    return load(tiny_cnn(), preprocessing=PREPROCESSING, **options)


def plain(onnx_model, x):
    return ort.InferenceSession(onnx_model.SerializeToString()).run(None, {"image": x})[0]


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_an_explanation_is_what_the_rewritten_graph_gives(batch):
    for method in ("saliency", "grad_cam"):
        rewritten = rewrite(tiny_cnn(), method)
        session = ort.InferenceSession(rewritten.SerializeToString())
        (expected,) = session.run(["heatmap"], {"image": TENSOR, "target": np.array([4, 4, 4])})
        found = load(tiny_cnn(batch=batch)).explain(tensor=TENSOR, method=method, target=4)
        np.testing.assert_allclose([e.heatmap for e in found], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("onnx_model", "of_output"),
    [
        (tiny_cnn(softmax=True), lambda y: y),
        (tiny_cnn(softmax=False), lambda y: np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)),
        (tiny_cnn(classes=1, softmax=False), lambda y: 1 / (1 + np.exp(-y))),
    ],
)
def test_probabilities_are_the_models_output_or_made_of_its_logits(onnx_model, of_output):
    expected = of_output(plain(onnx_model, TENSOR[:1]))[0]
    top = load(onnx_model).predict(tensor=TENSOR[0], top=10).top
    assert [entry.index for entry in top] == list(np.argsort(-expected))
    np.testing.assert_allclose([e.probability for e in top], np.sort(expected)[::-1], rtol=1e-5)


def test_logits_are_read_before_the_softmax():
    logits = plain(tiny_cnn(softmax=False), TENSOR[:1])[0]
    explanation = load(tiny_cnn()).explain(tensor=TENSOR[0], method="saliency")
    assert (explanation.score_kind, explanation.target) == ("logit", int(np.argmax(logits)))
    assert explanation.score == pytest.approx(float(logits.max()), rel=1e-5)
    by_probability = load(tiny_cnn()).explain(
        tensor=TENSOR[0], method="saliency", score="probability"
    )
    assert 0 < by_probability.score < 1


def test_logits_are_read_where_weights_are_inputs_too_and_softmax_is_of_four_axes():
    model = onnx.parser.parse_model(
        """<ir_version: 3, opset_import: ["" : 9]>
        g (float[1,3,32,32] image, float[4,3,3,3] w) => (float[1,4,1,1] scores) {
            c = Conv(image, w) pooled = GlobalAveragePool(c) scores = Softmax(pooled)
        }"""
    )
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    found = load(model).predict(tensor=TENSOR[:1]).top
    scores = plain(model, TENSOR[:1])
    logits = np.array([one.logit for one in sorted(found, key=lambda one: one.index)])
    np.testing.assert_allclose(softmax(logits), scores.ravel(), rtol=1e-5)


def test_every_way_to_give_a_picture_or_a_tensor_is_the_same(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(PICTURE).save(path)
    explain = model().explain
    expected = explain(PICTURE, method="saliency")
    for image in (path, str(path), path.read_bytes(), Image.open(path)):
        np.testing.assert_array_equal(explain(image, method="saliency").heatmap, expected.heatmap)
    tensor = (expected.picture.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)
    found = explain(tensor=tensor, method="saliency")
    np.testing.assert_allclose(found.heatmap, expected.heatmap, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(found.picture, expected.picture)


def test_one_input_and_one_target_is_one_explanation_else_a_list_image_major():
    explain = model(labels=LABELS).explain
    assert explain(PICTURE, method="saliency", target=1).target == 1
    assert explain(PICTURE, method="saliency", target="dog").label == "dog"
    assert [e.target for e in explain(PICTURE, method="saliency", target=["dog", 0])] == [1, 0]
    assert len(explain([PICTURE], method="saliency")) == 1
    found = explain(tensor=TENSOR, method="saliency", target="top2")
    assert len(found) == 6
    assert found[0].score >= found[1].score
    alone = explain(tensor=TENSOR[1], method="saliency", target=found[2].target)
    np.testing.assert_allclose(alone.heatmap, found[2].heatmap, rtol=1e-4, atol=1e-7)


def test_an_explanation_says_how_it_was_made(tmp_path):
    path = save(tiny_cnn(), tmp_path / "net.onnx")
    path.with_suffix(".json").write_text(json.dumps(PREPROCESSING | {"labels": LABELS}))
    explanation = load(path, threads=1).explain(PICTURE, method="grad_cam", relu=False)
    provenance = explanation.provenance
    assert (provenance.model_name, provenance.layer) == ("net", "relu2")
    assert provenance.options == {"relu": False, "layer": None}
    assert (provenance.provider, provenance.threads) == ("CPUExecutionProvider", 1)
    assert provenance.preprocessing["range"] == [-1, 1]
    assert set(provenance.timings_ms) == {"preprocess", "rewrite", "predict", "run"}
    assert provenance.evaluations == 2
    said = json.loads(json.dumps(explanation.to_dict()))
    assert said["label"] == explanation.label
    assert "heatmap" not in said


@pytest.mark.parametrize(
    ("source", "expected"),
    [("request", [0, 1]), ("file", [0, 2]), ("metadata", [0, 3]), ("nothing", None)],
)
def test_preprocessing_comes_from_the_request_then_the_file_then_the_metadata(
    tmp_path, source, expected
):
    order = ("request", "file", "metadata", "nothing")
    there = order[order.index(source) :]
    onnx_model = tiny_cnn()
    if "metadata" in there:
        value = json.dumps(PREPROCESSING | {"range": [0, 3]})
        onnx_model.metadata_props.add(key="onnxplain.preprocessing", value=value)
    path = save(onnx_model, tmp_path / "net.onnx")
    if "file" in there:
        path.with_suffix(".json").write_text(json.dumps(PREPROCESSING | {"range": [0, 2]}))
    given = PREPROCESSING | {"range": [0, 1]} if "request" in there else None
    loaded = load(path, preprocessing=given)
    if expected is None:
        with pytest.raises(FailedPrecondition, match=r"NAME\.json") as refused:
            loaded.explain(PICTURE)
        assert refused.value.reason == "PREPROCESSING_MISSING"
        return
    made_by = loaded.explain(PICTURE, method="saliency").provenance.preprocessing
    assert made_by["range"] == expected


def test_a_model_that_is_all_against_a_class_gives_a_zero_map_with_the_reason():
    onnx_model = tiny_cnn(classes=2, softmax=False)
    (head,) = [t for t in onnx_model.graph.initializer if t.name == "logits.weight"]
    head.CopyFrom(numpy_helper.from_array(-np.ones((2, 8), np.float32), head.name))
    found = load(onnx_model).explain(tensor=TENSOR[0], method="grad_cam")
    assert not found.heatmap.any()
    assert [notice.code for notice in found.warnings] == ["NO_POSITIVE_EVIDENCE"]
    assert load(onnx_model).explain(tensor=TENSOR[0], method="grad_cam", relu=False).heatmap.any()


def test_cancelling_ends_a_forward_pass_that_is_running():
    loaded = load(slow_cnn(repeats=400))
    control = Control()
    threading.Timer(0.5, control.cancel).start()
    with pytest.raises(Cancelled):
        loaded.explain(tensor=np.zeros((3, 128, 128)), method="saliency", control=control)


def test_several_threads_get_the_same_answer():
    loaded, found = model(), []
    threads = [
        threading.Thread(target=lambda: found.append(loaded.explain(PICTURE, method="saliency")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for explanation in found:
        np.testing.assert_array_equal(explanation.heatmap, found[0].heatmap)
    assert len(found) == 8


def test_applicability_names_what_is_in_the_way():
    found = {entry.method: entry for entry in load(tiny_mlp()).applicability()}
    assert found["saliency"].applies
    assert not found["grad_cam"].applies
    assert "feature map" in found["grad_cam"].reason
    assert load(tiny_mlp()).feature_layer is None
    assert load(tiny_cnn()).feature_layer == "relu2"


def two_heads():
    """The model with its hidden features as a first output, and scores twice over."""
    onnx_model = tiny_cnn(softmax=False)
    other = helper.make_node("Mul", ["logits", "two"], ["doubled"])
    onnx_model.graph.node.append(other)
    onnx_model.graph.initializer.append(numpy_helper.from_array(np.float32(2), "two"))
    info = helper.make_tensor_value_info("doubled", TensorProto.FLOAT, ["N", 5])
    onnx_model.graph.output.append(info)
    return onnx_model


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "recipro_cam", "smooth_grad"])
def test_of_several_outputs_the_one_named_is_explained(method):
    first, doubled = (load(two_heads(), output=name) for name in (None, "doubled"))
    a, b = (each.explain(tensor=TENSOR[0], method=method, target=3) for each in (first, doubled))
    assert b.score == pytest.approx(2 * a.score, rel=1e-5)
    np.testing.assert_allclose(b.heatmap, 2 * a.heatmap, rtol=1e-4, atol=1e-7)
    with pytest.raises(InvalidArgument, match="doubled") as refused:
        load(two_heads(), output="doubld")
    assert refused.value.reason == "UNKNOWN_OUTPUT"


def wrong_output():
    onnx_model = tiny_cnn(softmax=False)
    onnx_model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 7
    return onnx_model


def test_the_hash_is_of_all_files_of_the_model(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(
        tiny_cnn(), path, save_as_external_data=True, location="weights", size_threshold=0
    )
    whole = path.read_bytes() + (tmp_path / "weights").read_bytes()
    assert load(path).sha256 == hashlib.sha256(whole).hexdigest()


def infinite_output():
    onnx_model = tiny_cnn(softmax=False)
    (bias,) = [t for t in onnx_model.graph.initializer if t.name == "logits.bias"]
    bias.CopyFrom(numpy_helper.from_array(np.full(5, np.nan, np.float32), bias.name))
    return onnx_model


def two_inputs():
    onnx_model = tiny_cnn()
    other = helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 1])
    onnx_model.graph.input.append(other)
    return onnx_model


@pytest.mark.parametrize(
    ("call", "kind", "reason"),
    [
        (lambda: model().explain(), InvalidArgument, "INPUT_INVALID"),
        (lambda: model().explain(PICTURE, tensor=TENSOR), InvalidArgument, "INPUT_INVALID"),
        (lambda: model().explain([]), InvalidArgument, "INPUT_INVALID"),
        (lambda: model().explain(tensor=TENSOR[:, :2]), InvalidArgument, "TENSOR_INVALID"),
        (lambda: model().explain(tensor=TENSOR[:0]), InvalidArgument, "TENSOR_INVALID"),
        (lambda: model().explain(tensor=TENSOR * np.nan), InvalidArgument, "TENSOR_INVALID"),
        (
            lambda: model().explain(tensor=np.full((3, 32, 32), 1e300)),
            InvalidArgument,
            "TENSOR_INVALID",
        ),
        (lambda: model().explain(tensor=[["a"]]), InvalidArgument, "TENSOR_INVALID"),
        *(
            (
                lambda change=change: model().explain(
                    PICTURE, preprocessing=PREPROCESSING | change
                ),
                InvalidArgument,
                "PREPROCESSING_INVALID",
            )
            for change in ({"layout": "NHWC"}, {"colour": "GRAY"}, {"resize": {"size": [8, 8]}})
        ),
        (lambda: model().explain(b"no image"), InvalidArgument, "IMAGE_UNDECODABLE"),
        (lambda: model().explain("no/such.png"), NotFound, "IMAGE_NOT_FOUND"),
        (lambda: model().explain(PICTURE, target=5), InvalidArgument, "TARGET_OUT_OF_RANGE"),
        (lambda: model().explain(PICTURE, target=-1), InvalidArgument, "TARGET_OUT_OF_RANGE"),
        (lambda: model().explain(PICTURE, target="top9"), InvalidArgument, "TARGET_OUT_OF_RANGE"),
        (lambda: model().explain(PICTURE, target=1.5), InvalidArgument, "TARGET_INVALID"),
        (lambda: model().explain(PICTURE, target=[]), InvalidArgument, "TARGET_INVALID"),
        (lambda: model().explain(PICTURE, target="top0"), InvalidArgument, "TARGET_INVALID"),
        (lambda: model().explain(PICTURE, method=None), InvalidArgument, "UNKNOWN_METHOD"),
        (lambda: model().explain(PICTURE, target="dog"), NotFound, "UNKNOWN_LABEL"),
        (lambda: model(labels=LABELS).explain(PICTURE, target="dgo"), NotFound, "UNKNOWN_LABEL"),
        (
            lambda: model(labels=LABELS).explain(PICTURE, target="cat"),
            InvalidArgument,
            "LABEL_AMBIGUOUS",
        ),
        (
            lambda: model(labels=LABELS).explain(PICTURE, target="FOX"),
            InvalidArgument,
            "LABEL_AMBIGUOUS",
        ),
        (lambda: model(labels=["a"]), InvalidArgument, "LABELS_INVALID"),
        (lambda: model(threads=0), InvalidArgument, "OPTION_OUT_OF_RANGE"),
        (lambda: model(provider="tpu"), InvalidArgument, "OPTION_OUT_OF_RANGE"),
        (
            lambda: load(tiny_cnn(), preprocessing="imagnet"),
            InvalidArgument,
            "PREPROCESSING_INVALID",
        ),
        (
            lambda: load(tiny_cnn(), preprocessing="no.json"),
            NotFound,
            "PREPROCESSING_FILE_NOT_FOUND",
        ),
        (lambda: load(wrong_output()), FailedPrecondition, "NO_SCORE_OUTPUT"),
        (lambda: load(two_inputs()), FailedPrecondition, "NO_IMAGE_INPUT"),
        (
            lambda: load(infinite_output()).explain(tensor=TENSOR[0]),
            FailedPrecondition,
            "MODEL_OUTPUT_NOT_FINITE",
        ),
        (
            lambda: load(tiny_mlp()).explain(tensor=TENSOR[0]),
            FailedPrecondition,
            "NO_FEATURE_LAYER",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_reason(call, kind, reason):
    with pytest.raises(OnnxplainError) as refused:
        call()
    assert isinstance(refused.value, kind)
    assert refused.value.reason == reason


def test_a_gpu_that_is_asked_for_is_used_or_refused():
    if load(tiny_cnn(), provider="auto").provider == "CUDAExecutionProvider":
        assert load(tiny_cnn(), provider="cuda").provider == "CUDAExecutionProvider"
        return
    with pytest.raises(FailedPrecondition, match="use") as refused:
        load(tiny_cnn(), provider="cuda")
    assert refused.value.reason == "PROVIDER_UNAVAILABLE"
