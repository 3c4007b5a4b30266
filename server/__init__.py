"""The gRPC service: models from a repository, explanations on request."""

if not __name__.startswith("onnxplain."):
    raise ImportError("import onnxplain.server, not server")

from .process import main, serve
from .settings import add_arguments

__all__ = ["add_arguments", "main", "serve"]
