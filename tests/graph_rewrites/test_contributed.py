"""Models as onnxruntime saves them optimised, with operators of its own."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnxplain.explainers import load
from onnxplain.graph_rewrites import FailedPrecondition, canonise, rewrite

from tests.models import tiny_cnn

FUSED_CONV = "y = com.microsoft.FusedConv"
CONSTANTS = {
    "w": (4, 3, 3, 3), "b": (4,), "z": (1, 4, 6, 6), "m": (5, 6), "v": (5,), "u": (6, 5),
    "s": (6,),
}  # fmt: skip


def picture_model(text, columns="M"):
    """Return the model of nodes in ONNX text form, from ``x`` ``[1, 3, 6, 6]`` to ``y``."""
    whole = f"{text} scores = Flatten(y)"
    types = f"(float[1,3,6,6] x) => (float[N,{columns}] scores)"
    graph = onnx.parser.parse_graph(f"g {types} {{ {whole} }}")
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=shape) for name, shape in CONSTANTS.items()}
    for name, array in arrays.items():
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    graph.initializer.append(numpy_helper.from_array(np.array([18, 6]), "rows"))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def scores(model, x):
    return ort.InferenceSession(model.SerializeToString()).run(["scores"], {"x": x})[0]


@pytest.mark.parametrize(
    "text",
    [
        f'{FUSED_CONV} <activation = "Relu", pads = [1, 1, 1, 1]> (x, w, b)',
        f'{FUSED_CONV} <activation = "Tanh", pads = [1, 1, 1, 1]> (x, w)',
        f'{FUSED_CONV} <activation = "Relu", pads = [1, 1, 1, 1]> (x, w, b, z)',
        f'{FUSED_CONV} <activation = "Clip", activation_params = [0.0, 0.5], auto_pad = '
        '"SAME_UPPER"> (x, w, b)',
        f'{FUSED_CONV} <activation = "LeakyRelu", activation_params = [0.2], pads = [1, 1, 1, 1]>'
        " (x, w, b)",
        f'{FUSED_CONV} <activation = "HardSigmoid", activation_params = [0.1, 0.4], '
        "pads = [1, 1, 1, 1]> (x, w, b)",
        "y = com.microsoft.FusedMatMul <transB = 1, alpha = 0.3> (x, m)",
        "t = Transpose <perm = [0, 1, 3, 2]> (x) y = com.microsoft.FusedMatMul <transA = 1> (t, u)",
        "a = Reshape(x, rows) y = com.microsoft.FusedGemm <transB = 1, alpha = 0.5, "
        'activation = "LeakyRelu", activation_alpha = 0.3> (a, m, v)',
        "y = com.microsoft.Gelu(x)",
        "y = com.microsoft.FastGelu(x, s)",
        "y = com.microsoft.BiasGelu(x, s)",
        "y = com.microsoft.QuickGelu(x)",
        "y = com.microsoft.QuickGelu <alpha = 1.0> (x)",
    ],
)
def test_what_is_fused_is_taken_apart(text):
    model = picture_model(text)
    canonical = canonise(model)
    assert {node.domain for node in canonical.graph.node} == {""}
    x = np.random.default_rng(1).normal(size=(1, 3, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(scores(canonical, x), scores(model, x), rtol=1e-4, atol=1e-5)


def test_an_unknown_activation_is_refused_by_name():
    text = f'{FUSED_CONV} <activation = "Softsign", pads = [1, 1, 1, 1]> (x, w)'
    model = picture_model(text, columns=144)
    with pytest.raises(FailedPrecondition, match=r"com\.microsoft::FusedConv"):
        rewrite(model, "gradient")


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "lrp", "deep_lift"])
def test_a_model_saved_optimised_gives_the_same_maps(tmp_path, method):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(tiny_cnn().SerializeToString(), options)
    saved = onnx.load(options.optimized_model_filepath)
    assert "FusedConv" in {node.op_type for node in saved.graph.node}
    x = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    expected, found = (
        load(model).explain(tensor=x, method=method, target=1).heatmap
        for model in (tiny_cnn(), saved)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
