"""Explain and rewrite a model whose weights, kept beside it, are above 2 GiB.

On a developer's machine with 24 GiB, from the checkout:
``python -m tests.conformance.large_model``. Not a test of the suite: it takes minutes and 5 GiB of
disk. It prints what each step took, and ends with an error where one fails or where the file that
``rewrite`` wrote gives another map.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto
from onnxplain.clients.cli import main as onnxplain
from onnxplain.explainers import load

HIDDEN = 34_000
SHAPES = {"w1": (64, 3, 3, 3), "w2": (HIDDEN, 64 * 16 * 16), "b2": (HIDDEN,), "w3": (10, HIDDEN)}
GRAPH = """<ir_version: 10, opset_import: ["" : 17]>
g (float["N",3,32,32] image) => (float["N",10] scores) {
    c = Conv <pads=[1,1,1,1]> (image, w1) r = Relu(c)
    p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r) f = Flatten(p)
    h = Gemm <transB=1> (f, w2, b2) a = Relu(h)
    logits = Gemm <transB=1> (a, w3) scores = Softmax(logits)
}"""


def write(path: Path) -> None:
    """Write the model, with seeded random weights beside it."""
    model, random = onnx.parser.parse_model(GRAPH), np.random.default_rng(0)
    with path.with_suffix(".data").open("wb") as file:
        for name, shape in SHAPES.items():
            start = file.tell()
            for first in range(0, shape[0], 512):
                rows = (min(512, shape[0] - first), *shape[1:])
                values = random.standard_normal(rows, np.float32)
                file.write((values / np.float32(max(1, np.prod(shape[1:])) ** 0.5)).tobytes())
            tensor = model.graph.initializer.add(
                name=name,
                data_type=TensorProto.FLOAT,
                dims=shape,
                data_location=TensorProto.EXTERNAL,
            )
            places = {
                "location": path.stem + ".data",
                "offset": start,
                "length": file.tell() - start,
            }
            for key, value in places.items():
                tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())


def step(name: str, action: Callable[[], object]) -> object:
    """Return what the action does, and print what it took."""
    began = time.perf_counter()
    found = action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name}: {time.perf_counter() - began:.0f} s, peak so far {peak:.1f} GiB", flush=True)
    return found


def main() -> int:
    """Go through every step."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    x = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "large.onnx", Path(folder) / "rewritten.onnx"
        step("write", lambda: write(source))
        argv = ["rewrite", str(source), "--method", "gradient", "-o", str(out)]
        if step("rewrite", lambda: onnxplain(argv)):
            return 1
        session = step("run what was written", lambda: ort.InferenceSession(out))
        (expected,) = session.run(["attribution"], {"image": x, "target": np.array([3])})
        del session
        model = step("load", lambda: load(source))
        for method in ("gradient", "grad_cam", "lrp"):
            found = step(method, partial(model.explain, tensor=x, method=method, target=3))
            if method == "gradient" and not np.allclose(found.attribution, expected[0], 1e-4, 1e-7):
                print("the file written gives another map")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
