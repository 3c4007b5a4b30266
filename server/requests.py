"""Reading a request: everything that can be checked without its model, all at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from google.protobuf.unknown_fields import UnknownFieldSet
from onnxplain.explainers import Preprocessing, Target
from onnxplain.explainers.access import check_limits
from onnxplain.explainers.explanation import check_show
from onnxplain.graph_rewrites import Inputs, InvalidArgument, Violation, get_method
from onnxplain.proto import explain_pb2, methods_pb2, types_pb2
from onnxplain.proto.codec import CodecError, array_from_tensor
from onnxplain.proto.preprocessing import preprocessing_to_json
from onnxplain.proto.specs import options_from_spec

__all__ = ["Order", "in_request_terms", "read_request"]

_DEFAULT_OUTPUT = explain_pb2.OutputOptions(heatmap=True, prediction=True)
_DEFAULT_RANGE = {"range": [0.0, 255.0]}
_LIKE_TOP_K = re.compile(r"top-?\d+")  # what the library takes for the k highest scores

# Fields of the request by the names that the library's errors give them.
_FIELDS = {
    "image": "input.image.data",
    "tensor": "input.tensor",
    "preprocessing": "input.preprocessing",
    "colormap": "output.overlay.colormap",
    "opacity": "output.overlay.opacity",
    "show": "output.overlay.show",
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a request asks for, as `Model.explain_all` takes it; image or tensor is ``None``.

    Several inputs are a list of images.
    """

    method: str
    options: Mapping[str, Any]
    image: bytes | list[bytes] | None
    tensor: npt.NDArray[Any] | None
    preprocessing: Preprocessing | None
    target: Target
    time_budget: float | None
    output: explain_pb2.OutputOptions

    @property
    def n_inputs(self) -> int:
        """How many inputs it is about."""
        if self.tensor is not None and self.tensor.ndim == 4:
            return len(self.tensor)
        return len(self.image) if isinstance(self.image, list) else 1


def read_request(request: explain_pb2.ExplainRequest, *, max_targets: int) -> Order:
    """Return what the request asks for.

    Raises
    ------
    InvalidArgument
        With the reason of the first and the fields of all that is wrong.
    """
    reader = _Reader()
    if not request.model.name:
        reader.wrong("REQUEST_INVALID", "model.name", "name a model; ListModels lists them")
    method, options = reader.method(request.method)
    image, tensor = reader.picture_or_tensor(request.input, method)
    further = reader.further(request.further_inputs, method, image)
    order = Order(
        method=method,
        options=options,
        image=[image, *further] if image is not None and further else image,
        tensor=tensor,
        preprocessing=reader.preprocessing(request.input),
        target=reader.target(request.target, max_targets, _n_layers(options)),
        time_budget=request.time_budget if request.HasField("time_budget") else None,
        output=request.output if request.HasField("output") else _DEFAULT_OUTPUT,
    )
    opacity = order.output.overlay.opacity
    if not 0 <= opacity <= 1:
        text = f"opacity {opacity:g} is not between 0 and 1"
        reader.wrong("OPTION_OUT_OF_RANGE", "output.overlay.opacity", text)
    reader.time_budget(order.time_budget, method)
    if order.output.overlay.HasField("show"):
        reader.show(order.output.overlay.show, method)
    reader.finish()
    return order


def in_request_terms(error: InvalidArgument, method: str = "") -> InvalidArgument:
    """Name the request's fields in an error of the library, which names its own parameters."""
    spec = methods_pb2.MethodSpec.DESCRIPTOR.fields_by_name.get(method)
    message = None if spec is None else spec.message_type
    options: Iterable[str] = () if message is None else message.fields_by_name
    fields = _FIELDS | {option: f"method.{method}.{option}" for option in options}

    def field(subject: str) -> str:
        name, dot, rest = subject.partition(".")
        return fields.get(name, name) + dot + rest

    error.violations = tuple(
        Violation(field(violation.subject), violation.description) for violation in error.violations
    )
    return error


def _n_layers(options: Mapping[str, Any]) -> int:
    layers = options.get("layer")
    return len(layers) if isinstance(layers, list) else 1


