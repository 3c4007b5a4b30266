"""What `load` finds beside the weights: the file's hash, its preprocessing, its labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import onnx
from onnxplain.graph_rewrites import (
    InvalidArgument,
    ModelSource,
    NotFound,
    Violation,
    external_files,
)

from .preprocessing import PRESETS, Preprocessing

__all__ = [
    "METADATA_KEY",
    "PreprocessingLike",
    "file_sha256",
    "find_preprocessing",
    "name_of",
    "read_labels",
    "read_preprocessing",
]

PreprocessingLike: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Preprocessing

METADATA_KEY = "onnxplain.preprocessing"


def file_sha256(source: ModelSource, model: onnx.ModelProto) -> str:
    """Return the hash of the file's bytes, hexadecimal; of a ModelProto, of its serialisation.

    Files of external data follow the file itself, in the order of their names, as one stream.
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if isinstance(source, onnx.ModelProto):
        return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    digest = hashlib.sha256()
    for path in (Path(source), *external_files(source)):
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def read_preprocessing(given: PreprocessingLike) -> Preprocessing:
    """Return the preprocessing that a preset's name, a JSON file's path or a mapping says.

    Raises
    ------
    InvalidArgument
        ``PREPROCESSING_INVALID``.
    NotFound
        ``PREPROCESSING_FILE_NOT_FOUND``.
    """
    if isinstance(given, Preprocessing):
        return given
    if isinstance(given, Mapping):
        return Preprocessing.from_dict(given)
    path = Path(given)
    if str(given) in PRESETS or (path.suffix.lower() != ".json" and not path.is_file()):
        return Preprocessing.preset(str(given))
    return _from_file(path)


def find_preprocessing(
    source: ModelSource, model: onnx.ModelProto
) -> tuple[Preprocessing | None, str]:
    """Return the preprocessing of a model and where it was found; ``None`` where there is none.

    That is what ``NAME.json`` beside ``NAME.onnx`` says, else the model's metadata.
    """
    if isinstance(source, str | os.PathLike):
        beside = Path(source).with_suffix(".json")
        if beside.is_file():
            return _from_file(beside), beside.name
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return Preprocessing.from_json(entry.value), f"metadata {METADATA_KEY}"
    return None, ""


def name_of(given: PreprocessingLike) -> str:
    """Return in a word what `read_preprocessing` is given: a preset, a file's name."""
    return Path(given).name if isinstance(given, str | os.PathLike) else "given"


def read_labels(given: Sequence[str] | str | os.PathLike[str], n_classes: int) -> tuple[str, ...]:
    """Return the classes' names: those given, or the lines of a text file.

    Raises
    ------
    InvalidArgument
        ``LABELS_INVALID``: not one name per class.
    NotFound
        ``LABELS_FILE_NOT_FOUND``.
    """
    labels = tuple(_lines(Path(given)) if isinstance(given, str | os.PathLike) else given)
    if len(labels) != n_classes:
        message = f"there are {len(labels)} labels for {n_classes} classes; give one per class"
        raise InvalidArgument("LABELS_INVALID", message, violations=[Violation("labels", message)])
    return labels


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise _not_found("labels", path) from None
    except UnicodeDecodeError:
        message = f"the labels file {path.name!r} is not UTF-8 text; one name per line is expected"
        raise InvalidArgument(
            "LABELS_INVALID", message, violations=[Violation("labels", message)]
        ) from None


def _from_file(path: Path) -> Preprocessing:
    try:
        text = path.read_bytes()
    except OSError:
        raise _not_found("preprocessing", path) from None
    return Preprocessing.from_json(text, base=path.parent)


def _not_found(what: str, path: Path) -> NotFound:
    return NotFound(
        f"{what.upper()}_FILE_NOT_FOUND",
        f"cannot read a {what} file {path.name!r}",
        metadata={"resource_type": "file", "resource_name": path.name},
    )
