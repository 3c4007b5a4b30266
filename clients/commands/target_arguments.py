"""What ``--target`` was given, as the library takes it."""

from __future__ import annotations

import re
from typing import Any

from .output_files import UsageError

__all__ = ["count_targets", "read_targets", "spelled"]

_WEIGHED = re.compile(r"(\d+):([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)", re.IGNORECASE)


def read_targets(given: list[str] | None) -> Any:
    """Return the targets as `Model.explain` takes them."""
    if given is None:
        return None
    targets = [_one_target(text) for text in given]
    return targets if len(targets) > 1 else targets[0]


def _one_target(text: str) -> int | str | dict[int, float]:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    pairs = [_WEIGHED.fullmatch(part) for part in text.split(",")]
    weights = {int(pair[1]): float(pair[2]) for pair in pairs if pair}
    if not all(pairs):
        return text
    if len(weights) < len(pairs):
        raise UsageError(f"--target {text} weighs a class twice")
    return weights


def count_targets(target: object) -> int:
    """Return how many targets were given."""
    if isinstance(target, list):
        return len(target)
    top = re.fullmatch(r"top(\d+)", str(target))
    return int(top[1]) if top else 1


def spelled(report: dict[str, Any]) -> str:
    """Return the target as ``--target`` takes it."""
    weights = report["target_weights"]
    if weights is None:
        return str(report["target"])
    return ",".join(f"{index}:{weight:g}" for index, weight in weights.items())
