"""``load``: from an ONNX file to a `Model`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxplain.graph_rewrites import (
    FailedPrecondition,
    InvalidArgument,
    ModelSource,
    Violation,
    free_batch,
    read_model,
)

from .batching import are_apart
from .control import Control
from .local_predictor import LocalPredictor
from .model import Model
from .predictor import DTYPES
from .session import CPU, Provider, available_cpus, choose_provider
from .session_cache import SHARED, SessionCache
from .sources import (
    PreprocessingLike,
    file_sha256,
    find_preprocessing,
    name_of,
    read_preprocessing,
)
from .white_box import WhiteBox

__all__ = ["load"]


def load(
    source: ModelSource,
    *,
    preprocessing: PreprocessingLike | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    name: str | None = None,
    output: str | None = None,
    sessions: SessionCache = SHARED,
) -> Model:
    """Load a classifier of images.

    Parameters
    ----------
    source
        Path of an ONNX file, its bytes, or a ModelProto.
    preprocessing
        How an image becomes the model's input: a preset's name (``"imagenet"``), a JSON file, a
        mapping. By default ``NAME.json`` beside ``NAME.onnx``, else the model's metadata
        ``onnxplain.preprocessing``.
    labels
        The classes' names: a list, or a text file with one a line. By default those of the
        preprocessing.
    provider
        ``cpu``; ``cuda``, an error where it cannot be used; ``auto``, CUDA where it can.
    threads
        CPU threads of one forward pass; by default all this process may use.
    name
        What to call it; by default the file's name.
    output
        Name of the output that holds the scores; by default the first that can.
    sessions
        Keeps what is made of the model from call to call, within its budget of memory; by default
        one of 2 GiB that all models of the process share.

    Raises
    ------
    NotFound
        There is no such file.
    FailedPrecondition
        The file is not ONNX, unsafe, no classifier of images, or onnxruntime refuses it.
    InvalidArgument
        Preprocessing, labels, provider, threads or output are wrong.
    """
    if threads is not None and not 1 <= threads <= 1024:
        message = f"threads {threads} is not in 1 to 1024"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("threads", message)]
        )
    chosen = choose_provider(provider)
    original = read_model(source)
    if preprocessing is None:
        found, found_in = find_preprocessing(source, original)
    else:
        found, found_in = read_preprocessing(preprocessing), name_of(preprocessing)
    if name is None:
        name = Path(source).stem if isinstance(source, str | os.PathLike) else "model"

    def on(actual: str) -> Model:
        n_threads = threads or available_cpus()

        def predict(model: onnx.ModelProto) -> LocalPredictor:
            return LocalPredictor(model, actual, n_threads, output, sessions)

        model = free_batch(original) or original
        try:
            predictor = predict(model)
            works = model is original or _takes_rows(predictor)
        except FailedPrecondition:
            works = False
            if model is original:
                raise
        if not works:
            model, predictor = original, predict(original)
        interface = predictor.interface
        return Model(
            predictor,
            WhiteBox(model, actual, n_threads, interface.shape[0], interface.scores, sessions),
            name=name,
            sha256=file_sha256(source, original),
            provider=actual,
            threads=n_threads,
            preprocessing=found,
            preprocessing_source=found_in,
            labels=labels,
            exporter=f"{original.producer_name} {original.producer_version}".strip(),
            opset=max((o.version for o in original.opset_import if o.domain == ""), default=0),
        )

    try:
        return on(chosen)
    except FailedPrecondition as error:
        if provider != "auto" or error.reason != "PROVIDER_UNAVAILABLE" or chosen == CPU:
            raise
        return on(CPU)


def _takes_rows(predictor: LocalPredictor) -> bool:
    """Return whether rows of noise, of more or less contrast, leave each other alone."""
    interface = predictor.interface
    (datatype,) = {info.datatype for info in predictor.inputs if info.name == interface.image}
    sizes = [size for size in interface.shape[1:] if size is not None]
    if datatype not in DTYPES or len(sizes) != 3:
        return False
    noise = np.random.default_rng(0).normal(size=(3, *sizes))
    noise *= np.array([0.5, 1, 2]).reshape(3, 1, 1, 1)
    dtype = np.dtype(DTYPES[datatype])
    x = (noise if dtype.kind == "f" else np.clip(32 * noise + 64, 0, 127)).astype(dtype)
    names = sorted({interface.scores, interface.logits or interface.scores})
    return are_apart(lambda rows: next(predictor.run([rows], names, Control())), x)
