"""onnxruntime sessions: explicit threads, a provider that is what was asked for, safe to cancel."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxplain.graph_rewrites import FailedPrecondition, InvalidArgument, Violation

from .control import Control
from .weights import detach_weights

__all__ = ["Provider", "Session", "available_cpus", "choose_provider"]

Provider = Literal["auto", "cpu", "cuda"]
Array = npt.NDArray[Any]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FATAL_ONLY = 4
_BYTES_KEPT = 2.5  # for each of the model's: measured from 1.2 (Grad-CAM) to 2.6 (gradient)


def available_cpus() -> int:
    """Return how many CPUs this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def choose_provider(wanted: Provider) -> str:
    """Return the onnxruntime execution provider for what the user wants.

    Raises
    ------
    FailedPrecondition
        ``PROVIDER_UNAVAILABLE``: ``cuda`` is wanted and there is none.
    InvalidArgument
        ``OPTION_OUT_OF_RANGE``: no such provider.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        message = f"provider {wanted!r} is not one of auto, cpu, cuda"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("provider", message)]
        )
    if wanted == "cpu":
        return CPU
    obstacle = _cuda_obstacle()
    if obstacle is None:
        return CUDA
    if wanted == "auto":
        return CPU
    raise FailedPrecondition(
        "PROVIDER_UNAVAILABLE",
        f"provider cuda cannot be used: {obstacle}; use provider cpu, or auto",
        violations=[Violation("provider", obstacle)],
    )


@functools.cache
def _cuda_obstacle() -> str | None:
    """Say why CUDA cannot be used; ``None`` when it may be."""
    if CUDA not in ort.get_available_providers():
        return "this onnxruntime is built without it (install onnxruntime-gpu)"
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "the machine has no NVIDIA driver"
    ort.preload_dlls()  # finds CUDA and cuDNN installed as Python packages
    return None


class Session:
    """A model ready to run, for several threads at once.

    ``n_bytes`` is what it takes of memory, by estimate: weights, their reordered copies, and the
    activations of a small batch.

    Parameters
    ----------
    model
        The model, with all its weights.
    provider
        Execution provider, as `choose_provider` returns it; another one taking its place is an
        error.
    threads
        Threads of one forward pass.

    Raises
    ------
    FailedPrecondition
        ``MODEL_NOT_RUNNABLE``: onnxruntime does not accept the model.
    """

    def __init__(self, model: onnx.ModelProto, provider: str, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY  # what it would log is in the error
        providers = [provider] if provider == CPU else [provider, CPU]
        try:
            bare, weights = detach_weights(model)
            options.add_external_initializers(list(weights), list(weights.values()))
            self._session = ort.InferenceSession(bare, options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise FailedPrecondition(
                "MODEL_NOT_RUNNABLE",
                f"onnxruntime {ort.__version__} does not accept the model: {_first_line(error)}",
            ) from error
        self._session.disable_fallback()
        if self._session.get_providers()[0] != provider:
            raise FailedPrecondition(
                "PROVIDER_UNAVAILABLE",
                f"onnxruntime cannot load {provider}; pip install 'onnxplain[cuda]', or use cpu",
            )
        n_bytes = len(bare) + sum(value.tensor_size_in_bytes() for value in weights.values())
        self.n_bytes = int(_BYTES_KEPT * n_bytes)
        self.inputs: Sequence[Any] = self._session.get_inputs()
        self.outputs: Sequence[Any] = self._session.get_outputs()

    def run(
        self, feeds: Mapping[str, Array], outputs: Iterable[str], control: Control
    ) -> list[Array]:
        """Return the named outputs; ends early with the error of ``control.cancel``.

        Raises
        ------
        FailedPrecondition
            ``MODEL_RUN_FAILED``: onnxruntime failed on this input.
        """
        run_options = ort.RunOptions()
        run_options.log_severity_level = _FATAL_ONLY
        try:
            with control.terminating(run_options):
                arrays: list[Array] = self._session.run(list(outputs), dict(feeds), run_options)
        except Exception as error:
            control.check()
            raise FailedPrecondition(
                "MODEL_RUN_FAILED", f"the model failed on this input: {_first_line(error)}"
            ) from error
        return arrays

    def run_rows(
        self,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        control: Control,
        *,
        batch_size: int,
        fixed: bool = False,
        shared: Mapping[str, Array] | None = None,
    ) -> list[Array]:
        """As `run`, at most ``batch_size`` rows of every feed at a time; ``shared`` ones whole.

        With ``fixed``, exactly so many: the last ones are repeated to fill up and dropped again.
        """
        n_rows = len(next(iter(feeds.values())))
        parts: list[list[Array]] = []
        for start in range(0, n_rows, batch_size):
            rows = np.arange(start, min(start + batch_size, n_rows))
            kept = len(rows)
            if fixed and kept < batch_size:
                rows = np.pad(rows, (0, batch_size - kept), mode="edge")
            taken = {name: feed[rows] for name, feed in feeds.items()}
            part = self.run(taken | dict(shared or {}), outputs, control)
            parts.append([array[:kept] for array in part])
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
