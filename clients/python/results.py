"""Results: the answer's messages as plain values and NumPy arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from onnxplain.proto import explain_pb2, methods_pb2, types_pb2
from onnxplain.proto.codec import array_from_tensor, choice_from_enum
from onnxplain.proto.preprocessing import preprocessing_to_json
from onnxplain.proto.specs import options_from_spec

__all__ = ["ClassScore", "Notice", "Prediction", "Provenance", "Result", "results_of"]


@dataclass(frozen=True)
class Notice:
    """Something a reader should know: a stable ``code`` (``UPPER_SNAKE``) and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class ClassScore:
    """A class with its scores; a score is ``None`` where the model does not show it."""

    index: int
    label: str | None
    logit: float | None
    probability: float | None


@dataclass(frozen=True)
class Prediction:
    """The classes of the highest scores, highest first."""

    top: tuple[ClassScore, ...]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a result was made: enough to make it again.

    Attributes
    ----------
    options
        The method's options, every one with the value that was in effect.
    timings_ms
        Milliseconds on the server by stage; ``queue`` and ``total`` among them.

    The others are as in the message ``Provenance`` of ``explain.proto``.
    """

    options: Mapping[str, Any]
    model_name: str
    model_version: str
    model_sha256: str
    layer: str | None
    preprocessing: Mapping[str, Any] | None
    provider: str
    threads: int
    batch_size: int
    seed: int | None
    evaluations: int
    timings_ms: Mapping[str, float]
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Where one image speaks for one class, or for a weighted sum of classes.

    Attributes
    ----------
    method, target, label, score, score_kind
        The method; the class explained, ``None`` for a sum, its name if the model has labels, its
        score and what that is: ``logit`` or ``probability``.
    target_weights
        The weights of the classes of a sum, ``None`` for one class.
    attribution
        float32 in the layout of the model's input without batch axis; ``None`` for methods that
        have none.
    heatmap
        float32 ``[H, W]``, the size of the model's input; signed, not normalised.
    native_heatmap
        float32 ``[h, w]`` at the resolution of the method.
    segments, coefficients
        int32 ``[H, W]`` superpixel of every pixel, and the weight of each: LIME only.
    residual
        Measured error of the sum that the method claims, where it claims one.
    measures
        Further numbers of the method, such as LIME's ``r2``.
    profile
        With the option ``profile``: sums of relevance by tensor, from the score to the image.
    summary
        Of a method that explains several images together, what it finds out about them for this
        target: the message ``SetSummary`` of ``explain.proto`` as a dictionary, with its ``kind``.
    summary_png
        The same drawn, as a PNG file, when overlays are asked for.
    prediction
        What the model says about the image.
    overlay_png
        The heatmap over the picture as a PNG file, when asked for.
    warnings
        What to know when reading the map.
    provenance
        How it was made.
    request_id
        What the server's log names the call by.

    Arrays that were not asked for are ``None``; all are read-only.
    """

    method: str
    target: int | None
    target_weights: Mapping[int, float] | None
    label: str | None
    score: float
    score_kind: str | None
    attribution: npt.NDArray[np.float32] | None
    heatmap: npt.NDArray[np.float32] | None
    native_heatmap: npt.NDArray[np.float32] | None
    segments: npt.NDArray[np.int32] | None
    coefficients: npt.NDArray[np.float64] | None
    residual: float | None
    measures: Mapping[str, float]
    profile: Mapping[str, float]
    summary: Mapping[str, Any] | None
    summary_png: bytes | None
    prediction: Prediction
    overlay_png: bytes | None
    warnings: tuple[Notice, ...]
    provenance: Provenance
    request_id: str

    def to_dict(self) -> dict[str, Any]:
        """Return everything but arrays and picture, as JSON values."""
        rest = {"prediction", "warnings", "provenance", "measures", "profile"}
        without = {"overlay_png", "summary_png", *rest, *_ARRAYS}
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in without
        }
        options = {name: _in_words(value) for name, value in self.provenance.options.items()}
        return plain | {
            "measures": dict(self.measures),
            "profile": dict(self.profile),
            "prediction": dataclasses.asdict(self.prediction),
            "warnings": [dataclasses.asdict(notice) for notice in self.warnings],
            "provenance": dataclasses.asdict(self.provenance) | {"options": options},
        }


