"""The server as a process: command line, signals, exit codes."""

from __future__ import annotations

import argparse
import asyncio
import enum
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from .grpc_server import AddressError, ModelError, Server
from .logs import LOGGER, configure
from .repository import RepositoryError
from .settings import Settings, add_arguments

__all__ = ["ExitCode", "main", "serve"]

_LOCAL = {"127.0.0.1", "::1", "localhost"}


class ExitCode(enum.IntEnum):
    """How the process ended; the numbers mean what they mean for the command line."""

    OK = 0  # told to stop
    INTERNAL = 1  # something unforeseen: a bug
    USAGE = 2  # a setting is wrong
    MODEL = 3  # with --exit-on-error: a model cannot be loaded
    ADDRESS = 5  # the address is in use, or not this machine's


_FAILURES = {
    RepositoryError: ExitCode.USAGE,
    ModelError: ExitCode.MODEL,
    AddressError: ExitCode.ADDRESS,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server with these command line arguments; return its `ExitCode`."""
    parser = argparse.ArgumentParser(
        prog="python -m onnxplain.server",
        description="Serve explanations of ONNX models over gRPC.",
    )
    add_arguments(parser)
    return serve(parser.parse_args(argv))


def serve(arguments: argparse.Namespace) -> int:
    """Run the server until SIGTERM or SIGINT; return its `ExitCode`.

    A second signal ends it at once. When the models have been loaded, the line
    ``listening on HOST:PORT`` appears on stderr.

    Parameters
    ----------
    arguments
        What a parser with `add_arguments` returned.
    """
    settings = Settings.from_arguments(arguments)
    configure(form=settings.log_format, level=settings.log_level)
    try:
        ended = asyncio.run(_serve(settings))
    except tuple(_FAILURES) as error:
        print(f"onnxplain: error: {error}", file=sys.stderr)
        return _FAILURES[type(error)]
    if not ended:
        LOGGER.warning("an explanation could not be ended and is abandoned")
        logging.shutdown()
        os._exit(ExitCode.OK)  # Python itself would wait for the thread
    return ExitCode.OK


async def _serve(settings: Settings) -> bool:
    """Serve until told to stop; return whether all work has ended."""
    if not settings.model_repository and not settings.model:
        raise RepositoryError("nothing to serve: give --model-repository DIR or --model NAME=PATH")
    server = Server(settings)
    with _stop_signals() as (stop, hurry):
        address = await server.start()
        if settings.host not in _LOCAL:
            LOGGER.warning("listening beyond this machine, without encryption or authentication")
        loading = asyncio.create_task(server.load_models())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        failure = loading.exception() if loading.done() else None
        if loading.done() and failure is None:
            print(f"listening on {address}", file=sys.stderr, flush=True)
            await stopping
            LOGGER.info("stopping")
        loading.cancel()
        ended = await server.stop(
            lame_duck=0.0 if failure else settings.lame_duck, grace=settings.grace, hurry=hurry
        )
    if failure is not None:
        raise failure
    return ended


@contextmanager
def _stop_signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Set the first event at the first SIGTERM or SIGINT, the second one at the next."""
    first, second = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (second if first.is_set() else first).set()

    def handler(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(on_signal)

    former = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield first, second
    finally:
        for number, old in former.items():
            signal.signal(number, old)
