"""The real server, as a process of its own for as long as a ``with`` block."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TextIO

__all__ = ["ServerError", "running_server"]

_SECONDS_TO_START = 60.0
_SECONDS_TO_STOP = 30.0
_READY = re.compile(r"listening on (\S+:\d+)")


class ServerError(Exception):
    """The server did not start, or did not end as it should; the message shows its last words."""


@contextmanager
def running_server(repository: Path, log: Path) -> Iterator[str]:
    """Run a server of the models in ``repository`` on a free port.

    Yields its address. At the end of the block, however it comes, the server is asked to stop
    (SIGTERM) and waited for; one that does not is killed.

    Parameters
    ----------
    repository
        Folder of models in Triton's layout.
    log
        File for what the server says.

    Raises
    ------
    ServerError
        It said no address within a minute, or ended with another exit code than 0.
    """
    arguments = ["--model-repository", str(repository), "--port", "0", "--lame-duck", "0"]
    with log.open("w", encoding="utf-8") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "onnxplain.server", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        addresses: SimpleQueue[str | None] = SimpleQueue()
        reader = threading.Thread(target=_read, args=(process.stderr, log_file, addresses))
        reader.start()
        try:
            yield _address(addresses, log)
        finally:
            process.terminate()
            try:
                code = process.wait(_SECONDS_TO_STOP)
            except BaseException:  # too slow, or a second Ctrl-C
                process.kill()
                process.wait()
                raise
            finally:
                reader.join()
    if code != 0:
        raise ServerError(f"the server ended with exit code {code}: {_last_words(log)}")


def _read(stream: TextIO, log: TextIO, addresses: SimpleQueue[str | None]) -> None:
    """Copy the server's words to the log; put the address it says, and None when it ends."""
    with stream:
        for line in stream:
            log.write(line)
            log.flush()
            if found := _READY.search(line):
                addresses.put(found[1])
    addresses.put(None)


def _address(addresses: SimpleQueue[str | None], log: Path) -> str:
    try:
        address = addresses.get(timeout=_SECONDS_TO_START)
    except Empty:
        raise ServerError(f"the server did not start within {_SECONDS_TO_START:.0f} s") from None
    if address is None:
        raise ServerError(f"the server did not start: {_last_words(log)}")
    return address


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8").splitlines()
    return lines[-1] if lines else "it said nothing"
