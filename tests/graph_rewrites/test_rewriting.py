"""What a rewritten model is: standard ONNX, the same classifier, and one with explanations."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxplain.explainers.verification import forward_difference
from onnxplain.graph_rewrites import (
    FailedPrecondition,
    InvalidArgument,
    canonise,
    list_methods,
    provenance_of,
    read_model,
    rewrite,
)

from tests.double import evaluate, relative_error
from tests.goldens import GOLDEN
from tests.models import slow_cnn, tiny_cnn, tiny_mlp

METHODS = [method.name for method in list_methods() if method.in_graph]
MODELS = sorted((GOLDEN / "models").glob("*.onnx"))


def run(model, feeds, outputs=None):
    session = ort.InferenceSession(model.SerializeToString())
    names = outputs or [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def pictures(model, n=2, seed=0):
    (image,) = [value for value in model.graph.input if value.name in ("image", "input")]
    sizes = [axis.dim_value for axis in image.type.tensor_type.shape.dim][1:]
    return {image.name: np.random.default_rng(seed).normal(size=(n, *sizes)).astype(np.float32)}


def baseline(model):
    """Return what a rewritten model is fed besides image and target, if anything."""
    inputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    sizes = [axis.dim_value for axis in inputs.get("baseline", ())][1:]
    return {"baseline": np.full((1, *sizes), 0.1, np.float32)} if sizes else {}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_canonical_model_is_the_same_model(path):
    original = read_model(path)
    canonical = canonise(original)
    onnx.checker.check_model(canonical, full_check=True)
    assert max(forward_difference(original, canonical, pictures(original)).values()) < 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [GOLDEN / "models/resnet_like__bn.onnx"], ids=lambda p: p.stem)
def test_a_rewritten_model_is_the_same_classifier_in_standard_operators(path, method):
    original, rewritten = read_model(path), rewrite(path, method)
    onnx.checker.check_model(rewritten, full_check=True)
    assert {node.domain for node in rewritten.graph.node} <= {"", "ai.onnx"}
    feeds = pictures(original) | {"target": np.array([3, 1])} | baseline(rewritten)
    assert max(forward_difference(original, rewritten, feeds).values()) < 1e-5
    assert [value.name for value in rewritten.graph.output][:1] == ["logits"]
    note = provenance_of(rewritten)
    assert (note["method"], note["image"]) == (method, "input")
    assert set(note["added"].values()) == {v.name for v in rewritten.graph.output[1:]}


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_its_images_give_alone(method):
    model = tiny_cnn()
    rewritten, feeds = rewrite(model, method), pictures(model, n=3)
    targets = np.array([4, 0, 2])
    together = run(rewritten, feeds | {"target": targets} | baseline(rewritten))
    for n, target in enumerate(targets):
        one = {"image": feeds["image"][n : n + 1], "target": target[None]}
        alone = run(rewritten, one | baseline(rewritten))
        for name, expected in alone.items():
            assert relative_error(together[name][n : n + 1], expected) < 1e-5, name


def test_a_fixed_batch_stays_and_a_dynamic_one_stays_dynamic():
    for batch in (4, "N"):
        (attribution,) = (
            value
            for value in rewrite(tiny_cnn(batch=batch), "saliency").graph.output
            if value.name == "attribution"
        )
        axis = attribution.type.tensor_type.shape.dim[0]
        assert (axis.dim_value or axis.dim_param) == batch


@pytest.mark.parametrize("method", ["gradient", "lrp", "deep_lift"])
def test_every_inner_tensor_keeps_the_name_of_the_batch(method):
    path = GOLDEN / "models/mobilenet_like.onnx"
    inferred = onnx.shape_inference.infer_shapes(rewrite(path, method), data_prop=True)
    pictures = [
        (value.name, value.type.tensor_type.shape.dim[0])
        for value in inferred.graph.value_info
        if len(value.type.tensor_type.shape.dim) == 4
    ]
    dynamic = {axis.dim_param for name, axis in pictures if not axis.dim_value} - {"baselines"}
    assert dynamic == {read_model(path).graph.input[0].type.tensor_type.shape.dim[0].dim_param}


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {}),
        ("lrp", {}),
        ("lrp", {"composite": "epsilon_alpha2_beta1"}),
        ("excitation_backprop", {}),
        ("excitation_backprop", {"contrastive": True}),
        ("deep_lift", {}),
        ("deep_lift", {"variant": "reveal_cancel"}),
    ],
)
def test_weights_as_target_explain_a_weighted_sum_of_classes(method, options):
    model = tiny_cnn()
    by_class = rewrite(model, method, **options)
    feeds = pictures(model, n=1) | baseline(by_class)
    weights = np.array([[1.0, 0, -2, 0, 0.5]], np.float32)
    parts = [
        weight * run(by_class, feeds | {"target": np.array([c])})["attribution"]
        for c, weight in enumerate(weights[0])
    ]
    whole = rewrite(model, method, target_kind="weights", **options)
    found = run(whole, feeds | {"target_weights": weights})["attribution"]
    assert relative_error(found, sum(parts)) < 1e-5


def test_cam_is_grad_cam_without_relu_times_the_number_of_positions():
    model = tiny_cnn(size=12)
    feeds = pictures(model, n=3) | {"target": np.array([0, 3, 4])}
    cam = run(rewrite(model, "cam"), feeds)["native_heatmap"]
    grad_cam = run(rewrite(model, "grad_cam", relu=False), feeds)["native_heatmap"]
    assert relative_error(grad_cam * 144, cam) < 1e-5


def test_reductions_of_the_channels_are_their_definitions():
    model = tiny_cnn()
    feeds = pictures(model) | {"target": np.array([1, 2])}
    for reduction, define in {
        "sum": lambda r: r.sum(axis=1),
        "max_abs": lambda r: np.abs(r).max(axis=1),
        "l2": lambda r: np.sqrt((r**2).sum(axis=1)),
    }.items():
        found = run(rewrite(model, "gradient", reduction=reduction), feeds)
        assert relative_error(found["heatmap"], define(found["attribution"])) < 1e-6


def test_the_probability_as_score_is_the_derivative_of_the_softmax():
    model = tiny_cnn(size=8)
    feeds = pictures(model, n=1)
    p = run(model, feeds)["probabilities"][0]
    of_logits = rewrite(model, "gradient")
    gradients = [run(of_logits, feeds | {"target": np.array([c])})["attribution"] for c in range(5)]
    expected = p[1] * (gradients[1] - sum(p[c] * gradients[c] for c in range(5)))
    of_probability = rewrite(model, "gradient", score="probability")
    found = run(of_probability, feeds | {"target": np.array([1])})["attribution"]
    assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_the_reference_evaluator_gives_what_onnxruntime_gives(method):
    path = GOLDEN / "models/se_swish_like.onnx"
    rewritten = rewrite(path, method)
    feeds = pictures(rewritten) | {"target": np.array([0, 1])} | baseline(rewritten)
    found, expected = run(rewritten, feeds), evaluate(rewritten, feeds)
    residuals = [values.pop("residual", 0) for values in (found, expected)]  # differences of sums
    np.testing.assert_allclose(*residuals, atol=1e-5, rtol=1e-3)
    assert max(relative_error(found[name], expected[name]) for name in expected) < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_rewriting_is_deterministic_and_starts_from_the_original_part(method):
    model = tiny_cnn()
    once = rewrite(model, method)
    assert rewrite(model, method).SerializeToString() == once.SerializeToString()
    again = rewrite(once, "saliency")
    assert again.SerializeToString() == rewrite(model, "saliency").SerializeToString()


def test_a_note_that_does_not_fit_the_graph_is_ignored():
    model = tiny_cnn()
    model.metadata_props.add(key="onnxplain.rewrite", value=json.dumps({"inputs": ["nothing"]}))
    rewrite(model, "saliency")


def test_names_that_the_model_uses_are_left_to_it():
    model = tiny_cnn()
    for node in model.graph.node:
        node.input[:] = ["heatmap" if name == "relu1" else name for name in node.input]
        node.output[:] = ["heatmap" if name == "relu1" else name for name in node.output]
    model.graph.input[0].name = "target"
    model.graph.node[0].input[0] = "target"
    rewritten = rewrite(model, "saliency")
    assert [value.name for value in rewritten.graph.input] == ["target", "onnxplain_target"]
    assert "onnxplain_heatmap" in {value.name for value in rewritten.graph.output}
    feeds = {"target": np.ones((1, 3, 32, 32), np.float32), "onnxplain_target": np.array([0])}
    run(rewritten, feeds)


def test_a_layer_can_be_named_and_a_wrong_one_gets_the_nearest_names():
    model = tiny_cnn()
    shape = run(
        rewrite(model, "grad_cam", layer="relu1"), pictures(model) | {"target": np.array([0, 1])}
    )
    assert shape["native_heatmap"].shape == (2, 32, 32)
    with pytest.raises(InvalidArgument, match="relu1") as refused:
        rewrite(model, "grad_cam", layer="relu_1")
    assert refused.value.reason == "UNKNOWN_LAYER"


def unsupported_model():
    """Two nodes without a rule, and one only shape arithmetic needs."""
    model = tiny_cnn(softmax=False)
    model.graph.node[0].input[0] = "det"
    before = [
        helper.make_node("CumSum", ["image", "axis"], ["cumulated"], name="first"),
        helper.make_node("Hardmax", ["cumulated"], ["det"], name="second"),
    ]
    nodes = [*before, *model.graph.node]
    model.graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [], [1]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_all_nodes_without_a_rule_are_named_at_once():
    with pytest.raises(FailedPrecondition) as refused:
        rewrite(unsupported_model(), "saliency")
    assert refused.value.reason == "UNSUPPORTED_OPERATOR"
    assert {violation.subject for violation in refused.value.violations} == {"first", "second"}
    rewrite(unsupported_model(), "grad_cam")  # they lie below the feature layer


@pytest.mark.parametrize(
    ("model", "method", "options", "reason"),
    [
        (tiny_mlp(), "grad_cam", {}, "NO_FEATURE_LAYER"),
        (tiny_cnn(), "saliensy", {}, "UNKNOWN_METHOD"),
        (tiny_cnn(), "saliency", {"relu": True}, "UNKNOWN_OPTION"),
        (tiny_cnn(), "saliency", {"reduction": "mean"}, "OPTION_OUT_OF_RANGE"),
        (tiny_cnn(), "saliency", {"output": "logit"}, "UNKNOWN_OUTPUT"),
        (b"", "saliency", {}, "NOT_ONNX"),
        (b"\x00\x01 not a model", "saliency", {}, "NOT_ONNX"),
        ("no/such/file.onnx", "saliency", {}, "MODEL_FILE_NOT_FOUND"),
    ],
)
def test_what_cannot_be_rewritten_is_refused_with_its_reason(model, method, options, reason):
    with pytest.raises((FailedPrecondition, InvalidArgument, LookupError)) as refused:
        rewrite(model, method, **options)
    assert refused.value.reason == reason


def test_cam_names_the_layer_in_the_way():
    with pytest.raises(FailedPrecondition, match="MaxPool") as refused:
        rewrite(GOLDEN / "models/vgg_like.onnx", "cam")
    assert refused.value.reason == "METHOD_NOT_APPLICABLE"


def test_nothing_of_the_source_files_metadata_leaks_a_path():
    model = slow_cnn(repeats=2, size=8, width=2)
    model.metadata_props.add(key="trace", value='File "/home/someone/train.py", line 3')
    model.graph.node[0].doc_string = "/home/someone/model.py"
    model.graph.node[0].metadata_props.add(key="pkg.torch.stack", value="/home/someone/net.py")
    assert b"/home/someone" not in rewrite(model, "saliency").SerializeToString()


def channels_last(model):
    """The same model with an input [N, H, W, C], as exporters from TensorFlow write it."""
    shape = model.graph.input[0].type.tensor_type.shape
    channels, height, width = (axis.dim_value for axis in shape.dim[1:])
    for axis, size in zip(shape.dim[1:], (height, width, channels), strict=True):
        axis.dim_value = size
    model.graph.node[0].input[0] = "channels_first"
    turn = helper.make_node("Transpose", ["image"], ["channels_first"], perm=[0, 3, 1, 2])
    nodes = [turn, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("method", METHODS)
def test_channels_last_is_channels_first_transposed(method):
    x, target = pictures(tiny_cnn())["image"], np.array([1, 3])
    plain, rewritten = rewrite(tiny_cnn(), method), rewrite(channels_last(tiny_cnn()), method)
    expected = run(plain, {"image": x, "target": target} | baseline(plain))
    turned = {"image": x.transpose(0, 2, 3, 1), "target": target}
    found = run(rewritten, turned | baseline(rewritten))
    if "attribution" in expected:
        expected["attribution"] = expected["attribution"].transpose(0, 2, 3, 1)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-6, err_msg=name)


def test_where_the_only_convolution_makes_the_class_maps_they_are_the_features():
    text = """
        <ir_version: 10, opset_import: ["": 21]>
        g (uint8[N,8,8,3] image) => (float[N,4] scores) {
            c = Cast <to=1> (image)  t = Transpose <perm=[0,3,1,2]> (c)
            maps = Conv (t, weight)  r = Relu(maps)  p = GlobalAveragePool(r)  scores = Flatten(p)
        }
    """
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    weight = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    image = random.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    feeds, target = {"image": image}, np.array([1, 3])
    model.graph.output.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, None))
    maps = run(model, feeds, ["r"])["r"]
    found = run(rewrite(model, "cam", output="scores"), feeds | {"target": target})
    np.testing.assert_allclose(found["native_heatmap"], maps[[0, 1], target], rtol=1e-5)
    weighted = run(rewrite(model, "grad_cam", output="scores"), feeds | {"target": target})
    expected = maps[[0, 1], target] / 36
    np.testing.assert_allclose(weighted["native_heatmap"], expected, rtol=1e-4, atol=1e-6)
