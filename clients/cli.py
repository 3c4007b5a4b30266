"""The command line, ``onnxplain``; each sub-command is a module of ``commands``.

Nothing heavy is imported until a sub-command is chosen, and then only what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import sys
import traceback

from .commands.environment import Environment, ExitCode

__all__ = ["main"]

_COMMANDS = {
    "explain": "explain pictures: where does the model see a class?",
    "methods": "list the methods and their options",
    "inspect": "show what a model file holds and which methods apply to it",
    "rewrite": "write a method as an ONNX file of its own",
    "serve": "serve explanations over gRPC",
    "demo": "explain a photo over gRPC with a real ImageNet model",
}

_EXIT_CODES = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)


def main(argv: list[str] | None = None, environment: Environment | None = None) -> int:
    """Run the command line and return its exit code; see `ExitCode`."""
    environment = environment or Environment()
    argv = sys.argv[1:] if argv is None else argv
    debug = "--debug" in argv
    try:
        with (
            contextlib.redirect_stdout(environment.stdout),
            contextlib.redirect_stderr(environment.stderr),
        ):
            arguments = _parser(argv).parse_args(argv)
        code = int(arguments.run(arguments, environment))
        environment.stdout.flush()
    except SystemExit as ended:  # argparse has said why
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        environment.say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _leave_pipe()
        return ExitCode.PIPE_CLOSED
    except Exception as error:
        if debug:
            traceback.print_exc(file=environment.stderr)
        return _failed(error, environment)
    return code


def _failed(error: Exception, environment: Environment) -> int:
    from .commands.failures import describe, exit_code

    code = exit_code(error)
    environment.say(f"onnxplain: error: {describe(error, code)}")
    return code


def _leave_pipe() -> None:
    """Let the interpreter's last flush of stdout go nowhere, not into the closed pipe."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(argv: list[str]) -> argparse.ArgumentParser:
    """Return a parser that knows all commands by name and the flags of the chosen one."""
    parser = argparse.ArgumentParser(
        prog="onnxplain",
        description="Explain what a CNN saw, from its ONNX file alone.",
        epilog=f"Exit codes: {_EXIT_CODES}.",
        allow_abbrev=False,
    )
    version = importlib.metadata.version("onnxplain")
    parser.add_argument("--version", action="version", version=f"onnxplain {version}")
    chosen = next((word for word in argv if not word.startswith("-")), None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}", allow_abbrev=False
        )
        if name == chosen:
            module = importlib.import_module(f".commands.{name}", __package__)
            module.add_arguments(command)
            command.add_argument(
                "--debug", action="store_true", help="show a traceback when something fails"
            )
            command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
