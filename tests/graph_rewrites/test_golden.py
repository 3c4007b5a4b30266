"""The arrays of ``tests/golden``, from the ONNX files alone."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnxplain.graph_rewrites import OnnxplainError, provenance_of, rewrite

from tests.double import evaluate, relative_error
from tests.goldens import GOLDEN, INDEX

# Array in golden: method, options, output of the rewritten graph.
ARRAYS = {
    "gradient": ("gradient", {}, "attribution"),
    "saliency": ("saliency", {}, "attribution"),
    "cam": ("cam", {}, "native_heatmap"),
    "gradcam": ("grad_cam", {"relu": False}, "native_heatmap"),
    "gradcam__relu": ("grad_cam", {}, "native_heatmap"),
    "gradcam_plusplus": ("grad_cam_plus_plus", {"relu": False}, "native_heatmap"),
    "xgradcam": ("xgrad_cam", {"relu": False}, "native_heatmap"),
    "layercam": ("layer_cam", {"relu": False}, "native_heatmap"),
    "hirescam": ("hires_cam", {"relu": False}, "native_heatmap"),
    "guided_gradcam__bilinear": ("guided_grad_cam", {}, "attribution"),
    "input_x_gradient": ("input_x_gradient", {}, "attribution"),
    "deconvolution": ("deconvnet", {}, "attribution"),
    "deconvolution__rectifiers": ("deconvnet", {}, "attribution"),
    "guided_backprop": ("guided_backprop", {}, "attribution"),
    "guided_backprop__rectifiers": ("guided_backprop", {}, "attribution"),
}

FILES = [
    pytest.param(network, model, id=Path(model["file"]).stem)
    for network in INDEX["networks"].values()
    for model in network["models"]
]


def arrays_of(network):
    data = np.load(GOLDEN / network["data"])
    return data, [(key, *how) for key, how in ARRAYS.items() if key in network["arrays"]]


@pytest.mark.parametrize(("network", "model"), FILES)
def test_float32_in_onnxruntime_is_within_goldens_tolerance(network, model):
    data, arrays = arrays_of(network)
    for key, method, options, output in arrays:
        rewritten = rewrite(GOLDEN / model["file"], method, **options)
        session = ort.InferenceSession(rewritten.SerializeToString())
        feeds = {model["input"]: data["x"], "target": data["target"]}
        (found,) = session.run([output], feeds)
        assert relative_error(found, data[key]) < network["arrays"][key]["tolerance"], key


@pytest.mark.parametrize(("network", "model"), FILES)
def test_double_in_the_reference_evaluator_is_exact(network, model):
    data, arrays = arrays_of(network)
    for key, method, options, output in arrays:
        rewritten = rewrite(GOLDEN / model["file"], method, **options)
        found = evaluate(rewritten, {model["input"]: data["x"], "target": data["target"]})
        assert relative_error(found[output], data[key]) < 1e-6, key  # golden is stored as float32


@pytest.mark.parametrize(("network", "model"), FILES)
def test_the_feature_layer_is_the_one_that_golden_names(network, model):
    layer = provenance_of(rewrite(GOLDEN / model["file"], "grad_cam"))["layer"]
    assert layer == model["cam_tensor"]


@pytest.mark.parametrize(("network", "model"), FILES)
def test_cam_applies_where_golden_has_it_and_is_refused_with_the_node_elsewhere(network, model):
    if "cam" in network["arrays"]:
        rewrite(GOLDEN / model["file"], "cam")
        return
    with pytest.raises(OnnxplainError) as refused:
        rewrite(GOLDEN / model["file"], "cam")
    assert refused.value.reason == "METHOD_NOT_APPLICABLE"
    names = {node.name for node in onnx.load(GOLDEN / model["file"]).graph.node}
    assert {violation.subject for violation in refused.value.violations} <= names
