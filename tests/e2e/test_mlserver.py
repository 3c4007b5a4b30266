"""A model behind a real server of the Open Inference Protocol, MLServer.

It runs in an environment of its own, for its protocol stubs and ours cannot be in one process:
``pip install mlserver onnxruntime`` there, and its ``mlserver`` on the path or named by
``ONNXPLAIN_MLSERVER``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time

import numpy as np
import pytest
from onnxplain.explainers import Control, load
from onnxplain.graph_rewrites import NotFound, OnnxplainError, Unavailable
from onnxplain.server.remote import load_remote

from tests.models import PREPROCESSING, save, tiny_cnn
from tests.runs import PHOTO

pytest.importorskip("tritonclient.grpc", exc_type=ImportError)
MLSERVER = os.environ.get("ONNXPLAIN_MLSERVER") or shutil.which("mlserver")
if MLSERVER is None:
    pytest.skip("MLServer is not installed", allow_module_level=True)

RUNTIME = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class OnnxModel(MLModel):
    async def load(self):
        self.session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload):
        (given,) = payload.inputs
        x = NumpyCodec.decode_input(given)
        names = [output.name for output in self.session.get_outputs()]
        outputs = [
            NumpyCodec.encode_output(name, array)
            for name, array in zip(names, self.session.run(names, {given.name: x}))
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""
SECONDS = 60


def free_ports(n):
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What MLServer reads: a model, how to run it, what it takes and gives."""
    folder = tmp_path_factory.mktemp("mlserver")
    save(tiny_cnn(), folder / "net.onnx")
    (folder / "onnx_runtime.py").write_text(RUNTIME)
    tensors = {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 32, 32]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 5]}],
    }
    settings = {
        "name": "net",
        "implementation": "onnx_runtime.OnnxModel",
        "parameters": {"uri": str(folder / "net.onnx")},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings | tensors))
    return folder


class MLServer:
    """A running MLServer; ``url`` names its model."""

    def __init__(self, folder):
        http, rpc, metrics = free_ports(3)
        ports = {"http_port": http, "grpc_port": rpc, "metrics_port": metrics}
        settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False} | ports
        (folder / "settings.json").write_text(json.dumps(settings))
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [MLSERVER, "start", str(folder)], stdout=log, stderr=log, cwd=folder
            )
        self.url = f"oip://127.0.0.1:{rpc}/net"
        end = time.monotonic() + SECONDS
        while True:
            try:
                load_remote(self.url, retries=0, timeout=5)
                break
            except OnnxplainError:
                ended = self.process.poll() is not None or time.monotonic() > end
                assert not ended, (folder / "log").read_text("utf-8")
                time.sleep(0.3)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server(folder):
    with MLServer(folder) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lime", {"n_samples": 200}),
        ("kernel_shap", {"n_samples": 200}),
        ("rise", {"n_samples": 200}),
        ("occlusion", {}),
        ("sensitivity", {"granularity": "patch", "step": 0.1, "score": "probability"}),
    ],
)
def test_a_method_gives_the_map_of_the_process(server, folder, method, options):
    expected, found = (
        model.explain(PHOTO, method=method, target="top2", **options)
        for model in (
            load(folder / "net.onnx", preprocessing=PREPROCESSING),
            load_remote(server.url, preprocessing=PREPROCESSING),
        )
    )
    for one, other in zip(expected, found, strict=True):
        assert one.target == other.target
        scale = np.abs(one.heatmap).max()
        np.testing.assert_allclose(other.heatmap, one.heatmap, rtol=0, atol=1e-5 * scale)


def test_a_model_it_does_not_know_is_not_found(server):
    with pytest.raises(NotFound, match="other"):
        load_remote(server.url.replace("/net", "/other"))


def test_killed_meanwhile_it_is_unavailable_within_the_deadline(folder):
    with MLServer(folder) as running:
        remote = load_remote(running.url, timeout=10)

        def kill(progress):
            if progress.done >= 40:
                running.process.kill()

        start = time.monotonic()
        with pytest.raises(Unavailable, match="is unavailable, asked 5 times"):
            remote.explain(
                tensor=np.ones((3, 32, 32)),
                method="lime",
                n_samples=100_000,
                batch_size=8,
                control=Control(kill),
            )
        assert time.monotonic() - start < 10
