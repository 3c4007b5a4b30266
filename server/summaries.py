"""What several inputs have in common, as the message that carries it."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

from onnxplain.explainers import Explanation
from onnxplain.explainers.set_pictures import summary_picture
from onnxplain.proto import explain_pb2

__all__ = ["summary_messages"]

_MESSAGES = {
    "picks": explain_pb2.Picks,
    "clusters": explain_pb2.Clusters,
    "tree": explain_pb2.SurrogateTree,
}


def summary_messages(
    explanations: Sequence[Explanation], n_targets: int, *, drawn: bool
) -> list[explain_pb2.SetSummary]:
    """Return a message for each target; none of a method that explains every input on its own.

    ``explanations`` are image-major, as `Model.explain_all` returns them.
    """
    return [
        _message(explanations[target::n_targets], drawn)
        for target in range(n_targets)
        if explanations[target].summary is not None
    ]


def _message(explanations: Sequence[Explanation], drawn: bool) -> explain_pb2.SetSummary:
    summary = explanations[0].summary
    assert summary is not None
    fields = dataclasses.asdict(summary)
    kind = fields.pop("kind")
    message = explain_pb2.SetSummary(**{kind: _MESSAGES[kind](**fields)})
    if drawn:
        file = io.BytesIO()
        summary_picture(explanations).save(file, "PNG")
        message.picture_png = file.getvalue()
    return message
