"""All settings of the server in one place: name, type, default, flag and help."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import Any, get_args

from onnxplain.explainers.session import Provider, available_cpus

__all__ = ["MODEL_NAME", "NamedModel", "Settings", "add_arguments"]

#: What a model may be called.
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_LEVELS = ("debug", "info", "warning", "error")
_A_DAY = 86400.0


@dataclasses.dataclass(frozen=True)
class NamedModel:
    """A model file served under a name: ``NAME=PATH`` on the command line."""

    name: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> NamedModel:
        """Read ``NAME=PATH``."""
        name, equals, path = text.partition("=")
        if not equals or not path or not MODEL_NAME.fullmatch(name):
            raise argparse.ArgumentTypeError(
                f"{text!r} is not NAME=PATH with a name of letters, digits and . _ -"
            )
        return cls(name, Path(path))


def _between(minimum: float, maximum: float) -> Any:
    """Return a parser of numbers in this range, of integers where ``minimum`` is one."""
    kind = type(minimum)

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{text} is not from {minimum:g} to {maximum:g}")
        return value

    return parse


def _flag(default: Any, text: str, **argument: Any) -> Any:
    """Return a field of `Settings` that is a flag with this help text."""
    return dataclasses.field(default=default, metadata={"help": text, **argument})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The server's settings; the fields' help texts are their documentation."""

    model_repository: tuple[Path, ...] = _flag(
        (),
        "folder with NAME/VERSION/model.onnx; may be given several times",
        action="append",
        type=Path,
        metavar="DIR",
    )
    model: tuple[NamedModel, ...] = _flag(
        (),
        "a model file and the name it is served under; may be given several times",
        action="append",
        type=NamedModel.parse,
        metavar="NAME=PATH",
    )
    host: str = _flag("127.0.0.1", "address to listen on")
    port: int = _flag(50051, "port to listen on; 0: a free one", type=_between(0, 65535))
    workers: int = _flag(
        max(1, min(4, available_cpus() // 2)),
        "explanations worked on at once",
        type=_between(1, 1024),
    )
    queue: int = _flag(32, "explanations that may wait beside those", type=_between(0, 1_000_000))
    threads: int = _flag(
        0,
        "threads of one forward pass; 0: the CPUs shared among the workers",
        type=_between(0, 1024),
    )
    provider: Provider = dataclasses.field(
        default="auto",
        metadata={
            "help": "where models run; cuda: an error where there is none",
            "choices": get_args(Provider),
        },
    )
    max_message_mb: int = _flag(64, "largest request or response in MiB", type=_between(1, 2047))
    max_targets: int = _flag(32, "classes explained in one call at most", type=_between(1, 100_000))
    session_cache_mb: int = _flag(
        2048,
        "memory in MiB for models as the methods rewrite them, kept for the next call; the least "
        "recently used go first",
        type=_between(0, 2**20),
    )
    lame_duck: float = _flag(
        1.0,
        "seconds that new calls are still answered after SIGTERM made health NOT_SERVING",
        type=_between(0.0, _A_DAY),
    )
    grace: float = _flag(
        30.0, "seconds that calls may then take to finish", type=_between(0.0, _A_DAY)
    )
    reflection: bool = _flag(
        True,
        "serve gRPC reflection, so that grpcurl and the like can list the services",
        action=argparse.BooleanOptionalAction,
    )
    exit_on_error: bool = _flag(
        False, "exit with an error when a model cannot be loaded", action="store_true"
    )
    log_format: str = _flag("text", "form of the log lines on stderr", choices=("text", "json"))
    log_level: str = _flag("info", "least level that is logged", choices=_LEVELS)

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Settings:
        """Read the settings from what a parser with `add_arguments` returned."""
        values = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(cls)}
        many = {name: tuple(values[name] or ()) for name in ("model_repository", "model")}
        return cls(**values | many)

    @property
    def threads_per_model(self) -> int:
        """Threads of one forward pass: as set, or the CPUs shared among the workers."""
        return self.threads or max(1, available_cpus() // self.workers)

    @property
    def max_message_bytes(self) -> int:
        """Largest request or response in bytes."""
        return self.max_message_mb * 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add every setting as a flag."""
    for field in dataclasses.fields(Settings):
        argument = dict(field.metadata)
        many = argument.get("action") == "append"
        default = "" if many or field.default is False else f" (default: {field.default})"
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=None if many else field.default,
            **argument | {"help": argument["help"] + default},
        )
