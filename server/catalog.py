"""CatalogService: what the server can do, as messages."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from onnxplain.explainers.explanation import versions
from onnxplain.explainers.images import MAX_PIXELS
from onnxplain.graph_rewrites import Method, Option, list_methods
from onnxplain.proto import catalog_pb2, catalog_pb2_grpc, types_pb2
from onnxplain.proto.codec import enum_from_choice
from onnxplain.proto.preprocessing import preprocessing_from_json
from typing_extensions import override

from .models import ServedModel, ServedModels
from .settings import Settings

__all__ = ["CatalogService"]


class CatalogService(catalog_pb2_grpc.CatalogServiceServicer):
    """Answers from what is in memory; only applicability is worked out, off the event loop."""

    def __init__(self, settings: Settings, models: ServedModels) -> None:
        self._settings = settings
        self._models = models

    @override
    async def GetServerInfo(
        self, request: catalog_pb2.GetServerInfoRequest, context: Any
    ) -> catalog_pb2.GetServerInfoResponse:
        """Tell the server's version and limits."""
        software = versions()
        return catalog_pb2.GetServerInfoResponse(
            version=software["onnxplain"],
            limits=catalog_pb2.Limits(
                max_message_bytes=self._settings.max_message_bytes,
                max_image_pixels=MAX_PIXELS,
                max_targets=self._settings.max_targets,
                workers=self._settings.workers,
                queue=self._settings.queue,
            ),
            versions=software,
        )

    @override
    async def ListMethods(
        self, request: catalog_pb2.ListMethodsRequest, context: Any
    ) -> catalog_pb2.ListMethodsResponse:
        """List the declared methods."""
        return catalog_pb2.ListMethodsResponse(methods=map(_method, list_methods()))

    @override
    async def ListModels(
        self, request: catalog_pb2.ListModelsRequest, context: Any
    ) -> catalog_pb2.ListModelsResponse:
        """List the models with their states."""
        return catalog_pb2.ListModelsResponse(models=map(_summary, self._models.all))

    @override
    async def GetModel(
        self, request: catalog_pb2.GetModelRequest, context: Any
    ) -> catalog_pb2.GetModelResponse:
        """Tell what one model takes and gives; one that does not answer has only a summary."""
        served = self._models.find(request.model.name, request.model.version)
        model = catalog_pb2.Model(summary=_summary(served))
        if served.error is None:
            model = await asyncio.to_thread(_model, served)
        return catalog_pb2.GetModelResponse(model=model)


def _summary(served: ServedModel) -> catalog_pb2.ModelSummary:
    state = enum_from_choice(catalog_pb2.ModelState.DESCRIPTOR, served.state.value)
    error = served.error
    return catalog_pb2.ModelSummary(
        name=served.files.name,
        version=served.files.version,
        default_version=served.files.default,
        state=catalog_pb2.ModelState.ValueType(state),
        reason=error.reason if error else "",
        message=error.message if error else "",
        sha256="" if error else served.model.sha256,
    )


def _model(served: ServedModel) -> catalog_pb2.Model:
    model = served.model
    known, interface = model.preprocessing, model.interface
    return catalog_pb2.Model(
        summary=_summary(served),
        inputs=[
            catalog_pb2.TensorInfo(name=info.name, datatype=info.datatype, shape=info.shape)
            for info in model.inputs
        ],
        outputs=[
            catalog_pb2.TensorInfo(name=info.name, datatype=info.datatype, shape=info.shape)
            for info in model.outputs
        ],
        n_classes=model.n_classes,
        labels=model.labels,
        preprocessing=None if known is None else preprocessing_from_json(known.to_dict()),
        feature_layer=model.feature_layer or "",
        applicability=[
            catalog_pb2.Applicability(
                method=one.method,
                applies=one.applies,
                reason=one.reason,
                nodes=[
                    catalog_pb2.Obstacle(node=node.subject, description=node.description)
                    for node in one.nodes
                ],
            )
            for one in served.applicability
        ],
        exporter=model.exporter,
        opset=model.opset,
        execution_provider=model.provider,
        threads=model.threads,
        layout=types_pb2.Layout.ValueType(
            enum_from_choice(types_pb2.Layout.DESCRIPTOR, interface.layout)
        ),
        score_output=interface.scores,
        logits=interface.logits or "",
        activation=catalog_pb2.Activation.ValueType(
            enum_from_choice(catalog_pb2.Activation.DESCRIPTOR, interface.activation)
        ),
        preprocessing_source=model.preprocessing_source,
    )


def _method(method: Method) -> catalog_pb2.Method:
    """Return a method's declaration as the message that lists it."""
    access = enum_from_choice(catalog_pb2.Access.DESCRIPTOR, method.access.value)
    return catalog_pb2.Method(
        name=method.name,
        title=method.title,
        summary=method.summary,
        paper=method.paper,
        access=catalog_pb2.Access.ValueType(access),
        returns=method.returns,
        options=[_option(option) for option in method.options],
        in_graph=method.in_graph,
        anytime=method.anytime,
    )


def _option(option: Option) -> catalog_pb2.Option:
    kind, value_field = {
        bool: (catalog_pb2.OPTION_TYPE_BOOL, "bool_value"),
        int: (catalog_pb2.OPTION_TYPE_INTEGER, "integer_value"),
        float: (catalog_pb2.OPTION_TYPE_NUMBER, "number_value"),
        str: (catalog_pb2.OPTION_TYPE_TEXT, "text_value"),
        np.ndarray: (catalog_pb2.OPTION_TYPE_LABEL_MAP, ""),
    }[option.type]
    message = catalog_pb2.Option(
        name=option.name,
        type=catalog_pb2.OPTION_TYPE_CHOICE if option.choices and not option.colours else kind,
        minimum=option.minimum,
        maximum=option.maximum,
        choices=option.choices,
        help=option.help,
        several=option.several,
        tensors=option.arrays,
    )
    if option.default is not None:
        setattr(message.default_value, value_field, option.default)
    return message
