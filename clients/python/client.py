"""The client: one object per server, used by as many threads as one likes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc
import numpy as np
import numpy.typing as npt
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnxplain.proto import catalog_pb2, catalog_pb2_grpc, explain_pb2, explain_pb2_grpc
from onnxplain.proto.codec import CodecError
from onnxplain.proto.specs import spec_from_options
from onnxplain.proto.types_pb2 import ModelRef

from .errors import REQUEST_ID_KEY, error_of_call, error_of_codec, trailers_of
from .inputs import ImageLike, TargetLike, input_message, target_message
from .results import Result, results_of

__all__ = ["ARRAYS", "Client"]

_T = TypeVar("_T")

#: The arrays that can be asked for.
ARRAYS = ("attribution", "heatmap", "native_heatmap", "segments")

# A call that did not reach the server, or that a starting or stopping one refused, is made again.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": "onnxplain.v1.ExplainService"},
                {"service": "onnxplain.v1.CatalogService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class Client:
    """A connection to a server; close it, or use it in a ``with`` statement.

    Parameters
    ----------
    address
        ``HOST:PORT``. Connecting happens with the first call.
    timeout
        Seconds a call may take where it does not say otherwise; ``None``: as long as it takes.
    max_message_bytes
        Largest request and answer.
    credentials
        For TLS; without them the connection is not encrypted.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float | None = 60.0,
        max_message_bytes: int = 256 * 2**20,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.address = address
        self.timeout = timeout
        options = [
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ]
        self._channel = (
            grpc.insecure_channel(address, options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options)
        )
        self._explain = explain_pb2_grpc.ExplainServiceStub(self._channel)
        self._catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and with it the calls in progress."""
        self._channel.close()

    def explain(
        self,
        image: ImageLike | Sequence[ImageLike] | None = None,
        *,
        model: str,
        version: str = "",
        method: str = "grad_cam",
        tensor: npt.ArrayLike | None = None,
        target: TargetLike = None,
        preprocessing: str | Mapping[str, Any] | None = None,
        arrays: Collection[str] = ARRAYS,
        overlay: bool | Mapping[str, Any] = False,
        time_budget: float | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Result | list[Result]:
        """Explain what a model on the server sees.

        Parameters
        ----------
        image
            A path, the bytes of a PNG, JPEG or WebP file, a PIL image or a uint8 array
            ``[H, W, C]``; or a list of these, for the methods that explain several together.
        model, version
            The model's name there, and one of its versions; by default the greatest.
        method
            See `list_methods`.
        tensor
            Instead of an image the model's own input, with the batch axis or without; of several
            rows, for the methods that explain several together.
        target
            A class index, a label, ``"top3"``, a mapping of indices or labels to weights for the
            weighted sum of their scores, such as ``{"cat": 1, "dog": -1}``, or a list of indices,
            labels and mappings; by default the class of the highest score.
        preprocessing
            Instead of the model's own: a preset's name or the JSON form as a mapping.
        arrays
            Which arrays the answer is to hold; by default all the method has.
        overlay
            Whether the heatmap is to be drawn over the picture; or how: a mapping of
            ``colormap``, ``opacity``, ``signed`` and ``colour_bar``; or of ``show``, the number of
            segments to be seen instead.
        time_budget
            Seconds after which a method that takes samples ends with the map of those it has.
        timeout
            Seconds this call may take, by default the client's.
        **options
            The method's options.

        Returns
        -------
        Result or list of Result
            One for one image, target and layer; else a list: for each image all targets, for each
            of these all layers.

        Raises
        ------
        ExplainError
            The call failed; its ``reason``, ``message`` and ``violations`` say why.
        OSError
            The image is a path that cannot be read.
        """
        several = isinstance(image, list | tuple) and image
        first, *further = cast("list[Any]", image if several else [image])
        try:
            wanted = explain_pb2.ExplainRequest(
                model=ModelRef(name=model, version=version),
                method=spec_from_options(method, options),
                input=input_message(first, tensor, preprocessing),
                further_inputs=[input_message(one, None, None) for one in further],
                target=target_message(target),
                output=_output(arrays, overlay),
                time_budget=time_budget,
            )
        except CodecError as error:
            raise error_of_codec(error) from None
        response, call = self._call(self._explain.Explain.with_call, wanted, timeout)
        request_id = str(trailers_of(call).get(REQUEST_ID_KEY, ""))
        try:
            results = results_of(response, request_id)
        except CodecError as error:
            raise error_of_codec(error, grpc.StatusCode.INTERNAL) from None
        asked = (image, target, options.get("layer"))
        listed = any(isinstance(one, list | tuple) for one in asked)
        listed = listed or isinstance(target, np.ndarray)
        return results if listed or len(results) > 1 else results[0]

    def list_methods(self, *, timeout: float | None = None) -> list[catalog_pb2.Method]:
        """Return the server's methods with their options."""
        request = catalog_pb2.ListMethodsRequest()
        return list(self._call(self._catalog.ListMethods, request, timeout).methods)

    def list_models(self, *, timeout: float | None = None) -> list[catalog_pb2.ModelSummary]:
        """Return the server's models with their states."""
        request = catalog_pb2.ListModelsRequest()
        return list(self._call(self._catalog.ListModels, request, timeout).models)

    def get_model(
        self, name: str, version: str = "", *, timeout: float | None = None
    ) -> catalog_pb2.Model:
        """Return what a model takes and gives, and which methods apply to it."""
        request = catalog_pb2.GetModelRequest(model=ModelRef(name=name, version=version))
        return self._call(self._catalog.GetModel, request, timeout).model

    def server_info(self, *, timeout: float | None = None) -> catalog_pb2.GetServerInfoResponse:
        """Return the server's version and limits."""
        request = catalog_pb2.GetServerInfoRequest()
        return self._call(self._catalog.GetServerInfo, request, timeout)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until the server has loaded its models.

        Raises
        ------
        ExplainError
            ``DEADLINE_EXCEEDED``: it has not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        request = health_pb2.HealthCheckRequest()
        while True:
            left = max(0.0, deadline - time.monotonic())
            watch = self._health.Watch(request, timeout=left, wait_for_ready=True)
            try:
                for answer in watch:
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise error_of_call(error, self.address) from None
            finally:
                watch.cancel()
            time.sleep(min(left, 0.1))  # a server that is stopping ends every watch at once

    def _call(self, call: Callable[..., _T], request: object, timeout: float | None) -> _T:
        try:
            return call(request, timeout=self.timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            raise error_of_call(error, self.address) from None


def _output(
    arrays: Collection[str], overlay: bool | Mapping[str, Any]
) -> explain_pb2.OutputOptions:
    unknown = set(arrays) - set(ARRAYS)
    if unknown:
        text = f"there is no array {', '.join(sorted(unknown))}; known: {', '.join(ARRAYS)}"
        raise CodecError("REQUEST_INVALID", [("output", text)])
    output = explain_pb2.OutputOptions(prediction=True)
    for name in arrays:
        setattr(output, name, True)
    if overlay is not False:
        try:
            output.overlay.CopyFrom(explain_pb2.Rendering(**({} if overlay is True else overlay)))
        except (TypeError, ValueError) as error:
            raise CodecError("REQUEST_INVALID", [("output.overlay", str(error))]) from None
    return output
