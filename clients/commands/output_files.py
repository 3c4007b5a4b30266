"""Which file each result of a command goes to."""

from __future__ import annotations

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
        ``{method}`` ``{target}`` in it. Several results need a folder or a pattern.
    suffixes
        The endings a file may have; the first one is given to files in a folder.
    images
        Names of the pictures.
    n_targets
        How many results each picture has.

    Raises
    ------
    UsageError
        The files would overwrite each other, or the name has another ending.
    """

    def __init__(
        self, text: str, suffixes: Sequence[str], images: Sequence[str], n_targets: int
    ) -> None:
        if text.endswith(("/", "\\")) or Path(text).is_dir():
            self._pattern = str(Path(text) / ("{image}_{method}_{target}" + suffixes[0]))
        else:
            self._pattern = text
        if not self._pattern.lower().endswith(tuple(suffixes)):
            raise UsageError(f"{text!r}: a name that ends in {' or '.join(suffixes)} is expected")
        self._images = [Path(image).stem if image != "-" else "stdin" for image in images]
        cases = [(n, target) for n in range(len(images)) for target in range(n_targets)]
        if len({self.path(n, "method", target) for n, target in cases}) < len(cases):
            raise UsageError(
                f"{text!r} is one file for several results: give a folder, or a pattern such as "
                + "'out/{n}_{image}_{target}"
                + f"{suffixes[0]}'"
            )

    def path(self, n: int, method: str, target: object) -> Path:
        """Return the file of picture number ``n`` (from 0) and this target."""
        asked = str(target).replace(":", "x").replace(",", "_")  # no file system minds these
        fields = {"image": self._images[n], "n": n + 1, "method": method, "target": asked}
        try:
            return Path(self._pattern.format(**fields))
        except (KeyError, IndexError, ValueError):
            known = " ".join(f"{{{name}}}" for name in fields)
            raise UsageError(f"{self._pattern!r}: a pattern may hold {known}") from None

    def prepared(self, n: int, method: str, target: object) -> Path:
        """Return the same, with its folder made."""
        path = self.path(n, method, target)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
