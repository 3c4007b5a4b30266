"""The demo's model as a server wants it, built once and kept."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path

import onnx

from . import efficientnet_lite0, torch_pickle

__all__ = ["MODEL_NAME", "model_repository"]

MODEL_NAME = "efficientnet_lite0"


def model_repository(folder: Path, say: Callable[[str], None]) -> Path:
    """Return a repository in Triton's layout with the demo's model, which is built if need be.

    ``folder/efficientnet_lite0/1/model.onnx`` is taken as it is when the recipe (the code that
    builds it and the version of the weights) and the file are the ones that its ``recipe.txt``
    names. ``say`` is told when it is built.

    Raises
    ------
    ModuleNotFoundError
        The weights are not installed.
    """
    version = folder / MODEL_NAME / "1"
    model, stamp = version / "model.onnx", version / "recipe.txt"
    if not _fits(model, stamp):
        say("building EfficientNet-Lite0 from its weights")
        version.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        partial = version / "model.onnx.partial"
        onnx.save_model(efficientnet_lite0.build(), partial)
        os.replace(partial, model)
        stamp.write_text(_stamp(model), "utf-8")
    return folder


def _fits(model: Path, stamp: Path) -> bool:
    try:
        return stamp.read_text("utf-8") == _stamp(model)
    except FileNotFoundError:
        return False


def _stamp(model: Path) -> str:
    """Return the hashes of the recipe and of the file that came of it."""
    recipe = hashlib.sha256(efficientnet_lite0.preprocessing_json().encode())
    for module in (efficientnet_lite0, torch_pickle):
        recipe.update(inspect.getsource(module).encode())
    recipe.update(f"{efficientnet_lite0.weights_version()} {onnx.__version__}".encode())
    with model.open("rb") as file:
        made = hashlib.file_digest(file, "sha256")
    return f"{recipe.hexdigest()} {made.hexdigest()}\n"
