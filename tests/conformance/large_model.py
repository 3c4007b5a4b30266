"""Explain and rewrite a model whose weights, kept beside it, are above 2 GiB.

On a developer's machine with 24 GiB, from the checkout:
``python -m tests.conformance.large_model``. Not a test of the suite: it takes minutes and 5 GiB of
disk. It prints what each command took, and ends with an error where one fails or where the file
that ``rewrite`` wrote gives another map.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto
from PIL import Image

HIDDEN = 34_000
SHAPES = {"w1": (64, 3, 3, 3), "w2": (HIDDEN, 64 * 16 * 16), "b2": (HIDDEN,), "w3": (10, HIDDEN)}
GRAPH = """<ir_version: 10, opset_import: ["" : 17]>
g (float["N",3,32,32] image) => (float["N",10] scores) {
    c = Conv <pads=[1,1,1,1]> (image, w1) r = Relu(c)
    p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r) f = Flatten(p)
    h = Gemm <transB=1> (f, w2, b2) a = Relu(h)
    logits = Gemm <transB=1> (a, w3) scores = Softmax(logits)
}"""
PREPROCESSING = {"layout": "NCHW", "colour": "RGB", "range": [-1, 1]}


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


def command(*words: str | Path) -> None:
    """Run a command of onnxplain in a process of its own, and print what it took."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "onnxplain.clients.cli", *map(str, words)], check=True)
    took, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"{words[0]}: {took:.0f} s; largest peak so far {peak / 2**20:.1f} GiB", flush=True)


def main() -> int:
    """Go through every command."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, out, image = folder / "large.onnx", folder / "rewritten.onnx", folder / "x.png"
        write(source)
        Image.fromarray(pixels).save(image)
        source.with_suffix(".json").write_text(json.dumps(PREPROCESSING), "utf-8")
        command("rewrite", source, "--method", "gradient", "-o", out)
        feeds = {
            "image": (pixels.transpose(2, 0, 1)[None] / 127.5 - 1).astype(np.float32),
            "target": np.array([3]),
        }
        (expected,) = ort.InferenceSession(out).run(["heatmap"], feeds)
        command("inspect", source)
        for method in ("gradient", "grad_cam", "lrp"):
            array = folder / f"{method}.npy"
            command("explain", source, image, "--method", method, "--target", "3", "--array", array)
        error = np.linalg.norm(np.load(folder / "gradient.npy") - expected[0])
        print(f"explain against the file rewritten: {error / np.linalg.norm(expected):.0e}")
    return 0 if error < 1e-4 * np.linalg.norm(expected) else 1


if __name__ == "__main__":
    sys.exit(main())
