"""Writing an answer: explanations as the message that carries them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from onnxplain.explainers import ClassScore, Explanation, Prediction
from onnxplain.explainers.clock import Clock
from onnxplain.proto import explain_pb2, types_pb2
from onnxplain.proto.codec import enum_from_choice, tensor_from_array
from onnxplain.proto.preprocessing import preprocessing_from_json
from onnxplain.proto.specs import spec_from_options

from .summaries import summary_messages

__all__ = ["explain_response"]


def explain_response(
    explanations: Sequence[Explanation],
    n_inputs: int,
    version: str,
    output: explain_pb2.OutputOptions,
    clock: Clock,
) -> explain_pb2.ExplainResponse:
    """Return the answer to one call.

    Parameters
    ----------
    explanations
        Image-major, as `Model.explain_all` returns them.
    n_inputs
        How many inputs they are of.
    version
        Of the model that answered.
    output
        What the answer is to hold.
    clock
        Takes the time of the stages.
    """
    with clock.stage("render"):
        overlays = [_overlay_png(one, output) for one in explanations]
        n_each = len(explanations) // n_inputs
        summaries = summary_messages(explanations, n_each, drawn=output.HasField("overlay"))
    with clock.stage("encode"):
        first, *further = explanations[::n_each]
        response = explain_pb2.ExplainResponse(
            attributions=[
                _attribution(one, output, png)
                for one, png in zip(explanations, overlays, strict=True)
            ],
            provenance=_provenance(explanations, version),
            summaries=summaries,
        )
        evaluations = (one.provenance.evaluations for one in (first, *further))
        response.provenance.evaluations = sum(evaluations)
        if output.prediction:
            response.prediction.CopyFrom(_prediction(first.prediction))
            response.further_predictions.extend(_prediction(one.prediction) for one in further)
    return response


def _attribution(
    one: Explanation, output: explain_pb2.OutputOptions, overlay_png: bytes
) -> explain_pb2.Attribution:
    kind = enum_from_choice(types_pb2.ScoreKind.DESCRIPTOR, one.score_kind)
    message = explain_pb2.Attribution(
        class_index=one.target,
        class_weights=one.target_weights,
        layer=one.provenance.layer or "",
        label=one.label or "",
        score=one.score,
        score_kind=types_pb2.ScoreKind.ValueType(kind),
        residual=one.residual,
        measures=one.measures,
        profile=[
            explain_pb2.RelevanceSum(tensor=name, sum=value) for name, value in one.profile.items()
        ],
        overlay_png=overlay_png,
        warnings=[
            explain_pb2.Notice(code=notice.code, message=notice.message) for notice in one.warnings
        ],
    )
    arrays = {
        "attribution": (output.attribution, one.attribution, np.float32),
        "heatmap": (output.heatmap, one.heatmap, np.float32),
        "native_heatmap": (output.native_heatmap, one.native_heatmap, np.float32),
        "segments": (output.segments, one.segments, np.int32),
        "coefficients": (True, one.coefficients, np.float64),
    }
    for name, (wanted, array, dtype) in arrays.items():
        if wanted and array is not None:
            getattr(message, name).CopyFrom(tensor_from_array(np.asarray(array, dtype)))
    return message


def _overlay_png(one: Explanation, output: explain_pb2.OutputOptions) -> bytes:
    if not output.HasField("overlay"):
        return b""
    options = {field.name: value for field, value in output.overlay.ListFields()}
    file = io.BytesIO()
    one.overlay(**options).save(file, "PNG")
    return file.getvalue()


def _prediction(prediction: Prediction) -> explain_pb2.Prediction:
    def score(one: ClassScore) -> explain_pb2.ClassScore:
        return explain_pb2.ClassScore(
            class_index=one.index,
            label=one.label or "",
            logit=one.logit,
            probability=one.probability,
        )

    return explain_pb2.Prediction(top=[score(one) for one in prediction.top])


def _provenance(explanations: Sequence[Explanation], version: str) -> explain_pb2.Provenance:
    made = explanations[0].provenance
    options, preprocessing = dict(made.options), made.preprocessing
    layers = dict.fromkeys(one.provenance.options.get("layer") for one in explanations)
    if len(layers) > 1:
        options["layer"] = list(layers)
    return explain_pb2.Provenance(
        method=spec_from_options(explanations[0].method, options),
        model=types_pb2.ModelRef(name=made.model_name, version=version),
        model_sha256=made.model_sha256,
        layer=made.layer or "",
        preprocessing=None if preprocessing is None else preprocessing_from_json(preprocessing),
        execution_provider=made.provider,
        threads=made.threads,
        batch_size=made.batch_size,
        seed=made.seed,
        versions=made.versions,
    )
