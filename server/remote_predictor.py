"""A classifier on another model server, batch by batch over the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from onnxplain.explainers import Control, TensorInfo
from onnxplain.explainers.predictor import DTYPES
from onnxplain.graph_rewrites import FailedPrecondition, Interface, Violation
from tritonclient.grpc import service_pb2

from .neighbour import Neighbour

__all__ = ["Activation", "Layout", "RemotePredictor"]

Activation = Literal["none", "softmax", "log_softmax", "sigmoid"]
Layout = Literal["NCHW", "NHWC"]
Array = npt.NDArray[Any]

_FREE_SIDE = 224
_COLOURS = (1, 3)
_FLOATS = ("FP32", "FP64", "FP16")
_CLOSE = 1e-3


class RemotePredictor:
    """A `Predictor` that asks a neighbour; see there for the attributes.

    Parameters
    ----------
    neighbour
        The server.
    model, version
        Its name there; by default the version that answers when none is named.
    layout, output, activation
        Of its image, the name of its scores, and what made them; by default what its metadata
        and one answer tell.
    side
        Height and width of that first question, where the model leaves them free.
    max_batch, in_flight
        Rows of one request, beside what the server itself allows, and requests on their way.

    Raises
    ------
    FailedPrecondition
        ``NO_IMAGE_INPUT``, ``NO_SCORE_OUTPUT``, ``LAYOUT_UNKNOWN`` or ``ACTIVATION_UNKNOWN``.
    OnnxplainError
        What `Neighbour.stream` raises.
    """

    quantised = False

    def __init__(
        self,
        neighbour: Neighbour,
        model: str,
        version: str = "",
        *,
        layout: Layout | None = None,
        output: str | None = None,
        activation: Activation | None = None,
        side: tuple[int, int] | None = None,
        max_batch: int | None = None,
        in_flight: int = 4,
    ) -> None:
        self._neighbour, self._model, self._version = neighbour, model, version
        self._in_flight = in_flight
        control = Control()
        asked = service_pb2.ModelMetadataRequest(name=model, version=version)
        described = neighbour.ask("ModelMetadata", asked, control)
        self.platform: str = described.platform
        self.inputs, self.outputs = (
            tuple(TensorInfo(one.name, one.datatype, tuple(one.shape)) for one in tensors)
            for tensors in (described.inputs, described.outputs)
        )
        image = self._image()
        layout = layout or _layout(image)
        scores = self._scores(output)
        self._image_name, self._datatype = image.name, image.datatype
        limits = [limit for limit in (max_batch, self._allowed(control)) if limit]
        self.max_batch: int | None = min(limits, default=None)
        answer = self._first_answer(image, layout, scores, side or (_FREE_SIDE,) * 2, control)
        activation = activation or _activation(answer)
        self.interface = Interface(
            image=image.name,
            shape=tuple(size if size > 0 else None for size in image.shape),
            layout=layout,
            scores=scores,
            logits=scores if activation == "none" else None,
            activation=activation,
            n_classes=answer.shape[1],
        )

    def run(
        self, batches: Iterable[Array], outputs: Sequence[str], control: Control
    ) -> Generator[list[Array], None, None]:
        """Yield the named outputs of every batch, a few requests ahead."""
        requests = (self._request(batch, outputs) for batch in batches)
        answers = self._neighbour.stream("ModelInfer", requests, control, self._in_flight)
        with closing(answers):
            for answer in answers:
                yield [_array(answer, name) for name in outputs]

    def _request(self, batch: Array, outputs: Sequence[str]) -> Any:
        request = service_pb2.ModelInferRequest(model_name=self._model, model_version=self._version)
        request.inputs.add(name=self._image_name, datatype=self._datatype, shape=batch.shape)
        request.raw_input_contents.append(
            np.ascontiguousarray(batch, batch.dtype.newbyteorder("<")).tobytes()
        )
        for name in outputs:
            request.outputs.add(name=name)
        return request

    def _image(self) -> TensorInfo:
        """Return the only input, which has to be an image."""
        found = [one for one in self.inputs if len(one.shape) == 4 and one.datatype in DTYPES]
        if len(self.inputs) != 1 or not found:
            raise _unfit(
                "NO_IMAGE_INPUT",
                f"takes {_shown(self.inputs)}; one input of rank 4 and of a type "
                f"{', '.join(DTYPES)} is needed, declared in the server's metadata",
            )
        return found[0]

    def _scores(self, wanted: str | None) -> str:
        for one in self.outputs:
            if one.name == wanted or (wanted is None and one.datatype in _FLOATS):
                return one.name
        raise _unfit(
            "NO_SCORE_OUTPUT",
            f"gives {_shown(self.outputs)}; "
            + (f"there is no {wanted!r}" if wanted else "an output of floats is needed"),
        )

    def _allowed(self, control: Control) -> int | None:
        """Return Triton's ``max_batch_size``; other servers do not say."""
        asked = service_pb2.ModelConfigRequest(name=self._model, version=self._version)
        try:
            found = self._neighbour.ask("ModelConfig", asked, control)
        except FailedPrecondition:
            return None
        return int(found.config.max_batch_size) or None

    def _first_answer(
        self,
        image: TensorInfo,
        layout: Layout,
        scores: str,
        side: tuple[int, int],
        control: Control,
    ) -> npt.NDArray[np.float64]:
        """Return the scores ``[1, n_classes]`` of a grey image: proof that it answers."""
        free = (1, 3, *side) if layout == "NCHW" else (1, *side, 3)
        shape = [size if size > 0 else other for size, other in zip(image.shape, free, strict=True)]
        batch = np.ones(shape, DTYPES[image.datatype])
        (answer,) = next(self.run([batch], [scores], control))
        if len(answer) != len(batch):
            raise _unfit(
                "NO_SCORE_OUTPUT", f"gives {scores} {list(answer.shape)} for {len(batch)} images"
            )
        return answer.reshape(len(batch), -1)[:1].astype(np.float64)


