"""``onnxplain demo``: a real model, a real photo, the real server, pictures to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from .environment import Environment, ExitCode

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.add_argument(
        "-o",
        "--output",
        default="demo",
        metavar="FOLDER",
        type=Path,
        help="folder of the pictures and of the model that is built once (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, environment: Environment) -> ExitCode:
    """Run the demo and print a table of what it wrote."""
    from onnxplain.clients.demo.tour import tour

    reports = tour(arguments.output, environment.say)
    if arguments.json:
        environment.print_json(reports)
        return ExitCode.OK
    rows = [
        (
            report["method"],
            f"{report['target']} {report['label']}",
            f"{report['score']:.3f} {report['score_kind']}",
            f"{report['milliseconds']:.0f}",
            report["file"],
        )
        for report in reports["explanations"]
    ]
    environment.print_table(("method", "target", "score", "ms", "file"), rows)
    if reports["node"]:
        environment.say(f"asked from Node: {reports['node']}")
    environment.print(f"all on one sheet: {reports['contact_sheet']}")
    return ExitCode.OK
