"""Loops of few, constant steps are written out: same outputs, and a derivative."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnxplain.graph_rewrites import canonise, rewrite

from tests.double import central_differences, evaluate, relative_error

CONSTANTS = {
    "n": np.int64(3), "yes": np.array(True), "w": np.float32([0.5, -2, 1.5]),
    "all": np.array([1, 2, 3]), "first": np.array([0]), "second": np.array([1]),
}  # fmt: skip

# From x to y, of x's shape.
LOOPS = {
    "a state, the number of the step, a value from around": (
        "y = Loop(n, , x) <body = b (int64 i, bool c, float[N,3,4,5] h) => "
        "(bool d, float[N,3,4,5] o) "
        "{ d = Identity(c) g = Gather(w, i) t = Tanh(h) o = Mul(t, g) }>"
    ),
    "results of every step, states handed on": (
        "k, z, m, r = Loop(n, yes, x, x) <body = b (int64 i, bool c, float[] h, float[] g) => "
        "(bool d, float[] g, float[] o, float[] s, float[] h) { d = Constant <value = bool {1}> () "
        "o = Mul(h, x) s = ReduceMean <keepdims=0> (o, all) }> "
        "v = ReduceSum <keepdims=0> (r, first) e = Add(z, v) q = ReduceSum <keepdims=0> (m, first) "
        "u = Unsqueeze(q, all) y = Mul(e, u)"
    ),
    "a loop in a loop": (
        "y = Loop(n, , x) <body = b (int64 i, bool c, float[] h) => (bool c, float[] o) { "
        "o = Loop(n, , h) <body = e (int64 j, bool f, float[] g) => (bool f, float[] p) "
        "{ p = Sin(g) }> }>"
    ),
    "no step": (
        "s = Shape <start=1, end=2> (x) q = Squeeze(s) k = Sub(n, q) z = Loop(k, , x) <body = b "
        "(int64 i, bool c, float[] h) => (bool c, float[] o) { o = Relu(h) }> y = Exp(z)"
    ),
    "two sequences, one of them backwards": (
        "h = ReduceMean <keepdims=0> (x, second) z, r = Scan <num_scan_inputs=2, "
        "scan_input_axes=[1,1], scan_input_directions=[0,1], scan_output_axes=[1], "
        "scan_output_directions=[1], body = b (float[] s, float[] u, float[] v) => "
        "(float[] t, float[] o) { p = Mul(s, u) t = Tanh(p) o = Add(t, v) }> (h, x, x) "
        "u1 = Unsqueeze(z, second) y = Mul(r, u1)"
    ),
}


def model_of(text):
    head = "f = Flatten(y) scores = MatMul(f, head)"
    graph = onnx.parser.parse_graph(
        f"g (float[N,3,4,5] x) => (float[N,2] scores) {{ {text} {head} }}"
    )
    head = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    constants = {**CONSTANTS, "head": head}
    used = {name for node in graph.node for name in node.input} | {"n", "w", "all"}
    for name, array in constants.items():
        if name in used:
            graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    opset = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_constant_steps_are_written_out(text):
    model, target = model_of(text), np.array([1, 0])
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    canonical, rewritten = canonise(model), rewrite(model, "gradient")
    assert not {node.op_type for node in canonical.graph.node} & {"Loop", "Scan"}
    given, found = (
        ort.InferenceSession(proto.SerializeToString()).run(["scores"], {"x": x})[0]
        for proto in (model, canonical)
    )
    assert relative_error(found, given) < 1e-6
    gradient = evaluate(rewritten, {"x": x, "target": target})["attribution"]
    for n in range(2):
        expected = central_differences(
            lambda batch: evaluate(canonical, {"x": batch})["scores"],
            x[n : n + 1].astype(np.float64),
            target[n],
        )
        assert relative_error(gradient[n : n + 1], expected) < 1e-7
