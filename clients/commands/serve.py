"""``onnxplain serve``: the gRPC server, as ``python -m onnxplain.server``."""

from __future__ import annotations

import argparse

from .environment import Environment, ExitCode

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the server's own flags."""
    from onnxplain.server import add_arguments as add_server_arguments

    add_server_arguments(parser)


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Serve until told to stop; ``environment`` is not used, the server logs to stderr."""
    from onnxplain.server import serve

    return serve(arguments) or ExitCode.OK
