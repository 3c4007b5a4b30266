"""The Python client: images in, NumPy out, over gRPC; needs neither onnx nor onnxruntime.

>>> with Client("localhost:50051") as client:
...     result = client.explain("cat.jpg", model="efficientnet_lite0", target="tabby")
>>> result.heatmap
"""

if not __name__.startswith("onnxplain."):
    raise ImportError("import onnxplain.clients.python, not clients.python")

from .client import Client
from .errors import ExplainError, Violation
from .results import ClassScore, Notice, Prediction, Provenance, Result

__all__ = [
    "ClassScore",
    "Client",
    "ExplainError",
    "Notice",
    "Prediction",
    "Provenance",
    "Result",
    "Violation",
]
