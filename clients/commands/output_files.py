"""Which file each result of a command goes to."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["OutputFiles", "UsageError"]


class UsageError(Exception):
    """The command line asks for something that makes no sense; the message says what to do."""


class OutputFiles:
    """Files by result, from what a user wrote after ``-o``.

    Parameters
    ----------
    text
        A file; a folder, existing or ending in ``/``; or a pattern with ``{image}`` ``{n}``
        ``{method}`` ``{target}`` ``{layer}`` in it. Several results need a folder or a pattern.
    suffixes
        The endings a file may have; the first one is given to files in a folder.
    images
        Names of the pictures.
    n_targets
        How many targets each picture has.
    layers
        The layers named, of each of which every target has a result.

    Raises
    ------
    UsageError
        The files would overwrite each other, or the name has another ending.
    """

    def __init__(
        self,
        text: str,
        suffixes: Sequence[str],
        images: Sequence[str],
        n_targets: int,
        layers: Sequence[str] = (),
    ) -> None:
        if text.endswith(("/", "\\")) or Path(text).is_dir():
            layer = "_{layer}" * (len(layers) > 1)
            self._pattern = str(Path(text) / ("{image}_{method}_{target}" + layer + suffixes[0]))
        else:
            self._pattern = text
        if not self._pattern.lower().endswith(tuple(suffixes)):
            raise UsageError(f"{text!r}: a name that ends in {' or '.join(suffixes)} is expected")
        self._images = [Path(image).stem if image != "-" else "stdin" for image in images]
        cases = list(itertools.product(range(len(images)), range(n_targets), layers or [""]))
        paths = {self.path(n, "method", target, layer) for n, target, layer in cases}
        if len(paths) < len(cases):
            raise UsageError(
                f"{text!r} is one file for several results: give a folder, or a pattern such as "
                + "'out/{n}_{image}_{target}"
                + f"{suffixes[0]}'"
            )

    def path(self, n: int, method: str, target: object, layer: str = "") -> Path:
        """Return the file of picture number ``n`` (from 0), this target and this layer."""
        return self._formatted(self._images[n], n + 1, method, target, layer)

    def prepared_summary(self, method: str, target: object) -> Path:
        """Return the file of what all pictures have in common, with its folder made."""
        path = self._formatted("all", 0, method, target)
        if "{image}" not in self._pattern and "{n}" not in self._pattern:
            path = path.with_stem(f"{path.stem}_all")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _formatted(self, image: str, n: int, method: str, target: object, layer: str = "") -> Path:
        fields = {
            "image": image,
            "n": n,
            "method": method,
            "target": str(target).replace(":", "x").replace(",", "_"),
            "layer": re.sub(r"[^\w.-]+", "_", layer).strip("_"),
        }
        try:
            return Path(self._pattern.format(**fields))
        except (KeyError, IndexError, ValueError):
            known = " ".join(f"{{{name}}}" for name in fields)
            raise UsageError(f"{self._pattern!r}: a pattern may hold {known}") from None

    def prepared(self, n: int, method: str, target: object, layer: str = "") -> Path:
        """Return the same, with its folder made."""
        path = self.path(n, method, target, layer)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
