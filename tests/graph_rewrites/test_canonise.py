"""What bringing a model into canonical form finds out."""

import numpy as np
from onnx.helper import make_node
from onnxplain.graph_rewrites import canonise

from tests.models import branches


def shuffles(x, blocks):
    """Return nodes that shuffle the channels by sizes read from shapes at run time."""
    for n in range(blocks):
        yield make_node("Shape", [x], [f"shape{n}"])
        for axis, name in enumerate(("batch", "channels", "height", "width")):
            yield make_node("Gather", [f"shape{n}", f"axis{axis}"], [f"{name}{n}"], axis=0)
            yield make_node("Unsqueeze", [f"{name}{n}", "zero"], [f"{name}{n}_"])
        yield make_node("Gather", [f"shape{n}", "one"], [f"size{n}"], axis=0)
        yield make_node("Add", [f"size{n}", "one"], [f"more{n}"])
        yield make_node("Div", [f"more{n}", "two"], [f"half{n}"])
        yield make_node("Slice", [x, "zero", f"half{n}", "one"], [f"first{n}"])
        yield make_node("Slice", [x, f"half{n}", f"size{n}", "one"], [f"second{n}"])
        yield make_node("Concat", [f"second{n}", f"first{n}"], [f"swapped{n}"], axis=1)
        batch, channels, *rest = (
            f"{name}{n}_" for name in ("batch", "channels", "height", "width")
        )
        yield make_node("Div", [f"channels{n}", "pair"], [f"scalar{n}"])
        yield make_node("Unsqueeze", [f"scalar{n}", "zero"], [f"half{n}_"])
        yield make_node("Concat", [batch, "two", f"half{n}_", *rest], [f"apart{n}"], axis=0)
        yield make_node("Reshape", [f"swapped{n}", f"apart{n}"], [f"pairs{n}"])
        yield make_node("Transpose", [f"pairs{n}"], [f"turned{n}"], perm=[0, 2, 1, 3, 4])
        yield make_node("Concat", [batch, channels, *rest], [f"whole{n}"], axis=0)
        yield make_node("Reshape", [f"turned{n}", f"whole{n}"], [x := f"joined{n}"])
    yield make_node("Identity", [x], ["y"])


def test_sizes_that_follow_from_each_other_become_constants():
    ints = {"pair": 2, "zero": [0], "one": [1], "two": [2], **{f"axis{n}": n for n in range(4)}}
    constants = {name: np.array(values) for name, values in ints.items()}
    canonical = canonise(branches(*shuffles("a", 4), **constants))
    slices = [node for node in canonical.graph.node if node.op_type == "Slice"]
    known = {tensor.name for tensor in canonical.graph.initializer}
    assert len(slices) == 8
    assert all(set(node.input[1:]) <= known for node in slices)
