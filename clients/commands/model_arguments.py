"""Flags that say how a local model file is loaded."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxplain.explainers import Model

__all__ = ["add_model_arguments", "add_score_output", "load_model"]


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
        from onnxplain.server.remote import load_remote

        return load_remote(
            arguments.model,
            preprocessing=arguments.preprocessing,
            output=arguments.score_output,
        )
    return load(
        arguments.model,
        preprocessing=arguments.preprocessing,
        provider=arguments.provider,
        threads=arguments.threads,
        output=arguments.score_output,
    )
