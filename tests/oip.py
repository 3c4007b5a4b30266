"""A small model server of the Open Inference Protocol, for tests: from ``tests.oip``.

``python -m tests.oip MODEL.onnx`` serves a model on a free port and prints the address.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import onnxruntime as ort
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

_DATATYPES = {"float": "FP32", "double": "FP64", "float16": "FP16", "uint8": "UINT8"}
_DTYPES = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "UINT8": "u1"}


class OipServer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves one model under every name but ``missing``.

    ``max_batch`` is Triton's, ``refused_from`` the first batch size that fails; ``raw`` says in
    which of the protocol's two ways tensors are answered; ``failures`` are the codes that the next
    questions fail with; every answer takes ``seconds`` longer.
    """

    def __init__(self, model, *, max_batch=None, refused_from=None, raw=True, seconds=0.0):
        self.session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.max_batch, self.refused_from, self.raw = max_batch, refused_from, raw
        self.seconds, self.failures, self.batches = seconds, [], []
        self.at_once = self.most_at_once = 0
        self.metadata = None
        self._lock = threading.Lock()

    def ModelMetadata(self, request, context):
        if request.name == "missing":
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown model")
        if self.metadata is not None:
            return self.metadata
        found = pb.ModelMetadataResponse(name=request.name, platform="onnx")
        for given, made in [
            (self.session.get_inputs(), found.inputs),
            (self.session.get_outputs(), found.outputs),
        ]:
            for value in given:
                shape = [size if isinstance(size, int) else -1 for size in value.shape]
                made.add(name=value.name, datatype=_DATATYPES[value.type[7:-1]], shape=shape)
        return found

    def ModelConfig(self, request, context):
        if self.max_batch is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "not Triton")
        found = pb.ModelConfigResponse()
        found.config.max_batch_size = self.max_batch
        return found

    def ModelInfer(self, request, context):
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            failure = self.failures.pop(0) if self.failures else None
        try:
            if failure is not None:
                context.abort(failure, "as the test wants\n/secret/path")
            return self._answer(request, context)
        finally:
            with self._lock:
                self.at_once -= 1

    def _answer(self, request, context):
        (given,), (wanted,), (data,) = request.inputs, request.outputs, request.raw_input_contents
        self.batches.append(given.shape[0])
        n_rows = given.shape[0]
        if n_rows > (self.max_batch or n_rows) or n_rows >= (self.refused_from or n_rows + 1):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "batch too large")
        time.sleep(self.seconds)
        x = np.frombuffer(data, _DTYPES[given.datatype]).reshape(given.shape)
        (array,) = self.session.run([wanted.name], {given.name: x})
        datatype = {np.float32: "FP32", np.float64: "FP64", np.float16: "FP16"}[array.dtype.type]
        answer = pb.ModelInferResponse(model_name=request.model_name)
        output = answer.outputs.add(name=wanted.name, datatype=datatype, shape=array.shape)
        if self.raw:
            answer.raw_output_contents.append(array.tobytes())
        else:
            getattr(output.contents, f"{datatype.lower()}_contents").extend(array.ravel().tolist())
        return answer


@contextmanager
def serving(servicer, port=0):
    """Serve, by default on a free port; the value is the address."""
    server = grpc.server(ThreadPoolExecutor(16))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file, serving(OipServer(file.read())) as address:
        print(address, flush=True)
        threading.Event().wait()
