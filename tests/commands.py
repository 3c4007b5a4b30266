"""A command run in this process, for tests: from ``tests.commands``."""

import io
import json

from onnxplain.clients.cli import main
from onnxplain.clients.commands.environment import Environment


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Ended:
    """How a command ended."""

    def __init__(self, argv, stdin=b"", stderr=None):
        stream = io.TextIOWrapper(io.BytesIO(stdin))
        environment = Environment(stream, io.StringIO(), stderr or io.StringIO())
        self.code = main([str(word) for word in argv], environment)
        self.out, self.err = environment.stdout.getvalue(), environment.stderr.getvalue()

    @property
    def json(self):
        assert self.code == 0, self.err
        return json.loads(self.out)
