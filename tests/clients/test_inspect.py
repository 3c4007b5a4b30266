"""``onnxplain inspect``: what it tells of any model."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import models
from tests.commands import Ended

GOLDEN = Path(__file__).parent.parent / "golden" / "models"


def facts(text):
    """The lines "name  value" before the methods."""
    lines = text.partition("\n\n")[0].splitlines()
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines)


def test_it_tells_what_the_model_is(tmp_path):
    path = models.save(models.tiny_cnn(), tmp_path / "cnn.onnx")
    path.with_suffix(".json").write_text(json.dumps(models.PREPROCESSING))
    found = facts(Ended(["inspect", path]).out)
    assert found["input image"] == "FP32 [any, 3, 32, 32]"
    assert (found["layout"], found["feature layer"]) == ("NCHW", "relu2")
    assert found["score"] == "probabilities: softmax of the logits logits"
    assert found["preprocessing"].startswith("from cnn.json: range [-1, 1]")
    assert found["classes"] == "5, without labels"


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("imagenet", "imagenet"),
        ("own.json", "own.json"),
        (None, "metadata onnxplain.preprocessing"),
    ],
)
def test_it_tells_where_the_preprocessing_was_found(given, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = models.tiny_cnn()
    text = json.dumps(models.PREPROCESSING)
    model.metadata_props.add(key="onnxplain.preprocessing", value=text)
    (tmp_path / "own.json").write_text(text)
    argv = ["inspect", models.save(model, tmp_path / "cnn.onnx"), "--json"]
    found = Ended(argv + ([] if given is None else ["--preprocessing", given])).json
    assert found["preprocessing_source"] == source
    assert found["preprocessing"]["layout"] == "NCHW"


def test_it_tells_what_the_score_is_where_nothing_follows_the_logits(tmp_path):
    path = models.save(models.tiny_cnn(softmax=False), tmp_path / "cnn.onnx")
    assert facts(Ended(["inspect", path]).out)["score"].startswith("logits: logits, no softmax")
    found = Ended(["inspect", path, "--json"]).json
    assert (found["score_output"], found["logits"], found["activation"]) == (
        "logits",
        "logits",
        "none",
    )


def test_it_says_what_applies_and_why_not(mlp):
    found = {one["method"]: one for one in Ended(["inspect", mlp, "--json"]).json["methods"]}
    assert found["saliency"]["applies"]
    assert found["lime"]["applies"]
    assert not found["grad_cam"]["applies"]
    assert found["grad_cam"]["reason"]
    text = Ended(["inspect", mlp]).out
    applying, *others = text.split("\n\n")[1:]
    assert "saliency" in applying
    assert any("grad_cam," in group and "feature map" in group for group in others)


def blocked_cnn():
    """Seven Hardmax and a CumSum, which have no rules, between two convolutions."""
    random = np.random.default_rng(0)
    weights = {"w": (4, 3, 3, 3), "v": (4, 4, 3, 3)}
    chain = [("Conv", ["x", "w"])] + [("Hardmax", [])] * 7
    chain += [("CumSum", ["two"]), ("Conv", ["v"]), ("GlobalAveragePool", []), ("Flatten", [])]
    nodes, at = [], None
    for op_type, inputs in chain:
        name = f"{op_type}_{len(nodes)}"
        given = inputs if at is None else [at, *inputs]
        extra = {"axis": 1} if op_type == "Hardmax" else {}
        nodes.append(helper.make_node(op_type, given, [name], name=name, **extra))
        at = name
    graph = helper.make_graph(
        nodes,
        "blocked",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info(at, TensorProto.FLOAT, ["N", 4])],
        [
            numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
            for name, shape in weights.items()
        ]
        + [numpy_helper.from_array(np.int64(2), "two")],
    )
    opset = [helper.make_opsetid("", models.OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def test_methods_stopped_by_the_same_nodes_stand_together_and_every_node_is_named(tmp_path):
    path = tmp_path / "blocked.onnx"
    onnx.save(blocked_cnn(), path)
    text = Ended(["inspect", path]).out
    groups = text.split("\n\n")[1:]
    (stopped,) = [group for group in groups if "saliency" in group]
    assert "deconvnet" in stopped
    assert "no rule for Hardmax: Hardmax_1, Hardmax_2, Hardmax_3, Hardmax_4, Hardmax_5 and 2" in (
        stopped
    )
    assert "no rule for CumSum: CumSum_8" in stopped
    assert "grad_cam" in groups[0]
    found = {one["method"]: one for one in Ended(["inspect", path, "--json"]).json["methods"]}
    names = [node["node"] for node in found["saliency"]["nodes"]]
    assert names == [f"Hardmax_{n}" for n in range(1, 8)] + ["CumSum_8"]


def test_what_relevance_folds_is_named():
    path = GOLDEN / "resnet_like__bn.onnx"
    (norm, conv) = ("/bn1/BatchNormalization", "/conv1/Conv")
    assert f"affine after layer: {norm} into {conv}," in Ended(["inspect", path]).out
    found = Ended(["inspect", path, "--json"]).json["folded"]["affine_after_layer"]
    assert (len(found), found[0]) == (6, {"node": norm, "into": conv})
