import argparse
import dataclasses

import pytest
from onnxplain.server import add_arguments
from onnxplain.server.settings import Settings


def parse(*arguments):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return Settings.from_arguments(parser.parse_args(arguments))


def test_without_flags_the_defaults_hold():
    assert parse() == Settings()
    assert parse().host == "127.0.0.1"


def test_flags_say_what_they_say(tmp_path):
    settings = parse(
        *("--model-repository", str(tmp_path), "--model-repository", "more"),
        *("--model", "net=a=b.onnx", "--port", "0", "--grace", "1.5", "--max-message-mb", "2"),
        *("--no-reflection", "--exit-on-error", "--workers", "3", "--queue", "0"),
    )
    assert [str(path) for path in settings.model_repository] == [str(tmp_path), "more"]
    assert [(model.name, str(model.path)) for model in settings.model] == [("net", "a=b.onnx")]
    assert (settings.port, settings.grace, settings.workers, settings.queue) == (0, 1.5, 3, 0)
    assert (settings.reflection, settings.exit_on_error) == (False, True)
    assert settings.max_message_bytes == 2 * 2**20


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "a.onnx"),
        ("--model", "../x=a.onnx"),
        ("--model", "net="),
        ("--workers", "0"),
        ("--workers", "1.5"),
        ("--grace", "-1"),
        ("--grace", "nan"),
        ("--grace", "inf"),
        ("--port", "65536"),
        ("--provider", "tpu"),
        ("--prot", "0"),
    ],
)
def test_a_wrong_flag_is_refused(arguments, capsys):
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse(*arguments)


def test_threads_are_shared_among_the_workers():
    settings = dataclasses.replace(Settings(), threads=0, workers=1000)
    assert settings.threads_per_model == 1
    assert dataclasses.replace(settings, threads=7).threads_per_model == 7


def test_every_setting_has_a_help_text(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = capsys.readouterr().out
    for field in dataclasses.fields(Settings):
        assert f"--{field.name.replace('_', '-')}" in text
        assert field.metadata["help"]
