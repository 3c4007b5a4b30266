"""Finding models on disk: repositories in Triton's layout, and single files.

A repository is a folder of ``NAME/VERSION/model.onnx``, VERSION a whole number from 1 on.
``preprocessing.json`` and ``labels.txt`` (a name per line) may lie in the folder of the version or,
for all versions, in that of the model. ``model.onnx`` may be a folder with a ``model.onnx`` and its
external data. Instead of it there may be ``model.url``, one line: ``oip://HOST:PORT/MODEL``, the
address of a model on another server. Nothing is ever written there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .settings import MODEL_NAME, NamedModel

__all__ = ["ModelFiles", "RepositoryError", "find_models"]

_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_MODEL_FILE, _ADDRESS_FILE = "model.onnx", "model.url"
_ONLY_VERSION = "1"


class RepositoryError(Exception):
    """What is to be served cannot be told; the message is for who starts the server."""


@dataclass(frozen=True)
class ModelFiles:
    """One version of a model and where its files are.

    Attributes
    ----------
    default
        Whether this version answers when none is named: the numerically greatest.
    model
        The ONNX file, or the one with an address, ``.url``; it may be missing. ``None`` where the
        model has no version.
    preprocessing, labels
        The files beside it, where there are such.
    """

    name: str
    version: str
    default: bool
    model: Path | None
    preprocessing: Path | None = None
    labels: Path | None = None


def find_models(
    repositories: Iterable[Path], single: Iterable[NamedModel]
) -> tuple[ModelFiles, ...]:
    """Return every version of every model by name and version, the greatest version last.

    Names that start with a dot and plain files are passed over.

    Raises
    ------
    RepositoryError
        A repository is not a folder, a name is not fit for a model, or two models share one.
    """
    found: dict[str, list[ModelFiles]] = {}
    for repository in repositories:
        for folder in _subfolders(repository):
            _add(found, folder.name, list(_versions(folder)))
    for model in single:
        _add(found, model.name, [ModelFiles(model.name, _ONLY_VERSION, True, model.path)])
    return tuple(files for name in sorted(found) for files in found[name])


def _add(found: dict[str, list[ModelFiles]], name: str, versions: list[ModelFiles]) -> None:
    if name in found:
        raise RepositoryError(f"two models are named {name!r}; rename one")
    found[name] = versions


def _subfolders(repository: Path) -> Iterator[Path]:
    try:
        folders = sorted(path for path in repository.iterdir() if path.is_dir())
    except OSError as error:
        raise RepositoryError(f"model repository {repository}: {error.strerror}") from None
    for folder in folders:
        if folder.name.startswith("."):
            continue
        if not MODEL_NAME.fullmatch(folder.name):
            raise RepositoryError(
                f"{folder} cannot be a model's name; use letters, digits and . _ -"
            )
        yield folder


def _versions(folder: Path) -> Iterator[ModelFiles]:
    """Yield a model's versions; one without number and file where there is none."""
    numbers = sorted(
        int(path.name)
        for path in folder.iterdir()
        if path.is_dir() and _VERSION.fullmatch(path.name)
    )
    if not numbers:
        yield ModelFiles(folder.name, "", True, None)
    for number in numbers:
        version = folder / str(number)
        model = _first_file(version / _ADDRESS_FILE) or version / _MODEL_FILE
        yield ModelFiles(
            folder.name,
            str(number),
            number == numbers[-1],
            model / _MODEL_FILE if model.is_dir() else model,
            _first_file(version / "preprocessing.json", folder / "preprocessing.json"),
            _first_file(version / "labels.txt", folder / "labels.txt"),
        )


def _first_file(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
