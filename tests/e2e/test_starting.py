"""How the server starts, or says in one line why it does not."""

import pytest
from onnxplain.clients.python import Client, ExplainError
from onnxplain.server import main
from onnxplain.server.logs import LOGGER

from tests import models
from tests.running import RunningServer


@pytest.fixture
def refusal(capsys):
    """Return the exit code of a server in this process, and the error line it ends with."""
    before = LOGGER.handlers, LOGGER.level, LOGGER.propagate

    def refusal(*arguments):
        code = main([str(argument) for argument in arguments])
        (line,) = (
            line
            for line in capsys.readouterr().err.splitlines()
            if line.startswith("onnxplain: error: ")
        )
        return code, line

    yield refusal
    LOGGER.handlers, LOGGER.level, LOGGER.propagate = before


def test_a_port_in_use_is_one_line_and_exit_code_5(server, repository):
    arguments = ("--port", server.rpartition(":")[2], "--model-repository", repository)
    with RunningServer(*arguments) as second:
        assert second.wait() == 5
        line = f"onnxplain: error: cannot listen on {server}: Address already in use"
        assert second.lines == [line]


def test_an_address_of_another_machine_is_exit_code_5(refusal, repository):
    code, line = refusal("--host", "203.0.113.1", "--model-repository", repository)
    assert code == 5
    assert "cannot listen on 203.0.113.1:50051: " in line


def test_nothing_to_serve_is_exit_code_2(refusal, tmp_path):
    code, line = refusal()
    assert code == 2
    assert "give --model-repository DIR or --model NAME=PATH" in line
    code, line = refusal("--model-repository", tmp_path / "none")
    assert code == 2
    assert line.endswith("none: No such file or directory")


def test_a_model_that_cannot_be_loaded_ends_the_server_only_if_asked(refusal, tmp_path):
    models.save(b"not ONNX", tmp_path / "bad.onnx")
    arguments = ("--port", 0, "--lame-duck", 0, "--model", f"bad={tmp_path / 'bad.onnx'}")
    code, line = refusal(*arguments, "--exit-on-error")
    assert code == 3
    assert "model 'bad' could not be loaded: the file is not an ONNX model" in line
    with RunningServer(*arguments) as server, Client(server.address) as client:
        assert [model.reason for model in client.list_models()] == ["NOT_ONNX"]
        with pytest.raises(ExplainError, match="did not come in time"):
            client.wait_ready(0.2)
        assert server.stop() == 0


def test_a_message_above_the_limit_is_refused_with_what_to_do(repository):
    arguments = ("--max-message-mb", 1, "--model-repository", repository)
    with RunningServer("--port", 0, *arguments) as server, Client(server.address) as client:
        assert client.server_info().limits.max_message_bytes == 2**20
        with pytest.raises(ExplainError) as caught:
            client.explain(b"x" * 2**21, model="cnn")
        assert caught.value.reason == "MESSAGE_TOO_LARGE"
        assert "raise the limit" in caught.value.message
        assert server.stop() == 0


def test_listening_beyond_this_machine_is_warned_about(repository):
    arguments = ("--host", "0.0.0.0", "--model-repository", repository)
    with RunningServer("--port", 0, *arguments) as server:
        server.line("warning .*without encryption or authentication")
        assert server.address.startswith("0.0.0.0:")
        assert server.stop() == 0
