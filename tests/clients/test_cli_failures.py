"""A command that fails: its exit code, and what it says to do."""

import numpy as np
import pytest
from onnxplain.clients.commands.environment import ExitCode

from tests.commands import Ended

FAILURES = [
    (["explain", "MODEL", "IMAGE", "--method", "gradcam"], ExitCode.USAGE, "did you mean grad_cam"),
    (
        ["explain", "MODEL", "IMAGE", "--option", "rellu=1"],
        ExitCode.USAGE,
        "did you mean relu",
    ),
    (
        ["explain", "MODEL", "IMAGE", "--method", "lime", "--n-samples", "no"],
        ExitCode.USAGE,
        "n_samples",
    ),
    (["explain", "MODEL", "IMAGE", "--option", "relu"], ExitCode.USAGE, "KEY=VALUE"),
    (["explain", "MODEL", "IMAGE", "--target", "7"], ExitCode.USAGE, "7"),
    (["explain", "MODEL", "IMAGE", "--target", "-1"], ExitCode.USAGE, "classes are 0 to 4"),
    (["explain", "MODEL", "IMAGE", "--target", "1:1,1:2"], ExitCode.USAGE, "class twice"),
    (["explain", "MODEL", "IMAGE", "--target", "1:1,b:2"], ExitCode.NOT_FOUND, "no class has"),
    (["explain", "MODEL", "IMAGE", "--target", "catt"], ExitCode.NOT_FOUND, "did you mean cat"),
    (["explain", "MODEL", "nowhere.png"], ExitCode.NOT_FOUND, "nowhere.png"),
    (["explain", "nowhere.onnx", "IMAGE"], ExitCode.NOT_FOUND, "nowhere.onnx"),
    (["explain", "MODEL", "MODEL"], ExitCode.USAGE, "image"),
    (["explain", "IMAGE", "IMAGE"], ExitCode.NOT_APPLICABLE, "ONNX"),
    (["explain", "MLP", "TENSOR"], ExitCode.NOT_APPLICABLE, "saliency or lime"),
    (["explain", "MLP", "IMAGE", "--method", "lime"], ExitCode.NOT_APPLICABLE, "preprocessing"),
    (["explain", "MODEL", "IMAGE", "-o", "x.jpg"], ExitCode.USAGE, ".png"),
    (["explain", "MODEL", "IMAGE", "--target", "top2", "-o", "x.png"], ExitCode.USAGE, "folder"),
    (
        ["explain", "MODEL", "IMAGE", "--layer", "relu1", "--layer", "relu2", "-o", "x.png"],
        ExitCode.USAGE,
        "folder",
    ),
    (
        ["rewrite", "MODEL", "--layer", "relu1", "--layer", "relu2", "-o", "x.onnx"],
        ExitCode.USAGE,
        "one layer",
    ),
    (["explain", "MODEL", "IMAGE", "--timeout", "3"], ExitCode.USAGE, "--server"),
    (
        ["explain", "m", "IMAGE", "--server", "localhost:1", "--threads", "1"],
        ExitCode.USAGE,
        "--threads",
    ),
    (
        ["explain", "m", "IMAGE", "--server", "localhost:1", "--score-output", "logits"],
        ExitCode.USAGE,
        "--score-output",
    ),
    (["explain", "MODEL", "EMPTY"], ExitCode.USAGE, "empty.npy is not a plain .npy array"),
    (["explain", "MODEL", "IMAGE", "--provider", "tpu"], ExitCode.USAGE, "tpu"),
    (["explain", "MODEL"], ExitCode.USAGE, "IMAGE"),
    (["rewrite", "MODEL", "--method", "lime", "-o", "x.onnx"], ExitCode.USAGE, "lime"),
    (
        ["rewrite", "MODEL", "--method", "deconvnet", "--target-kind", "weights", "-o", "x.onnx"],
        ExitCode.USAGE,
        "explains one class",
    ),
    (["rewrite", "MLP", "--method", "cam", "-o", "x.onnx"], ExitCode.NOT_APPLICABLE, "convolution"),
    (["methods", "lme"], ExitCode.USAGE, "did you mean lime"),
    (["inspect", "nowhere.onnx"], ExitCode.NOT_FOUND, "nowhere.onnx"),
    (["expln"], ExitCode.USAGE, "expln"),
    ([], ExitCode.USAGE, "COMMAND"),
]


@pytest.mark.parametrize(("argv", "code", "words"), FAILURES, ids=lambda part: str(part)[:60])
def test_a_failure_has_its_exit_code_and_says_what_to_do(
    argv, code, words, model, mlp, image, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((3, 32, 32), np.float32))
    (tmp_path / "empty.npy").touch()
    names = {"MODEL": model, "MLP": mlp, "IMAGE": image, "TENSOR": "x.npy", "EMPTY": "empty.npy"}
    ended = Ended([names.get(word, word) for word in argv])
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["explain", "cnm", "IMAGE"], ExitCode.NOT_FOUND, "did you mean cnn"),
        (["explain", "cnn", "IMAGE", "--target", "catt"], ExitCode.NOT_FOUND, "did you mean cat"),
        (["explain", "cnn", "IMAGE", "--target", "-1"], ExitCode.USAGE, "classes are 0 to"),
        (["explain", "mlp", "IMAGE"], ExitCode.NOT_APPLICABLE, "saliency or lime"),
    ],
)
def test_a_servers_refusal_has_the_exit_code_it_has_here(argv, code, words, image, server):
    ended = Ended([image if word == "IMAGE" else word for word in argv] + ["--server", server])
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err


def test_without_a_server_the_command_says_so(image):
    ended = Ended(["explain", "cnn", image, "--server", "127.0.0.1:1", "--timeout", "5"])
    assert ended.code == ExitCode.UNAVAILABLE
    assert "127.0.0.1:1" in ended.err