class _Reader:
    """Collects what is wrong while fields are read; what is wrong reads as nothing."""

    def __init__(self) -> None:
        self._found: list[InvalidArgument] = []

    def wrong(self, reason: str, field: str, description: str) -> None:
        violations = [Violation(field, description)]
        self.add(InvalidArgument(reason, description, violations=violations))

    def add_codec(self, error: CodecError, prefix: str = "") -> None:
        violations = [Violation(f"{prefix}{field}", text) for field, text in error.violations]
        self.add(InvalidArgument(error.reason, str(error), violations=violations))

    def add(self, error: InvalidArgument) -> None:
        self._found.append(error)

    def finish(self) -> None:
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise InvalidArgument(
                self._found[0].reason,
                "; ".join(error.message for error in self._found),
                violations=[one for error in self._found for one in error.violations],
            )

    def method(self, given: methods_pb2.MethodSpec) -> tuple[str, dict[str, Any]]:
        try:
            method, options = options_from_spec(given)
        except CodecError as error:
            self.add_codec(error)
            return "", {}
        unknown = UnknownFieldSet(getattr(given, method))
        for number in sorted({unknown[n].field_number for n in range(len(unknown))}):
            text = f"this server knows no option {number} of {method}; ListMethods lists them all"
            self.wrong("UNKNOWN_OPTION", f"method.{method}", text)
        try:
            get_method(method).resolve(options)
        except InvalidArgument as error:
            self.add(in_request_terms(error, method))
        return method, options

    def time_budget(self, seconds: float | None, method: str) -> None:
        try:
            if method:
                check_limits(get_method(method), seconds, checkpoint=False, n_inputs=1)
        except InvalidArgument as error:
            self.add(error)

    def show(self, n_segments: int, method: str) -> None:
        try:
            returned = get_method(method).returns if method else ()
            check_show(n_segments, method, weighs_segments="coefficients" in returned)
        except InvalidArgument as error:
            self.add(in_request_terms(error))

    def picture_or_tensor(
        self, given: types_pb2.Input, method: str
    ) -> tuple[bytes | None, npt.NDArray[Any] | None]:
        kind = given.WhichOneof("kind")
        if kind == "image":
            return given.image.data, None
        if kind == "tensor":
            try:
                tensor = array_from_tensor(given.tensor)
            except CodecError as error:
                self.add_codec(error, "input.tensor.")
            else:
                singly = not method or get_method(method).inputs is Inputs.SINGLY
                if tensor.ndim == 4 and len(tensor) != 1 and singly:
                    text = f"{method} explains one input a call; this tensor holds {len(tensor)}"
                    self.wrong("TENSOR_INVALID", "input.tensor.shape", text)
                return None, tensor
        else:
            text = "set input.image, the bytes of a picture file, or input.tensor"
            self.wrong("INPUT_INVALID", "input", text)
        return None, None

    def further(
        self, given: Sequence[types_pb2.Input], method: str, first: bytes | None
    ) -> list[bytes]:
        """Return the pictures beside the first."""
        if given and method and get_method(method).inputs is Inputs.SINGLY:
            text = f"{method} explains every input on its own: make a call for each"
            self.wrong("INPUT_INVALID", "further_inputs", text)
        elif given and first is None:
            text = "several pictures go with input.image; a tensor holds all its inputs as rows"
            self.wrong("INPUT_INVALID", "further_inputs", text)
        for position, one in enumerate(given):
            field = f"further_inputs[{position}]"
            if one.WhichOneof("kind") != "image":
                self.wrong(
                    "INPUT_INVALID", field, f"set {field}.image, the bytes of a picture file"
                )
            if one.WhichOneof("preprocessing_override"):
                text = f"{field} sets a preprocessing; that of input holds for all"
                self.wrong("INPUT_INVALID", field, text)
        return [one.image.data for one in given]

    def preprocessing(self, given: types_pb2.Input) -> Preprocessing | None:
        kind = given.WhichOneof("preprocessing_override")
        try:
            if kind == "preset":
                return Preprocessing.preset(given.preset)
            if kind == "preprocessing":
                values = preprocessing_to_json(given.preprocessing)
                return Preprocessing.from_dict(_DEFAULT_RANGE | values)
        except CodecError as error:
            self.add_codec(error)
        except InvalidArgument as error:
            self.add(in_request_terms(error))
        return None

    def target(self, given: types_pb2.Target, max_targets: int, n_layers: int) -> Target:
        kind = given.WhichOneof("kind") or ""
        counts = {
            "top_k": given.top_k,
            "classes": len(given.classes.classes),
            "sums": len(given.sums.sums),
        }
        count = counts.get(kind, 1)
        if not 1 <= count * n_layers <= max_targets:
            times = f" times {n_layers} layers" if n_layers > 1 else ""
            text = f"{count} targets{times} in one call; 1 to {max_targets} are allowed"
            self.wrong("TARGET_INVALID", f"target.{kind}" if kind else "target", text)
            return None
        if not kind:
            return None
        if kind == "class_index":
            return given.class_index
        if kind == "label":
            return self._label(given.label, "target.label")
        if kind == "top_k":
            return f"top{count}"
        if kind == "sums":
            return [
                self._sum(one, f"target.sums.sums[{position}]")
                for position, one in enumerate(given.sums.sums)
            ]
        return [
            self._class(one, f"target.classes.classes[{position}]")
            for position, one in enumerate(given.classes.classes)
        ]

    def _sum(self, given: types_pb2.ClassSum, field: str) -> dict[int | str, float]:
        found: dict[int | str, float] = {}
        for position, one in enumerate(given.classes):
            at = f"{field}.classes[{position}]"
            name = self._class(one.class_ref, f"{at}.class_ref")
            if name in found:
                self.wrong("TARGET_INVALID", at, f"{at} weighs class {name!r} a second time")
            found[name] = one.weight
        return found

    def _class(self, given: types_pb2.ClassRef, field: str) -> int | str:
        kind = given.WhichOneof("kind")
        if kind is None:
            self.wrong("TARGET_INVALID", field, f"{field} names no class; set index or label")
        return self._label(given.label, f"{field}.label") if kind == "label" else given.index

    def _label(self, label: str, field: str) -> str:
        if _LIKE_TOP_K.fullmatch(label):
            text = f"{label!r} cannot be given as a label; use top_k, or the class's index"
            self.wrong("TARGET_INVALID", field, text)
        return label
