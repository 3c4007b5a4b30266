"""Deadlines, cancellation, a full queue and signals, on the real server with the real client."""

import signal
import threading

import grpc
import numpy as np
import pytest
from onnxplain.clients.python import Client, ExplainError
from onnxplain.proto import explain_pb2, explain_pb2_grpc
from onnxplain.proto.codec import tensor_from_array
from onnxplain.proto.specs import spec_from_options
from onnxplain.proto.types_pb2 import Input, ModelRef

from tests.running import RunningServer


@pytest.fixture
def start(slow_model, repository):
    """Start servers of the slow model and the quick ones; they end with the test."""
    running = []

    def start(*arguments):
        models = ("--model", f"slow={slow_model}", "--model-repository", repository)
        logs = ("--log-level", "debug", "--log-format", "json")
        server = RunningServer("--port", 0, *models, "--workers", 1, *logs, *arguments)
        running.append(server)
        return server

    yield start
    for server in running:
        server.__exit__()


class Call(threading.Thread):
    """A call of the client on a thread of its own."""

    def __init__(self, client, *arguments, **options):
        super().__init__()
        self._call = lambda: client.explain(*arguments, **options)
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self._call()
        except ExplainError as error:
            self.error = error

    def ended(self):
        self.join(60)
        assert not self.is_alive()
        return self


def test_a_deadline_stops_the_work(start, picture, endless):
    server = start("--queue", 1)
    with Client(server.address) as client:
        with pytest.raises(ExplainError) as caught:
            client.explain(picture, timeout=1.5, **endless)
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert caught.value.reason == "DEADLINE_EXCEEDED"
        server.line('"code": "DEADLINE_EXCEEDED"')
        # the only worker is free again, long before the work would have been done
        assert client.explain(picture, model="cnn", timeout=20).heatmap is not None
    assert server.stop() == 0


def test_a_cancelled_call_stops_its_work(start, picture, endless):
    server = start("--queue", 1)
    with Client(server.address) as client:
        going_away = Client(server.address)
        call = Call(going_away, picture, **endless)
        server.line('"explaining"')
        going_away.close()
        assert call.ended().error.code is grpc.StatusCode.CANCELLED
        server.line('"code": "CANCELLED"')
        assert client.explain(picture, model="cnn", timeout=20).heatmap is not None


def test_a_full_queue_is_said_at_once_with_when_to_retry(start, picture, endless):
    server = start("--queue", 0)
    with Client(server.address) as client:
        call = Call(client, picture, **endless)
        server.line('"explaining"')
        with pytest.raises(ExplainError) as caught:
            client.explain(picture, model="cnn")
        error = caught.value
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.reason == "QUEUE_FULL"
        assert "try again later" in error.message
        assert int(error.metadata["retry_after_ms"]) > 0
        # health and the catalog are answered all the same
        client.wait_ready(5)
        assert client.get_model("cnn", timeout=5).n_classes == 5
        assert call.is_alive()
        client.close()
        assert call.ended().error is not None


def test_sigterm_during_lime_lets_it_finish(start, picture):
    server = start()
    with Client(server.address) as client:
        options = {"n_samples": 8, "segmenter": "grid", "batch_size": 1}
        call = Call(client, picture, model="slow", method="lime", **options)
        server.line('"explaining"')
        server.send(signal.SIGTERM)
        assert call.ended().result.heatmap.shape == (128, 128)
        assert server.wait() == 0


@pytest.mark.parametrize(
    ("grace", "signals"), [(0.2, [signal.SIGTERM]), (3600, [signal.SIGTERM, signal.SIGINT])]
)
def test_a_long_lime_ends_after_the_grace_or_at_a_second_signal(start, endless, grace, signals):
    server = start("--grace", grace)
    model = endless.pop("model")
    request = explain_pb2.ExplainRequest(
        model=ModelRef(name=model),
        method=spec_from_options(endless.pop("method"), endless),
        input=Input(tensor=tensor_from_array(np.zeros((3, 128, 128), np.float32))),
    )
    with grpc.insecure_channel(server.address) as channel:
        call = explain_pb2_grpc.ExplainServiceStub(channel).Explain.future(request, timeout=60)
        server.line('"explaining"')
        for number in signals:
            server.send(number)
            server.line('"stopping"')
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert call.details().startswith("the server is stopping; try again")
        assert server.wait() == 0
    assert not [line for line in server.lines if "Traceback" in line or '"exception"' in line]


def test_no_new_call_gets_in_once_the_server_stops(start, picture):
    server = start()
    with grpc.insecure_channel(server.address) as channel:
        grpc.channel_ready_future(channel).result(20)
        assert server.stop() == 0
        with pytest.raises(grpc.RpcError) as caught:
            explain_pb2_grpc.ExplainServiceStub(channel).Explain(
                explain_pb2.ExplainRequest(), timeout=5
            )
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
