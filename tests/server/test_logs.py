import json
import logging

import pytest
from onnxplain.server.logs import LOGGER, configure, fields


@pytest.fixture(autouse=True)
def restored():
    before = LOGGER.handlers, LOGGER.level, LOGGER.propagate
    yield
    LOGGER.handlers, LOGGER.level, LOGGER.propagate = before


def test_json_lines_are_one_object_each(capsys):
    configure(form="json", level="info")
    LOGGER.info("Explain", extra=fields(model='a"\nb', ms=1.5, reason=None, method=""))
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        LOGGER.exception("bug")
    LOGGER.debug("unseen")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("ts").endswith("Z")
    assert first == {"level": "info", "msg": "Explain", "model": 'a"\nb', "ms": 1.5}
    assert "ZeroDivisionError" in second["exception"]


def test_text_lines_cannot_be_forged(capsys):
    configure(form="text", level="debug")
    LOGGER.log(logging.DEBUG, "Explain", extra=fields(model="a\n00:00:00 info forged"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith('debug   Explain model="a\\n00:00:00 info forged"')
