"""Models whose rows do not leave each other alone are explained row by row, and say so."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxplain.explainers import load

from tests.models import tiny_cnn

TENSOR = np.random.default_rng(1).normal(size=(3, 32, 32)).astype(np.float32)
METHODS = {
    "gradient": {},
    "grad_cam": {"relu": False},
    "integrated_gradients": {"n_steps": 4},
    "recipro_cam": {"relu": False},
    "occlusion": {"score": "logit"},
    "lime": {"score": "logit", "n_samples": 20, "segmenter": "grid"},
}


def ending(nodes, constants, batch):
    """The model with further nodes behind its logits."""
    model = tiny_cnn(softmax=False, batch=batch)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name) for name, value in constants.items()
    )
    info = helper.make_tensor_value_info("ended", TensorProto.FLOAT, [batch, 5])
    model.graph.output[0].CopyFrom(info)
    return model


def mixing(batch="N"):
    """The mean over the batch is taken off the scores, and half of it put back."""
    nodes = [
        helper.make_node("ReduceMean", ["logits", "batch_axis"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "half"], ["half_mean"]),
        helper.make_node("Sub", ["logits", "half_mean"], ["ended"]),
    ]
    return ending(nodes, {"batch_axis": [0], "half": np.float32(0.5)}, batch)


def of_one(batch="N"):
    """A file that lets any batch in, and a node that does not."""
    return ending([helper.make_node("Reshape", ["logits", "s"], ["ended"])], {"s": [1, 5]}, batch)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("make", "code"), [(mixing, "BATCH_MIXING"), (of_one, "BATCH_FAILING")])
def test_each_row_is_explained_by_itself(make, code, method):
    options = {"method": method, "target": [1, 3], **METHODS[method]}
    found = load(make()).explain(tensor=TENSOR, **options)
    by_file = load(make(batch=1)).explain(tensor=TENSOR, **options)
    for one, expected in zip(found, by_file, strict=True):
        np.testing.assert_allclose(one.heatmap, expected.heatmap, rtol=1e-4, atol=1e-7)
        assert one.heatmap.any()
        assert one.provenance.batch_size == 1
        assert [notice.code for notice in one.warnings].count(code) == 1
        assert code not in [notice.code for notice in expected.warnings]


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_a_file_that_mixes_a_fixed_batch_says_that_its_map_is_mixed(method):
    found = load(mixing(batch=2)).explain(tensor=TENSOR, method=method, target=[1, 3])
    for one in found:
        (notice,) = [notice for notice in one.warnings if notice.code == "BATCH_MIXING"]
        assert "fixes to 2" in notice.message


@pytest.mark.parametrize("x", [TENSOR, np.zeros_like(TENSOR), np.ones_like(TENSOR)])
def test_it_is_found_whatever_the_first_input_is_and_not_where_it_is_not(x):
    for model, expected in [(mixing(), True), (tiny_cnn(), False)]:
        found = load(model).explain(tensor=x, method="gradient", target=[0, 1])
        assert ("BATCH_MIXING" in [notice.code for notice in found[0].warnings]) == expected
