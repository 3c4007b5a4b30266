"""``python -m benchmarks``: what explanations cost, as ratios to plain onnxruntime forwards.

Every row is the time of some work over the time of forward passes of the same model in plain
onnxruntime with as many threads, one measured right after the other: the median of the pairs and,
as the spread, their quartiles. ``bar`` is what the project allows EfficientNet-Lite0.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxplain.clients.demo import efficientnet_lite0
from onnxplain.explainers.session import available_cpus

from .costs import Cost, Effort, Subject, costs

_THOROUGH = Effort(pairs=20, sampling_pairs=3, lime_samples=1000, rise_samples=2000)
_QUICK = Effort(pairs=5, sampling_pairs=1, lime_samples=100, rise_samples=200)

_COLUMNS = {"model": 18, "work": 34, "ratio to": 22, "its ms": 8, "ratio": 6, "quartiles": 13}


def main(argv: list[str] | None = None) -> int:
    """Measure and print; the exit code says nothing about the times."""
    arguments = _arguments(argv)
    environment = _environment(arguments.threads)
    reports: list[dict[str, Any]] = []
    if not arguments.json:
        print("; ".join(f"{key} {value}" for key, value in environment.items()), end="\n\n")
        _print_row(*_COLUMNS, "bar")
    for subject in _subjects(arguments.models):
        effort = _QUICK if arguments.quick else _THOROUGH
        for cost in costs(subject, effort, threads=arguments.threads):
            reports.append(cost.to_dict())
            if not arguments.json:
                _print_row(*_cells(cost))
    if arguments.json:
        json.dump({"environment": environment, "costs": reports}, sys.stdout, indent=2)
        print()
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What explanations cost, as ratios to plain onnxruntime forward passes.",
    )
    parser.add_argument(
        "models",
        nargs="*",
        type=Path,
        metavar="MODEL.onnx",
        help="models to measure (default: EfficientNet-Lite0, built from the demo's weights)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer pairs and samples")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--threads", type=int, default=available_cpus(), help="of every session (%(default)s)"
    )
    return parser.parse_args(argv)


def _subjects(paths: list[Path]) -> Iterator[Subject]:
    for path in paths:
        yield Subject(path.stem, path)
    if not paths:
        yield Subject("efficientnet_lite0", efficientnet_lite0.build().SerializeToString())


def _environment(threads: int) -> dict[str, Any]:
    installed = {one.name: one.version for one in importlib.metadata.distributions()}
    runtime = "onnxruntime-gpu" if "onnxruntime-gpu" in installed else "onnxruntime"
    return {
        "machine": f"{platform.machine()} {platform.system()}",
        "CPUs": available_cpus(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else "unknown",
        "threads": threads,
        "provider": "CPUExecutionProvider",
        "Python": platform.python_version(),
        runtime: installed[runtime],
        "onnxplain": installed["onnxplain"],
    }


def _cells(cost: Cost) -> tuple[str, ...]:
    if cost.ratio is None:
        return (cost.model, cost.work, f"refused: {cost.refusal}")
    measured = cost.ratio
    return (
        cost.model,
        cost.work,
        cost.base,
        f"{measured.base_ms:.2f}",
        f"{measured.median:.3f}",
        f"{measured.low:.3f}-{measured.high:.3f}",
        "" if cost.bar is None else f"{cost.bar:g}",
    )


def _print_row(*cells: str) -> None:
    widths = (*_COLUMNS.values(), 4)
    row = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False))
    print(row.rstrip(), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