def _layout(image: TensorInfo) -> Layout:
    first, last = (image.shape[axis] in _COLOURS for axis in (1, 3))
    if first == last:
        raise _unfit(
            "LAYOUT_UNKNOWN",
            f"takes {_shown([image])}, which may be {' or '.join(get_args(Layout))}; give layout "
            "or preprocessing",
        )
    return "NCHW" if first else "NHWC"


def _activation(answer: npt.NDArray[np.float64]) -> Activation:
    """Return what made these scores ``[1, n_classes]``."""
    if answer.shape[1] > 1:
        if answer.min() >= 0 and abs(answer.sum() - 1) < _CLOSE:
            return "softmax"
        if answer.max() <= 0 and abs(np.exp(answer).sum() - 1) < _CLOSE:
            return "log_softmax"
    if answer.min() >= 0 and answer.max() <= 1:
        raise _unfit(
            "ACTIVATION_UNKNOWN",
            "gives scores between 0 and 1 that may be logits or probabilities; give activation: "
            + ", ".join(get_args(Activation)),
        )
    return "none"


def _array(answer: Any, name: str) -> Array:
    """Return an output of an answer, whichever of the protocol's two ways it came."""
    for index, output in enumerate(answer.outputs):
        if output.name != name or output.datatype not in _FLOATS:
            continue
        dtype = np.dtype(DTYPES[output.datatype]).newbyteorder("<")
        try:
            if answer.raw_output_contents:
                values = np.frombuffer(answer.raw_output_contents[index], dtype)
            else:
                listed = getattr(output.contents, f"{output.datatype.lower()}_contents")
                values = np.array(listed, dtype)
            return values.reshape(output.shape)
        except (AttributeError, IndexError, ValueError) as error:
            raise _unfit("REMOTE_ANSWER_INVALID", f"answers {name} wrongly: {error}") from None
    raise _unfit("REMOTE_ANSWER_INVALID", f"answers without {name} as floats")


def _shown(tensors: Iterable[TensorInfo]) -> str:
    return ", ".join(f"{one.name} {one.datatype} {list(one.shape)}" for one in tensors) or "nothing"


def _unfit(reason: str, what: str) -> FailedPrecondition:
    message = f"the remote model {what}"
    return FailedPrecondition(reason, message, violations=[Violation("model", message)])
