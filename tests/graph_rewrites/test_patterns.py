"""The same network written in another way gets the same relevance, and computes the same."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.helper import make_node
from onnxplain.graph_rewrites import canonise, rewrite
from onnxplain.graph_rewrites.patterns import PATTERNS, simplify

from tests.double import evaluate, relative_error
from tests.models import classifier

RANDOM = np.random.default_rng(7)
KERNEL = {"kernel_shape": [3, 3]}
PADS = {"pads": [1, 1, 1, 1]}


def normal(*shape):
    return np.asarray(RANDOM.normal(size=shape), np.float32)


# Two convolutions, a normalisation before each and after the first, a dense layer.
WEIGHTS = {
    "w1": normal(4, 3, 3, 3), "b1": normal(4), "w2": normal(5, 4, 3, 3), "b2": normal(5),
    "fc": normal(5, 6), "fc_bias": normal(6),
    "mean": normal(3), "deviation": np.abs(normal(3)) + 1,
    "scale": np.abs(normal(4)) + 0.5, "shift": normal(4),
}  # fmt: skip
IMAGES = np.random.default_rng(1).normal(size=(2, 3, 8, 8))


def reference():
    """Return the network with its normalisations written as BatchNormalization."""
    zero, one = np.zeros(3, np.float32), np.ones(4, np.float32)
    extra = {
        "slope": 1 / WEIGHTS["deviation"], "offset": -WEIGHTS["mean"] / WEIGHTS["deviation"],
        "zero": zero, "unit": np.ones(3, np.float32), "no": np.zeros(4, np.float32), "one": one,
    }  # fmt: skip
    before = make_node("BatchNormalization", ["image", "slope", "offset", "zero", "unit"], ["n"])
    before.attribute.append(onnx.helper.make_attribute("epsilon", 0.0))
    after = make_node("BatchNormalization", ["c1", "scale", "shift", "no", "one"], ["c1n"])
    after.attribute.append(onnx.helper.make_attribute("epsilon", 0.0))
    return assembled([before], [conv("n", "w1", "b1", "c1"), after], extra=extra)


def conv(x, weight, bias, y, **attributes):
    return make_node("Conv", [x, weight, bias], [y], name=y, **{**KERNEL, **PADS, **attributes})


def assembled(before, first, *, relu=None, dense=None, extra=None):
    nodes = [
        *before,
        *first,
        *(relu or [make_node("Relu", ["c1n"], ["r1"])]),
        conv("r1", "w2", "b2", "c2"),
        make_node("Relu", ["c2"], ["r2"]),
        make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        make_node("Flatten", ["pooled"], ["flat"]),
        *(dense or [make_node("Gemm", ["flat", "fc", "fc_bias"], ["logits"])]),
    ]
    used = {name for node in nodes for name in node.input}
    weights = {name: a for name, a in {**WEIGHTS, **(extra or {})}.items() if name in used}
    return classifier(nodes, weights, size=8, classes=6)


def of_channels(array):
    return array.reshape(1, -1, 1, 1)


NORMALISED = [
    make_node("Sub", ["image", "mean4"], ["centred"]),
    make_node("Div", ["centred", "deviation4"], ["n"]),
]
FOUR = {
    "mean4": of_channels(WEIGHTS["mean"]),
    "deviation4": of_channels(WEIGHTS["deviation"]),
    "scale4": of_channels(WEIGHTS["scale"]),
    "shift4": of_channels(WEIGHTS["shift"])[0],
}
SCALED = [
    conv("n", "w1", "b1", "c1"),
    make_node("Mul", ["scale4", "c1"], ["scaled"]),
    make_node("Add", ["scaled", "shift4"], ["c1n"]),
]
FOLDED = {
    "w1s": WEIGHTS["w1"] * WEIGHTS["scale"][:, None, None, None],
    "b1s": WEIGHTS["b1"] * WEIGHTS["scale"] + WEIGHTS["shift"],
}
MERGED = [conv("n", "w1s", "b1s", "c1n")]
PADDED = [
    make_node("Pad", ["n", "pads"], ["padded"], mode="constant"),
    conv("padded", "w1s", "b1s", "c1n", pads=[0, 0, 1, 1]),
]
PAD = {"pads": np.array([0, 0, 1, 1, 0, 0, 0, 0])}
ZERO = {"nothing": np.zeros((), np.float32)}

VARIANTS = {
    "constants per channel": assembled(NORMALISED, SCALED, extra=FOUR),
    "merged by the exporter": assembled(NORMALISED, MERGED, extra={**FOUR, **FOLDED}),
    "Relu as Clip": assembled(
        NORMALISED,
        MERGED,
        relu=[make_node("Clip", ["c1n", "nothing"], ["r1"])],
        extra={**FOUR, **FOLDED, **ZERO},
    ),
    "Relu as Max": assembled(
        NORMALISED,
        MERGED,
        relu=[make_node("Max", ["nothing", "c1n"], ["r1"])],
        extra={**FOUR, **FOLDED, **ZERO},
    ),
    "MatMul and Add": assembled(
        NORMALISED,
        MERGED,
        dense=[
            make_node("MatMul", ["flat", "fc"], ["product"]),
            make_node("Add", ["fc_bias", "product"], ["logits"]),
        ],
        extra={**FOUR, **FOLDED},
    ),
    "Gemm with factors": assembled(
        NORMALISED,
        MERGED,
        dense=[make_node("Gemm", ["flat", "half", "double"], ["logits"], alpha=2.0, beta=0.5)],
        extra={
            **FOUR,
            **FOLDED,
            "half": WEIGHTS["fc"] / 2,
            "double": WEIGHTS["fc_bias"] * 2,
        },
    ),
    "Pad before Conv": assembled(NORMALISED, PADDED, extra={**FOUR, **FOLDED, **PAD}),
}


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lrp", {"composite": "epsilon"}),
        ("lrp", {"composite": "epsilon_plus_flat"}),
        ("lrp", {"composite": "gamma"}),
        ("deep_taylor", {"input_domain": "box", "start": "score"}),
        ("excitation_backprop", {}),
        ("deep_lift", {"variant": "reveal_cancel"}),
    ],
)
def test_relevance_does_not_depend_on_how_a_network_is_written(variant, method, options):
    feeds = {"image": IMAGES, "target": np.array([1, 5]), "baseline": np.zeros((1, 3, 8, 8))}
    feeds |= {"low": np.full((1, 3, 1, 1), -4.0), "high": np.full((1, 3, 1, 1), 4.0)}

    def explained(model):
        rewritten = rewrite(model, method, **options)
        names = {value.name for value in rewritten.graph.input}
        return evaluate(rewritten, {key: feeds[key] for key in names})["attribution"]

    assert relative_error(explained(VARIANTS[variant]), explained(reference())) < 2e-6


@pytest.mark.parametrize("variant", ["reference", *sorted(VARIANTS)])
def test_patterns_leave_the_outputs_and_say_what_they_did(variant):
    model = canonise(reference() if variant == "reference" else VARIANTS[variant])
    simpler = ir.from_proto(model)
    done = simplify(simpler.graph)
    proto = ir.to_proto(simpler)
    onnx.checker.check_model(proto, full_check=True)
    given, found = (evaluate(m, {"image": IMAGES})["logits"] for m in (model, proto))
    assert relative_error(found, given) < 1e-6
    expected = {
        "reference": {"affine_after_layer": 1},
        "constants per channel": {"affine_after_layer": 2, "affine_before_layer": 1},
        "MatMul and Add": {"affine_before_layer": 1, "dense_bias": 1},
        "Gemm with factors": {"affine_before_layer": 1, "dense_factors": 1},
        "Pad before Conv": {"affine_before_layer": 1, "padding": 1},
    }.get(variant, {"affine_before_layer": 1})
    assert {name: len(folded) for name, folded in done.items() if folded} == expected
    assert set(done) == set(PATTERNS)
