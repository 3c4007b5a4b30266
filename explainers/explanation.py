"""What an explanation is: maps, scores, and how they were made."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxplain.graph_rewrites import FailedPrecondition, InvalidArgument, Violation, in_words

from .classifier import ScoreKind
from .prediction import Prediction
from .run import Result
from .summary import Summary

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Explanation", "Notice", "Provenance", "caveats", "check_show", "finite", "versions"]

_LARGE_RESIDUAL = 0.1
_ROUNDING = 1e-5  # of all that is distributed, regardless of sign
_AMPLIFIED = 10.0

FloatMap = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Notice:
    """Something a reader should know: a stable ``code`` (``UPPER_SNAKE``) and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How an explanation was made: enough to make it again.

    Attributes
    ----------
    options
        The method's options, every one with the value that was in effect.
    model_name, model_sha256
        The model and its file's hash; empty for a model elsewhere.
    layer
        The tensor taken as feature map, if any.
    preprocessing
        What turned the image into the input; ``None`` when the input was a tensor.
    provider, threads
        onnxruntime's execution provider and its threads; of a model elsewhere its address, and 0.
    batch_size
        Rows of one forward pass.
    seed
        Of the random numbers; ``None`` when there are none.
    evaluations
        Forward passes spent on this input, all its targets together.
    timings_ms
        Milliseconds by stage.
    versions
        Versions of the software, by distribution name.
    """

    options: Mapping[str, Any]
    model_name: str
    model_sha256: str
    layer: str | None
    preprocessing: Mapping[str, Any] | None
    provider: str
    threads: int
    batch_size: int
    seed: int | None
    evaluations: int
    timings_ms: Mapping[str, float]
    versions: Mapping[str, str] = field(default_factory=lambda: versions())


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Where one image speaks for one class, or for a weighted sum of classes.

    Attributes
    ----------
    method
        The method's name.
    target, label
        The class explained, ``None`` for a sum; its name if the model has labels.
    target_weights
        The weights of the classes of a sum, ``None`` for one class.
    score, score_kind
        The score explained and what it is, ``logit`` or ``probability``.
    attribution
        float32 in the layout of the model's input without batch axis; ``None`` for methods that
        have none (CAM, LIME).
    heatmap
        float32 ``[H, W]``, the size of the model's input; signed, not normalised.
    native_heatmap
        float32 ``[h, w]`` at the resolution of the method.
    segments, coefficients
        int32 ``[H, W]`` superpixel of every pixel, and the weight of each: LIME only.
    residual
        Measured error of the sum that the method claims, where it claims one.
    profile
        For relevance propagation with ``profile``: its sum at the score, then at every tensor that
        all paths pass, back to the image, by the tensor's name.
    measures
        Further numbers of the method, such as LIME's ``r2``; of a method that is one graph,
        ``forward_difference``: how far the scores of that graph are from the file's own.
    summary
        What a method of several inputs finds out about them together, for this target; ``None`` for
        the others.
    prediction
        What the model says about the image.
    picture
        uint8 ``[H, W, 1 or 3]``: what the model saw, before scaling to its numbers.
    warnings
        What to know when reading the map.
    provenance
        How it was made.
    """

    method: str
    target: int | None
    target_weights: Mapping[int, float] | None
    label: str | None
    score: float
    score_kind: ScoreKind
    attribution: FloatMap | None
    heatmap: FloatMap
    native_heatmap: FloatMap
    segments: npt.NDArray[np.int32] | None
    coefficients: npt.NDArray[np.float64] | None
    residual: float | None
    measures: Mapping[str, float]
    profile: Mapping[str, float]
    summary: Summary | None
    prediction: Prediction
    picture: npt.NDArray[np.uint8]
    warnings: tuple[Notice, ...]
    provenance: Provenance

    def overlay(self, *, show: int | None = None, **options: Any) -> Image.Image:
        """Return the heatmap drawn over the picture; options as for `rendering.overlay`.

        With ``show``, instead, so many segments that speak most for the class, as they are in the
        picture, and the rest of it faded; for methods that weigh segments.

        Raises
        ------
        InvalidArgument
            ``OPTION_OUT_OF_RANGE``, and what drawing raises.
        """
        from .rendering import overlay, strongest_segments  # Matplotlib is slow to import

        if show is not None:
            check_show(show, self.method, weighs_segments=self.coefficients is not None)
            if self.segments is not None and self.coefficients is not None:
                return strongest_segments(self.picture, self.segments, self.coefficients, show=show)
        return overlay(self.picture, self.heatmap, **{"segments": self.segments, **options})

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON values."""
        plain = {
            item.name: value
            for item in dataclasses.fields(self)
            if not isinstance(value := getattr(self, item.name), np.ndarray)
        }
        for name in ("attribution", "segments", "coefficients"):
            plain.pop(name, None)
        plain["prediction"] = dataclasses.asdict(self.prediction)
        plain["provenance"] = dataclasses.asdict(self.provenance)
        plain["provenance"]["options"] = {
            name: in_words(value) for name, value in self.provenance.options.items()
        }
        plain["warnings"] = [dataclasses.asdict(notice) for notice in self.warnings]
        plain["summary"] = None if self.summary is None else dataclasses.asdict(self.summary)
        plain["measures"], plain["profile"] = dict(self.measures), dict(self.profile)
        return plain


def check_show(show: int, method: str, *, weighs_segments: bool) -> None:
    """Refuse to show no segments, or those of a method that weighs none.

    Raises
    ------
    InvalidArgument
        ``OPTION_OUT_OF_RANGE``.
    """
    message = ""
    if not weighs_segments:
        message = f"show is for methods that weigh segments, such as lime; {method} does not here"
    elif show < 1:
        message = f"show {show} is below 1: how many segments are to be seen?"
    if message:
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("show", message)]
        )


def finite(heatmap: FloatMap, method: str) -> FloatMap:
    """Return the map; raise ``EXPLANATION_NOT_FINITE`` where it holds NaN or infinity."""
    if not np.isfinite(heatmap).all():
        raise FailedPrecondition(
            "EXPLANATION_NOT_FINITE",
            f"{method} gives NaN or infinity here: the model's derivatives overflow its own "
            "precision; try a method of forward passes, such as lime",
        )
    return heatmap


def caveats(result: Result, options: Mapping[str, Any]) -> list[Notice]:
    """Say why a map is zero everywhere, or how far it is from the sum that it claims."""
    if np.any(result.heatmap):
        return _incomplete(result) + _cancelling(result)
    if options.get("relu"):
        message = "no pixel speaks for this class; relu=false shows what speaks against it"
        return [Notice("NO_POSITIVE_EVIDENCE", message)]
    message = "the map is zero everywhere: nothing in the image changes this score"
    if result.residual:
        message = (
            f"the map is zero everywhere, though the method distributes {-result.residual:.3g}: "
            "biases, zeros of the image or terms of the other sign took it all"
        )
    if options.get("start") == "positive_score" and result.residual == 0:
        message = (
            "the score is not positive, and nothing else is distributed; start=score distributes "
            "it as it is"
        )
    return [Notice("NO_EVIDENCE", message)]


def _incomplete(result: Result) -> list[Notice]:
    if result.residual is None or result.attribution is None:
        return []
    if not np.isfinite(result.residual):
        raise FailedPrecondition(
            "EXPLANATION_NOT_FINITE",
            "what the map is to sum to is NaN or infinite: the model has no score for the baseline "
            "that is a number; choose another baseline",
        )
    found = float(result.attribution.sum(dtype=np.float64))
    claimed = found - result.residual
    moved = float(np.abs(result.attribution).sum(dtype=np.float64))
    if abs(result.residual) <= max(_LARGE_RESIDUAL * abs(claimed), _ROUNDING * moved):
        return []
    message = (
        f"the map sums to {found:.3g} where the method distributes {claimed:.3g}; biases, "
        "stabilisers or too few steps took the rest: read it as proportions"
    )
    return [Notice("LARGE_RESIDUAL", message)]


def _cancelling(result: Result) -> list[Notice]:
    worst = {name: ratio for name, ratio in result.amplification.items() if ratio > _AMPLIFIED}
    if not worst:
        return []
    shown = sorted(worst, key=lambda name: -worst[name])[:3]
    message = (
        f"branches cancel where they are added ({', '.join(shown)}): their shares of relevance are "
        f"up to {max(worst.values()):.0f} times what arrives; add=zplus has no such quotients"
    )
    return [Notice("CANCELLATION", message)]


def versions() -> dict[str, str]:
    """Return the versions of the software that makes the numbers, by distribution name."""
    return {
        "onnxplain": importlib.metadata.version("onnxplain"),
        "onnxruntime": ort.__version__,
        "numpy": np.__version__,
        "scikit-image": importlib.metadata.version("scikit-image"),
    }
