"""``load_remote``: from the address of a model on another server to a `Model`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from onnxplain.explainers import Model, Preprocessing
from onnxplain.explainers.sources import PreprocessingLike, read_preprocessing
from onnxplain.graph_rewrites import FailedPrecondition, InvalidArgument, Violation

if TYPE_CHECKING:
    from .remote_predictor import Activation, Layout

__all__ = ["load_remote"]

_URL = re.compile(r"(oips?)://([^/\s]+:\d{1,5})/([^/\s]+)(?:/([^/\s]+))?")


def load_remote(
    url: str,
    *,
    preprocessing: PreprocessingLike | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    name: str | None = None,
    output: str | None = None,
    layout: Layout | None = None,
    activation: Activation | None = None,
    timeout: float = 60.0,
    retries: int = 4,
    max_batch: int | None = None,
    in_flight: int = 4,
    headers: Sequence[tuple[str, str]] = (),
    credentials: grpc.ChannelCredentials | None = None,
) -> Model:
    """Return a classifier of images that runs on another model server.

    The server speaks the Open Inference Protocol over gRPC, as Triton, KServe, MLServer and
    OpenVINO Model Server do. Methods that need only forward passes explain the model; others are
    refused, for its graph is not here.

    Parameters
    ----------
    url
        ``oip://HOST:PORT/MODEL`` or ``oip://HOST:PORT/MODEL/VERSION``; ``oips`` for TLS.
    preprocessing, labels
        As for `load`; without preprocessing only ``tensor=`` works.
    name
        What to call it; by default its name there.
    output
        Name of the output that holds the scores; by default the first of floats.
    layout
        ``NCHW`` or ``NHWC``; by default the preprocessing's, else as the input's sizes tell.
    activation
        What makes the scores: ``none`` where they are logits, ``softmax``, ``log_softmax``,
        ``sigmoid``; by default as a first answer tells.
    timeout
        Seconds after which the answer to one batch is given up, all attempts together.
    retries
        How many more times a batch is sent to a server that is unavailable, with growing pauses.
    max_batch
        The most rows of one request, where the server takes fewer than its metadata says.
    in_flight
        The most requests on their way.
    headers, credentials
        Sent with every call, such as ``("authorization", "Bearer ...")``; for TLS, by default the
        roots that gRPC knows.

    Raises
    ------
    InvalidArgument
        ``URL_INVALID``, ``PREPROCESSING_INVALID`` or ``LABELS_INVALID``.
    FailedPrecondition
        ``REMOTE_NOT_INSTALLED``, or the model is none of images.
    NotFound
        ``REMOTE_NOT_FOUND``: there is no such model.
    Unavailable
        The server does not answer.
    """
    try:
        from .neighbour import Neighbour
        from .remote_predictor import RemotePredictor
    except ModuleNotFoundError as error:
        raise FailedPrecondition(
            "REMOTE_NOT_INSTALLED",
            "models of other servers need one more package: pip install 'onnxplain[remote]'",
        ) from error
    parts = _URL.fullmatch(url)
    if parts is None:
        message = f"{url!r} is not oip://HOST:PORT/MODEL or oip://HOST:PORT/MODEL/VERSION"
        raise InvalidArgument("URL_INVALID", message, violations=[Violation("url", message)])
    scheme, address, model, version = parts.groups(default="")
    known = None if preprocessing is None else read_preprocessing(preprocessing)
    if credentials is None and scheme == "oips":
        credentials = grpc.ssl_channel_credentials()
    predictor = RemotePredictor(
        Neighbour(
            address, credentials=credentials, headers=headers, timeout=timeout, retries=retries
        ),
        model,
        version,
        layout=layout or _layout(known),
        output=output,
        activation=activation,
        side=_side(known),
        max_batch=max_batch,
        in_flight=in_flight,
    )
    return Model(
        predictor,
        None,
        name=name or model,
        sha256="",
        provider=f"{scheme}://{address}",
        threads=0,
        preprocessing=known,
        labels=labels,
        exporter=predictor.platform,
        opset=0,
    )


def _layout(known: Preprocessing | None) -> Layout | None:
    if known is None:
        return None
    return "NHWC" if known.layout == "NHWC" else "NCHW"


def _side(known: Preprocessing | None) -> tuple[int, int] | None:
    """Return the height and width of what the preprocessing makes, where it says."""
    if known is not None and known.crop is not None:
        return known.crop, known.crop
    return known.resize.size if known is not None and known.resize is not None else None
