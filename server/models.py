"""The models being served: loading them once, and finding one by name and version."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any

from onnxplain.explainers import Applicability, Model, SessionCache, load
from onnxplain.explainers.session import Provider
from onnxplain.explainers.session_cache import SHARED
from onnxplain.graph_rewrites import (
    FailedPrecondition,
    NotFound,
    OnnxplainError,
    Unavailable,
    nearest,
)

from .errors import RETRY_AFTER_MS
from .logs import LOGGER, fields
from .remote import load_remote
from .repository import ModelFiles

__all__ = ["ServedModel", "ServedModels", "State"]

_RETRY_MS = 1000


class State(Enum):
    """Whether a model answers."""

    LOADING = "loading"
    READY = "ready"
    UNAVAILABLE = "unavailable"


class ServedModel:
    """One version of a model: its files, and the loaded model or why there is none."""

    def __init__(self, files: ModelFiles) -> None:
        self.files = files
        self._loaded: Model | OnnxplainError | None = None

    @property
    def state(self) -> State:
        """Whether it answers."""
        if self._loaded is None:
            return State.LOADING
        return State.READY if isinstance(self._loaded, Model) else State.UNAVAILABLE

    @property
    def model(self) -> Model:
        """The model.

        Raises
        ------
        Unavailable
            ``MODEL_LOADING``.
            ``REMOTE_UNAVAILABLE``, ``REMOTE_TIMEOUT``: the server where it runs is away.
        FailedPrecondition
            It could not be loaded, with the reason of that.
        """
        if isinstance(self._loaded, Model):
            return self._loaded
        name = self.files.name
        if self._loaded is None:
            raise Unavailable(
                "MODEL_LOADING",
                f"model {name!r} is still being loaded; try again shortly",
                metadata={"model": name, RETRY_AFTER_MS: str(_RETRY_MS)},
            )
        if isinstance(self._loaded, Unavailable):
            raise Unavailable(
                self._loaded.reason,
                f"model {name!r} cannot be reached yet: {self._loaded.message}",
                metadata={"model": name, **self._loaded.metadata},
            )
        raise FailedPrecondition(
            self._loaded.reason,
            f"model {name!r} could not be loaded: {self._loaded.message}",
            violations=self._loaded.violations,
            metadata={"model": name, **self._loaded.metadata},
        )

    @property
    def error(self) -> OnnxplainError | None:
        """Why it does not answer; ``None`` when it does."""
        try:
            _ = self.model
        except OnnxplainError as error:
            return error
        return None

    @functools.cached_property
    def applicability(self) -> tuple[Applicability, ...]:
        """Whether each method applies to it; worked out once, which takes a while."""
        return self.model.applicability()

    def load(self, *, provider: Provider, threads: int, sessions: SessionCache = SHARED) -> None:
        """Load it; a failure is kept as its error, and never raised."""
        began = time.perf_counter()
        named = {"model": self.files.name, "version": self.files.version}
        about: dict[str, Any] = {
            "preprocessing": self.files.preprocessing,
            "labels": self.files.labels,
            "name": self.files.name,
        }
        try:
            path = self._path()
            if path.suffix == ".url":
                self._loaded = load_remote(_address(path), **about)
            else:
                self._loaded = load(
                    path, **about, provider=provider, threads=threads, sessions=sessions
                )
        except OnnxplainError as error:
            self._loaded = error
            extra = fields(**named, reason=error.reason, message=error.message)
            LOGGER.error("model cannot be loaded", extra=extra)
        except Exception:
            self._loaded = FailedPrecondition(
                "MODEL_LOAD_FAILED", "an internal error; the server's log has it"
            )
            LOGGER.exception("bug while loading a model", extra=fields(**named))
        else:
            seconds = round(time.perf_counter() - began, 2)
            LOGGER.info("model loaded", extra=fields(**named, seconds=seconds))

    def _path(self) -> Path:
        if self.files.model is None:
            raise NotFound(
                "MODEL_FILE_NOT_FOUND",
                "its folder holds no VERSION/model.onnx, such as 1/model.onnx; put the model there",
                metadata={"resource_type": "file", "resource_name": "model.onnx"},
            )
        return self.files.model


def _address(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError):
        raise NotFound(
            "MODEL_FILE_NOT_FOUND",
            f"there is no text in {path.name}; write oip://HOST:PORT/MODEL there",
            metadata={"resource_type": "file", "resource_name": path.name},
        ) from None


class ServedModels:
    """All models by name and version."""

    def __init__(self, found: Iterable[ModelFiles]) -> None:
        self._by_name: dict[str, dict[str, ServedModel]] = {}
        for files in found:
            self._by_name.setdefault(files.name, {})[files.version] = ServedModel(files)

    @property
    def all(self) -> tuple[ServedModel, ...]:
        """All versions of all models."""
        return tuple(served for versions in self._by_name.values() for served in versions.values())

    def find(self, name: str, version: str = "") -> ServedModel:
        """Return a version of a model, by default the greatest.

        Raises
        ------
        NotFound
            ``MODEL_NOT_FOUND`` with the nearest names or ``VERSION_NOT_FOUND`` with all versions.
        """
        if name not in self._by_name:
            raise NotFound(
                "MODEL_NOT_FOUND",
                f"there is no model {name!r} here; {nearest(name, self._by_name)}",
                metadata={"resource_type": "model", "resource_name": name},
            )
        versions = self._by_name[name]
        if not version:
            return next(served for served in versions.values() if served.files.default)
        if version not in versions:
            known = ", ".join(versions)
            raise NotFound(
                "VERSION_NOT_FOUND",
                f"model {name!r} has no version {version!r}; it has {known}",
                metadata={
                    "resource_type": "model version",
                    "resource_name": f"{name}/{version}",
                    "versions": known,
                },
            )
        return versions[version]
