"""Quantised models: the same classes as the file's, and about the float model's explanations."""

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnxplain.explainers import load
from onnxplain.explainers.verification import forward_difference
from onnxplain.graph_rewrites import canonise, read_model, rewrite, split
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.models import save

DATA = Path(__file__).parent.parent / "data"
TRAINED = DATA / "fashion_res_gap.onnx"
FASHION = np.load(DATA / "fashion_test48.npz")["x"].astype(np.float32) / 255

NODES = """
c1 = Conv <pads=[1,1,1,1]> (input, w1, b1)  r1 = Relu(c1)
p1 = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r1)
c2 = Conv <pads=[1,1,1,1]> (p1, w2, b2)  r2 = Relu(c2)  s = Add(p1, r2)
l = LeakyRelu <alpha=0.1> (c2)  g = Sigmoid(c2)  m = Mul(l, g)  j = Concat <axis=1> (s, m)
a = AveragePool <kernel_shape=[2,2], strides=[2,2]> (j)  c3 = Conv(a, w3)  r3 = Relu(c3)
q = GlobalAveragePool(r3)  f = Flatten(q)  h = MatMul(f, w4)  logits = Gemm <transB=1> (h, w5, b5)
"""
SHAPES = {
    "w1": (8, 1, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "b2": (8,), "w3": (8, 16, 1, 1),
    "w4": (8, 8), "w5": (4, 8), "b5": (4,),
}  # fmt: skip
FORMATS = ["QDQ", "QOperator", "QOperator, per channel"]


def many_operators():
    """A model of all the operators that the quantiser knows, with random weights."""
    text = f"g (float[N,1,28,28] input) => (float[N,4] logits) {{ {NODES} }}"
    graph = onnx.parser.parse_graph(text)
    random = np.random.default_rng(3)
    for name, shape in SHAPES.items():
        spread = 0.1 if len(shape) == 1 else (2 / np.prod(shape[1:])) ** 0.5
        array = random.normal(0, spread, shape).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    for index, node in enumerate(graph.node):
        node.name = f"node_{index}"
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


class Calibration(CalibrationDataReader):
    def __init__(self):
        self._pictures = iter(FASHION)

    def get_next(self):
        picture = next(self._pictures, None)
        return None if picture is None else {"input": picture[None]}


def quantised(source, target, kind):
    logging.disable()  # the quantiser's advice on the root logger
    try:
        quantize_static(
            source,
            target,
            Calibration(),
            quant_format=QuantFormat[kind.partition(",")[0]],
            per_channel="per channel" in kind,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    return read_model(target)


@pytest.fixture(scope="module", params=FORMATS)
def trained(request, tmp_path_factory):
    """A trained model, quantised."""
    return quantised(TRAINED, tmp_path_factory.mktemp("q") / "quantised.onnx", request.param)


def logits(model):
    session = ort.InferenceSession(model.SerializeToString())
    return session.run(["logits"], {"input": FASHION})[0]


def check_forward(model, most):
    """Scores move by a rounding here and there; classes only where two are about equal."""
    canonical = canonise(model)
    onnx.checker.check_model(canonical)
    assert {node.domain for node in canonical.graph.node} <= {"", "ai.onnx"}
    assert forward_difference(model, canonical, {"input": FASHION})["logits"] < most
    before, after = logits(model), logits(canonical)
    margin = np.diff(np.sort(before, axis=1)[:, -2:])[:, 0]
    sure = margin > 2 * np.abs(before - after).max()
    assert sure.sum() > len(FASHION) / 2
    assert (before.argmax(axis=1) == after.argmax(axis=1))[sure].all()


def test_the_canonical_form_of_a_trained_model_keeps_scores_and_classes(trained):
    check_forward(trained, 0.03)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_operator_of_the_quantiser_is_decoded(tmp_path, kind):
    check_forward(
        quantised(save(many_operators(), tmp_path / "m.onnx"), tmp_path / "q.onnx", kind), 0.05
    )


@pytest.mark.parametrize(
    "method",
    [
        "gradient",
        "grad_cam",
        "cam",
        "guided_backprop",
        "deconvnet",
        "recipro_cam",
        "lrp",
        "excitation_backprop",
        "deep_lift",
    ],
)
def test_explanations_are_about_those_of_the_float_model(trained, method):
    found, expected = (
        load(model).explain(tensor=FASHION[:12], method=method, target=3)
        for model in (trained, TRAINED)
    )
    correlations = [
        np.corrcoef(a.heatmap.ravel(), b.heatmap.ravel())[0, 1]
        for a, b in zip(found, expected, strict=True)
    ]
    assert np.median(correlations) > 0.9
    if method != "cam":
        assert "STRAIGHT_THROUGH" in [notice.code for notice in found[0].warnings] or (
            method == "recipro_cam"
        )


def run_one_output(model, feeds):
    return ort.InferenceSession(model.SerializeToString()).run(None, feeds)[0]


def by_gradient(model, pictures):
    rewritten, target = rewrite(model, "gradient"), np.zeros(len(pictures), np.int64)
    return run_one_output(rewritten, {"input": pictures, "target": target})


def by_parts(model, pictures):
    parts = split(canonise(model))
    features = run_one_output(parts.trunk, {"input": pictures})
    return run_one_output(parts.head, {parts.head.graph.input[0].name: features})


@pytest.mark.parametrize(
    ("method", "run"),
    [("gradient", by_gradient), ("smooth_grad", by_gradient), ("eigen_cam", by_parts)],
)
def test_the_answer_says_how_far_the_explained_scores_are_from_the_files_own(method, run, tmp_path):
    model, pictures = quantised(TRAINED, tmp_path / "q.onnx", FORMATS[2]), FASHION[10:14]
    before = run_one_output(model, {"input": pictures}).astype(np.float64)
    after = np.concatenate([run(model, picture[None]) for picture in pictures])
    expected = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    assert expected.max() > 1e-3  # a rounding went the other way
    found = load(model).explain(tensor=pictures, method=method, target=[0, 1])
    measured = [one.measures["forward_difference"] for one in found]
    np.testing.assert_allclose(measured, np.repeat(expected, 2), rtol=1e-6, atol=1e-9)


def test_black_box_methods_run_the_file_as_it_is(trained):
    found = load(trained).predict(tensor=FASHION[0]).top[0]
    assert found.logit == pytest.approx(logits(trained)[0].max(), rel=1e-6)
