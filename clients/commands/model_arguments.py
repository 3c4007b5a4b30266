"""Flags that say how a model is loaded: from a file, or from another model server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .output_files import UsageError

if TYPE_CHECKING:
    from onnxplain.explainers import Model

__all__ = ["MODEL_HELP", "add_model_arguments", "add_score_output", "given_remote", "load_model"]

MODEL_HELP = "the model file, or oip://HOST:PORT/MODEL on another model server"

_REMOTE = {
    "activation": "--activation",
    "timeout": "--batch-timeout",
    "max_batch": "--max-batch",
    "in_flight": "--in-flight",
}  # what load_remote calls them


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--preprocessing``, ``--provider``, ``--threads`` and ``--score-output``."""
    parser.add_argument(
        "--preprocessing",
        metavar="PRESET|FILE.json",
        help="how a picture becomes the model's input, such as imagenet "
        "(default: MODEL.json beside the model, or what its metadata says)",
    )
    parser.add_argument(
        "--provider",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the model runs (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: all this process may use)"
    )
    add_score_output(parser)
    group = parser.add_argument_group(
        "a model on another server", "for oip://HOST:PORT/MODEL, or oips:// over TLS"
    )
    group.add_argument(
        "--activation",
        choices=("none", "softmax", "log_softmax", "sigmoid"),
        help="what makes its scores (default: as a first answer tells)",
    )
    group.add_argument(
        "--batch-timeout",
        type=float,
        metavar="SECONDS",
        help="give up the answer to one batch after this long (default: 60)",
    )
    group.add_argument(
        "--max-batch",
        type=int,
        metavar="N",
        help="rows of one request at most (default: as it says)",
    )
    group.add_argument(
        "--in-flight", type=int, metavar="N", help="requests on their way at most (default: 4)"
    )


def given_remote(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the flags given for a model on another server, as `load_remote` calls them."""
    values = {
        name: getattr(arguments, flag[2:].replace("-", "_")) for name, flag in _REMOTE.items()
    }
    return {name: value for name, value in values.items() if value is not None}


def add_score_output(parser: argparse.ArgumentParser) -> None:
    """Add ``--score-output``."""
    parser.add_argument(
        "--score-output",
        metavar="NAME",
        help="the output that holds the scores (default: the first that can)",
    )


def load_model(arguments: argparse.Namespace) -> Model:
    """Load the model that the arguments name, or reach the one at ``oip://HOST:PORT/MODEL``."""
    from onnxplain.explainers import load

    if arguments.model.startswith(("oip://", "oips://")):
        if arguments.provider != "auto" or arguments.threads:
            raise UsageError("--provider and --threads are the other server's own: leave them out")
        from onnxplain.server.remote import load_remote

        return load_remote(
            arguments.model,
            preprocessing=arguments.preprocessing,
            output=arguments.score_output,
            **given_remote(arguments),
        )
    if given := given_remote(arguments):
        flags = ", ".join(_REMOTE[name] for name in given)
        raise UsageError(f"{flags}: for a model on another server, oip://HOST:PORT/MODEL")
    return load(
        arguments.model,
        preprocessing=arguments.preprocessing,
        provider=arguments.provider,
        threads=arguments.threads,
        output=arguments.score_output,
    )
