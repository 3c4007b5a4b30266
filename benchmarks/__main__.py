"""``python -m benchmarks``: what explanations cost, as ratios to plain onnxruntime forwards.

Every row is the time of some work over the time of forward passes of the same model in plain
onnxruntime with as many threads, one measured right after the other: the median of the pairs and,
as the spread, their quartiles. ``bar`` is what the project allows itself on the model.
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

from onnxplain.explainers import load
from onnxplain.explainers.session import available_cpus

from .graphs import graph_costs
from .sampling import sampling_costs
from .subject import Cost, Effort, Subject, default_subjects

_THOROUGH = Effort(
    pairs=20, sampling_pairs=3, lime_samples=1000, rise_samples=2000, moved_pixels=4096
)
_QUICK = Effort(pairs=5, sampling_pairs=1, lime_samples=100, rise_samples=200, moved_pixels=128)

_COLUMNS = {"model": 18, "work": 34, "ratio to": 22, "its ms": 8, "ratio": 6, "quartiles": 13}


def main(argv: list[str] | None = None) -> int:
    """Measure and print; the exit code says nothing about the times."""
    arguments = _arguments(argv)
    environment = _environment(arguments.threads)
    reports: list[dict[str, Any]] = []
    subjects = [Subject(path.stem, path) for path in arguments.models] or default_subjects()
    if not arguments.json:
        print("; ".join(f"{key} {value}" for key, value in environment.items()), end="\n\n")
        _print_row(*_COLUMNS, "bar")
    for subject in subjects:
        effort = _QUICK if arguments.quick else _THOROUGH
        for cost in _costs(subject, effort, arguments.threads):
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
        help="models to measure (default: EfficientNet-Lite0, built from the demo's weights, and a "
        "ResNet50 of random ones)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer pairs and samples")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--threads", type=int, default=available_cpus(), help="of every session (%(default)s)"
    )
    return parser.parse_args(argv)


def _costs(subject: Subject, effort: Effort, threads: int) -> Iterator[Cost]:
    model = load(subject.source, provider="cpu", threads=threads, name=subject.name)
    yield from graph_costs(subject, model, effort, threads=threads)
    if subject.sampled:
        yield from sampling_costs(subject, model, effort, threads=threads)


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
