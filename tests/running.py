"""The real server as a subprocess, for tests: from ``tests.running``."""

import re
import signal
import subprocess
import sys
import threading

SECONDS = 60.0


class RunningServer:
    """A server process; its stderr is kept, and can be waited for line by line."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "onnxplain.server", "--lame-duck", "0", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read(self):
        with self.process.stderr as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def line(self, pattern):
        """Wait for a line of stderr that has the pattern; return the match."""

        def found():
            matches = (re.search(pattern, line) for line in self.lines)
            return next((match for match in matches if match), None) or self._ended

        with self._changed:
            assert self._changed.wait_for(found, SECONDS), f"no {pattern!r} in {self.lines}"
            assert found() is not True, f"ended without {pattern!r}: {self.lines}"
            return found()

    @property
    def address(self):
        """Where it listens; waits until it does."""
        return self.line(r"^listening on (\S+:\d+)$")[1]

    def send(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        """Wait for its end; return the exit code."""
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def stop(self):
        self.send()
        return self.wait()
