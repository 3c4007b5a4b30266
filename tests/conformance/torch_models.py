"""Compare input gradients with PyTorch's on models of many families; write docs/coverage.md.

On a developer's machine: ``pip install torch torchvision timm``, then from the checkout
``python -m tests.conformance.torch_models [NAME ...]``. Not a test of the suite: torch is heavy.

A model gets seeded random weights and the statistics of normalisation that noise gives. The
gradient in float64 is PyTorch's. The rules are compared with it in double precision, on one input;
how far float32 moves it is said by the mean over several, ours in onnxruntime and PyTorch's own:
a ReLU that rounding flips moves either by a lot, and not on the same input.
"""

from __future__ import annotations

import argparse
import copy
import io
import logging
import sys
import time
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import timm
import torch
import torchvision
from onnxplain.graph_rewrites import OnnxplainError, canonise, get_method, read_model
from onnxplain.graph_rewrites.assembling import rewrite_canonical

from tests.conformance.page import table, write_section
from tests.double import evaluate

TORCHVISION = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large",
    "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50",
    "resnext50_32x4d", "shufflenet_v2_x1_0", "squeezenet1_1", "vgg11", "vgg16_bn",
    "wide_resnet50_2",
)  # fmt: skip
TIMM = (
    "cspresnet50", "darknet53", "dla34", "dpn68", "efficientnet_lite0", "fbnetv3_b", "ghostnet_100",
    "hardcorenas_a", "hrnet_w18_small", "mixnet_s", "nf_resnet50", "nfnet_f0", "poolformer_s12",
    "repvgg_a2", "res2net50_26w_4s", "resnest14d", "rexnet_100", "seresnet18", "skresnet18",
    "tf_efficientnet_b0", "tinynet_a", "vovnet39a", "xception41",
)  # fmt: skip
LIMIT, FACTOR, EXACT = 1e-4, 3, 1e-5
INPUTS = 10


def build(name: str) -> torch.nn.Module:
    """Return the model with seeded weights and statistics, for inference."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in TORCHVISION:
            extra = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
            model = torchvision.models.get_model(name, weights=None, **extra)
        else:
            model = timm.create_model(name, pretrained=False)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean of what it sees
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    with torch.no_grad():
        model(torch.randn(8, 3, side(name), side(name)))
    return model.eval()


def side(name: str) -> int:
    """Return the pixels of a side of the input."""
    return {
        "alexnet": 224,
        "inception_v3": 128,
        "maxvit_t": 224,
        "vgg11": 224,
        "vgg16_bn": 224,
    }.get(name, 96)


def gradient(model: torch.nn.Module, x: torch.Tensor, target: int) -> np.ndarray:
    """Return PyTorch's gradient of a logit by the input."""
    x = x.clone().requires_grad_()
    model(x)[:, target].sum().backward()
    assert x.grad is not None
    return x.grad.numpy()


def exported(model: torch.nn.Module, x: torch.Tensor) -> onnx.ModelProto:
    """Return the model as PyTorch's exporter writes it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (x,), buffer, dynamo=False, opset_version=17, input_names=["image"],
            training=torch.onnx.TrainingMode.PRESERVE,  # keeps normalisation apart, and its weights
            output_names=["logits"], dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the relative error in L2."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def compare(name: str) -> tuple[str, ...]:
    """Return the row of one model."""
    model = build(name)
    double = copy.deepcopy(model).double()
    images = [
        torch.randn(1, 3, side(name), side(name), generator=torch.Generator().manual_seed(seed))
        for seed in range(INPUTS)
    ]
    proto, method = exported(model, images[0]), get_method("gradient")
    start = time.perf_counter()
    rewritten = rewrite_canonical(canonise(read_model(proto)), method, method.defaults)
    passed = time.perf_counter() - start
    session = ort.InferenceSession(rewritten.SerializeToString())
    forward, exact, ours, theirs = [], [], [], []
    for x in images:
        with torch.no_grad():
            scores = double(x.double()).numpy()
        target = int(scores.argmax())
        expected = gradient(double, x.double(), target)
        feeds = {"image": x.numpy(), "target": np.array([target])}
        logits, found = session.run(["logits", "attribution"], feeds)
        forward.append(error(logits, scores))
        if not exact:
            exact.append(error(evaluate(rewritten, feeds)["attribution"], expected))
        ours.append(error(found, expected))
        theirs.append(error(gradient(model, x, target), expected))
    mean, bar = np.mean(ours), max(LIMIT, FACTOR * np.mean(theirs))
    verdict = "yes" if exact[0] < EXACT and mean <= bar else "**no**"
    kinds = len({node.op_type for node in proto.graph.node})
    return (
        f"`{name}`", f"{len(proto.graph.node)}, {kinds} kinds", f"{np.mean(forward):.0e}",
        f"{exact[0]:.0e}", f"{mean:.1e}", f"{np.mean(theirs):.1e}", verdict, f"{passed:.1f} s",
    )  # fmt: skip


def section(rows: list[tuple[str, ...]]) -> str:
    """Return what docs/coverage.md says."""
    header = (
        "model", "nodes", "forward", "rules", "ours", "PyTorch's", "within the bar", "rewritten in",
    )  # fmt: skip
    text = (
        "Written by `python -m tests.conformance.torch_models`: models of many families, "
        f"exported by PyTorch {torch.__version__}, torchvision {torchvision.__version__} and "
        f"timm {timm.__version__}, their input gradients compared with PyTorch's in float64, "
        "as relative errors in L2. *forward*: the rewritten model's scores in onnxruntime. "
        "*rules*: the rewritten graph in double precision. *ours*, *PyTorch's*: float32, the "
        f"mean over {INPUTS} inputs: a ReLU that rounding flips moves either by a lot. "
        f"The bar is {EXACT:g} for the rules and, in float32, "
        f"{FACTOR} times PyTorch's or {LIMIT:g}. Weights are seeded and random."
    )
    return f"{text}\n\n{table(header, rows)}"


def main() -> int:
    """Compare, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models; by default all, and the page is written")
    names = parser.parse_args().names
    logging.disable(logging.WARNING)
    ort.set_default_logger_severity(3)
    rows, failed = [], 0
    for name in names or (*TORCHVISION, *TIMM):
        try:
            row = compare(name)
        except OnnxplainError as refusal:
            where = refusal.violations[0]
            why = f"refused at `{where.subject}`: {where.description}"
            row = (f"`{name}`", "", "", "", "", "", why, "")
        failed += row[6] != "yes"
        rows.append(row)
        print(*row, flush=True)
    if not names:
        write_section("Models exported by PyTorch", section(rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
