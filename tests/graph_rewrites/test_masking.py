"""Pictures made of masks inside a graph are those made of the same masks by hand."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxplain.explainers.perturbation import ProductMasking, SegmentMasking, composite
from onnxplain.graph_rewrites import Interface, prepend_masking

RNG = np.random.default_rng(0)
TYPES = {
    np.float32: TensorProto.FLOAT,
    np.float64: TensorProto.DOUBLE,
    np.float16: TensorProto.FLOAT16,
    np.uint8: TensorProto.UINT8,
    np.int8: TensorProto.INT8,
}
SIDES = 6, 5


def mirror(dtype, shape, opset=13, op_type="Identity", domain=""):
    """A model that gives back its image."""
    graph = helper.make_graph(
        [helper.make_node(op_type, ["image"], ["seen"], domain=domain)],
        "mirror",
        [helper.make_tensor_value_info("image", TYPES[dtype], shape)],
        [helper.make_tensor_value_info("seen", TYPES[dtype], shape)],
    )
    opsets = [helper.make_opsetid(domain, opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def interface(layout):
    return Interface("image", (None,) * 4, layout, "seen", None, "none", 1)


def pictures(model, layout, masking, masks, shown, hidden):
    """What the model with masks sees, and what `composite` makes."""
    axis = 1 if layout == "NCHW" else 3
    made = prepend_masking(model, interface(layout), masking.form)
    onnx.checker.check_model(made.model)
    planes = {"shown": np.moveaxis(shown, axis, 1), "hidden": np.moveaxis(hidden, axis, 1)}
    roles = planes | masking.feeds(*masks)
    feeds = {made.inputs[role]: array.astype(made.dtype) for role, array in roles.items()}
    feeds |= {made.inputs[role]: array for role, array in masking.shared().items()}
    session = ort.InferenceSession(made.model.SerializeToString())
    (seen,) = session.run(None, feeds)
    return seen, composite(np.expand_dims(masking.visibility(*masks), axis), shown, hidden)


def images(dtype, shape):
    integers = np.issubdtype(dtype, np.integer)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if integers else (-2.6, 2.6)
    return [RNG.uniform(low, high, shape).astype(dtype) for _ in range(2)]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("batch", ["N", 3])
@pytest.mark.parametrize(("layout", "channels"), [("NCHW", 3), ("NHWC", 3), ("NCHW", 1)])
def test_segments_are_shown_or_hidden_exactly(dtype, batch, layout, channels):
    shape = [channels, *SIDES] if layout == "NCHW" else [*SIDES, channels]
    shown, hidden = images(dtype, [1, *shape])
    segments = RNG.integers(0, 4, SIDES).astype(np.int32)
    masks = RNG.random((3, 4)) < 0.5
    seen, made = pictures(
        mirror(dtype, [batch, *shape]),
        layout,
        SegmentMasking(None, None, segments),
        (masks,),
        shown,
        hidden,
    )
    np.testing.assert_array_equal(seen, made)
    for picture, mask in zip(
        np.moveaxis(seen, 1, -1) if layout == "NCHW" else seen, masks, strict=True
    ):
        for row, column in np.ndindex(SIDES):
            source = shown if mask[segments[row, column]] else hidden
            pixel = (0, slice(None), row, column) if layout == "NCHW" else (0, row, column)
            np.testing.assert_array_equal(picture[row, column], source[pixel])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("opset", [7, 12, 13, 21])
def test_products_blend(dtype, layout, opset):
    shape = [3, *SIDES] if layout == "NCHW" else [*SIDES, 3]
    shown, hidden = images(dtype, [1, *shape])
    masks = [RNG.random((4, *size), np.float32) for size in ((6, 2), (2, 3), (3, 5))]
    masks[0] /= 2
    masks[1] /= 3
    seen, made = pictures(
        mirror(dtype, ["N", *shape], opset=opset),
        layout,
        ProductMasking(None, None),
        masks,
        shown,
        hidden,
    )
    assert seen.dtype == dtype
    tolerance = {np.float16: 2e-3, np.uint8: 1, np.int8: 1}.get(dtype, 1e-6)
    np.testing.assert_allclose(seen.astype(float), made.astype(float), rtol=0, atol=tolerance)
    if np.issubdtype(dtype, np.integer):  # a sum within rounding of a half may go either way
        assert (seen != made).mean() < 0.02


def test_files_before_broadcasting_are_left_alone():
    assert (
        prepend_masking(mirror(np.float32, ["N", 3, 4, 4], 6), interface("NCHW"), "product") is None
    )


def test_a_model_of_other_operators_gets_the_standard_ones():
    model = mirror(np.float32, ["N", 3, 4, 4], 1, "QuickGelu", "com.microsoft")
    before = model.SerializeToString()
    made = prepend_masking(model, interface("NCHW"), "segments").model
    assert model.SerializeToString() == before
    assert {one.domain for one in made.opset_import} == {"", "com.microsoft"}
    ort.InferenceSession(made.SerializeToString())
