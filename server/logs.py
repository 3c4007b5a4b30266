"""Log lines on stderr, for people or as one JSON object per line."""

from __future__ import annotations

import json
import logging
import sys
import time

__all__ = ["LOGGER", "configure", "fields"]

LOGGER = logging.getLogger("onnxplain.server")


def configure(*, form: str, level: str) -> None:
    """Send the server's log to stderr as ``"text"`` or ``"json"``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    LOGGER.handlers = [handler]
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Return the ``extra`` that attaches named values to a log line; empty ones are left out."""
    return {"fields": {name: value for name, value in values.items() if value not in ("", None)}}


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        values = getattr(record, "fields", {})
        line = f"{clock} {record.levelname.lower():7} {record.getMessage()}"
        line += "".join(f" {name}={json.dumps(value)}" for name, value in values.items())
        return line + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "ts": f"{stamp}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