def _in_words(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_words(one) for one in value]
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else value


_ARRAYS = ("attribution", "heatmap", "native_heatmap", "segments", "coefficients")


def results_of(response: explain_pb2.ExplainResponse, request_id: str) -> list[Result]:
    """Return the results of an answer, one per input, target and layer.

    Raises
    ------
    CodecError
        The answer is not what it claims to be.
    """
    method, options = _method(response.provenance.method)
    provenance = _provenance(response, options)
    several = isinstance(options.get("layer"), list)
    predictions = [
        Prediction(tuple(_class_score(one) for one in prediction.top))
        for prediction in (response.prediction, *response.further_predictions)
    ]
    n_each = max(1, len(response.attributions) // len(predictions))
    summaries = [_summary(one) for one in response.summaries] or [({}, None)]
    return [
        Result(
            method=method,
            target=_optional(one, "class_index"),
            target_weights=dict(one.class_weights) or None,
            label=one.label or None,
            score=one.score,
            score_kind=choice_from_enum(types_pb2.ScoreKind.DESCRIPTOR, one.score_kind),
            residual=_optional(one, "residual"),
            measures=dict(one.measures),
            profile={found.tensor: found.sum for found in one.profile},
            summary=summaries[place % len(summaries)][0] or None,
            summary_png=summaries[place % len(summaries)][1],
            prediction=predictions[place // n_each],
            overlay_png=one.overlay_png or None,
            warnings=tuple(Notice(notice.code, notice.message) for notice in one.warnings),
            provenance=_at(provenance, one.layer) if several else provenance,
            request_id=request_id,
            **{name: _array(one, name) for name in _ARRAYS},
        )
        for place, one in enumerate(response.attributions)
    ]


def _summary(message: explain_pb2.SetSummary) -> tuple[dict[str, Any], bytes | None]:
    kind = message.WhichOneof("kind") or ""
    found = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    ).get(kind, {})
    for group in (*found.get("groups", ()), found.get("everything", {})):
        group.setdefault("split", None)
    return found | {"kind": kind}, message.picture_png or None


def _method(spec: methods_pb2.MethodSpec) -> tuple[str, dict[str, Any]]:
    """Return the method and all its options; what is unset in an answer is ``None``."""
    method, options = options_from_spec(spec)
    known: Iterable[str] = getattr(spec, method).DESCRIPTOR.fields_by_name
    return method, dict.fromkeys(known) | options


def _array(message: Message, field: str) -> Any:
    tensor = _optional(message, field)
    return None if tensor is None else array_from_tensor(tensor)


def _provenance(response: explain_pb2.ExplainResponse, options: Mapping[str, Any]) -> Provenance:
    made, timings = response.provenance, response.timings
    return Provenance(
        options=options,
        model_name=made.model.name,
        model_version=made.model.version,
        model_sha256=made.model_sha256,
        layer=made.layer or None,
        preprocessing=(
            preprocessing_to_json(made.preprocessing) if made.HasField("preprocessing") else None
        ),
        provider=made.execution_provider,
        threads=made.threads,
        batch_size=made.batch_size,
        seed=_optional(made, "seed"),
        evaluations=made.evaluations,
        timings_ms={**timings.stages_ms, "queue": timings.queue_ms, "total": timings.total_ms},
        versions=dict(made.versions),
    )


def _at(provenance: Provenance, layer: str) -> Provenance:
    """Return how the result of one layer was made, of several that were asked for."""
    options = {**provenance.options, "layer": layer}
    return dataclasses.replace(provenance, layer=layer, options=options)


def _class_score(one: explain_pb2.ClassScore) -> ClassScore:
    return ClassScore(
        index=one.class_index,
        label=one.label or None,
        logit=_optional(one, "logit"),
        probability=_optional(one, "probability"),
    )


def _optional(message: Message, field: str) -> Any:
    """Return the field's value, ``None`` where it is unset."""
    return getattr(message, field) if message.HasField(field) else None
