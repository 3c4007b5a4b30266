import pytest
from onnxplain.graph_rewrites import FailedPrecondition, NotFound, Unavailable
from onnxplain.server.models import ServedModel, ServedModels, State
from onnxplain.server.repository import ModelFiles, find_models

from tests.conftest import LABELS


@pytest.fixture
def served(repository):
    return ServedModels(find_models([repository], []))


def test_the_default_version_is_the_greatest(served):
    assert served.find("versions").files.version == "10"
    assert served.find("versions", "2").files.version == "2"


def test_what_is_not_there_is_not_found_with_what_is(served):
    with pytest.raises(NotFound, match=r"no model 'cnm'.* did you mean cnn") as caught:
        served.find("cnm")
    assert caught.value.metadata == {"resource_type": "model", "resource_name": "cnm"}
    with pytest.raises(NotFound, match="no version '3'; it has 2, 10") as caught:
        served.find("versions", "3")
    assert caught.value.metadata["versions"] == "2, 10"


def test_a_model_answers_once_it_is_loaded(served):
    cnn = served.find("cnn")
    assert cnn.state is State.LOADING
    with pytest.raises(Unavailable, match="still being loaded") as caught:
        _ = cnn.model
    assert int(caught.value.metadata["retry_after_ms"]) > 0
    cnn.load(provider="cpu", threads=1)
    assert (cnn.state, cnn.error) == (State.READY, None)
    assert cnn.model.labels == tuple(LABELS)
    assert cnn.model.preprocessing.range == (-1, 1)
    assert cnn.model.threads == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [("not_onnx", "NOT_ONNX"), ("evil", "MODEL_UNSAFE"), ("hollow", "MODEL_FILE_NOT_FOUND")],
)
def test_a_model_that_cannot_be_loaded_says_why(served, name, reason):
    model = served.find(name)
    model.load(provider="cpu", threads=1)
    assert model.state is State.UNAVAILABLE
    assert model.error.reason == reason
    with pytest.raises(FailedPrecondition, match=f"model '{name}' could not be loaded: "):
        _ = model.model


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("labels.txt", "one\ntwo", "LABELS_INVALID"),
        ("preprocessing.json", "{}", "PREPROCESSING_INVALID"),
    ],
)
def test_bad_files_beside_a_model_make_it_unavailable(tmp_path, repository, file, text, reason):
    (tmp_path / file).write_text(text)
    key = file.partition(".")[0]
    path = repository / "cnn" / "1" / "model.onnx"
    model = ServedModel(ModelFiles("cnn", "1", True, path, **{key: tmp_path / file}))
    model.load(provider="cpu", threads=1)
    assert model.error.reason == reason
    assert str(tmp_path) not in model.error.message


def test_a_bug_while_loading_is_no_secret_told(repository, monkeypatch):
    def bug(*arguments, **options):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("onnxplain.server.models.load", bug)
    model = ServedModel(ModelFiles("cnn", "1", True, repository / "cnn"))
    model.load(provider="cpu", threads=1)
    assert model.error.reason == "MODEL_LOAD_FAILED"
    assert "secret" not in model.error.message
