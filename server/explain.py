"""ExplainService: explanations, worked out in the pool."""

from __future__ import annotations

import time
from typing import Any

from onnxplain.explainers import Control
from onnxplain.explainers.clock import Clock
from onnxplain.graph_rewrites import InvalidArgument
from onnxplain.proto import explain_pb2, explain_pb2_grpc
from typing_extensions import override

from .logs import LOGGER, fields
from .models import ServedModel, ServedModels
from .pool import WorkerPool
from .requests import Order, in_request_terms, read_request
from .responses import explain_response

__all__ = ["ExplainService"]


class ExplainService(explain_pb2_grpc.ExplainServiceServicer):
    """Convert, compute, convert back."""

    def __init__(self, models: ServedModels, pool: WorkerPool, *, max_targets: int) -> None:
        self._models = models
        self._pool = pool
        self._max_targets = max_targets

    @override
    async def Explain(
        self, request: explain_pb2.ExplainRequest, context: Any
    ) -> explain_pb2.ExplainResponse:
        """Explain one input."""
        began = time.perf_counter()
        order = read_request(request, max_targets=self._max_targets)
        served = self._models.find(request.model.name, request.model.version)
        _ = served.model  # or the error that says why it does not answer, before any waiting
        response, queue_ms = await self._pool.run(lambda control: _explain(served, order, control))
        response.timings.queue_ms = queue_ms
        response.timings.total_ms = 1000 * (time.perf_counter() - began)
        return response


def _explain(served: ServedModel, order: Order, control: Control) -> explain_pb2.ExplainResponse:
    clock = Clock()
    LOGGER.debug("explaining", extra=fields(model=served.files.name, method=order.method))
    try:
        explanations = served.model.explain_all(
            order.image,
            tensor=order.tensor,
            method=order.method,
            target=order.target,
            preprocessing=order.preprocessing,
            time_budget=order.time_budget,
            control=control,
            **order.options,
        )
        response = explain_response(
            explanations, order.n_inputs, served.files.version, order.output, clock
        )
    except InvalidArgument as error:
        raise in_request_terms(error, order.method) from None
    response.timings.stages_ms.update(explanations[0].provenance.timings_ms)
    response.timings.stages_ms.update(clock.ms)
    return response
