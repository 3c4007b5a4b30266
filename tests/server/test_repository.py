import pytest
from onnxplain.server.repository import RepositoryError, find_models
from onnxplain.server.settings import NamedModel


def make(root, *files):
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def test_versions_are_numbers_and_the_greatest_is_the_default(tmp_path):
    make(tmp_path, *(f"net/{n}/model.onnx" for n in (1, 2, 10, "010", "0", "x", ".3")))
    found = find_models([tmp_path], [])
    assert [(one.name, one.version, one.default) for one in found] == [
        ("net", "1", False),
        ("net", "2", False),
        ("net", "10", True),
    ]
    assert found[2].model == tmp_path / "net/10/model.onnx"


def test_files_beside_a_version_go_before_those_beside_the_model(tmp_path):
    make(tmp_path, "net/1/model.onnx", "net/2/model.onnx", "net/2/labels.txt", "net/labels.txt")
    make(tmp_path, "net/preprocessing.json")
    first, second = find_models([tmp_path], [])
    assert first.labels == tmp_path / "net/labels.txt"
    assert second.labels == tmp_path / "net/2/labels.txt"
    assert first.preprocessing == second.preprocessing == tmp_path / "net/preprocessing.json"


def test_a_model_may_be_a_folder_with_its_external_data(tmp_path):
    make(tmp_path, "net/1/model.onnx/model.onnx")
    (found,) = find_models([tmp_path], [])
    assert found.model == tmp_path / "net/1/model.onnx/model.onnx"
    assert (found.preprocessing, found.labels) == (None, None)


def test_instead_of_a_file_there_may_be_an_address(tmp_path):
    make(tmp_path, "net/1/model.url", "net/preprocessing.json")
    (found,) = find_models([tmp_path], [])
    assert found.model == tmp_path / "net/1/model.url"
    assert found.preprocessing == tmp_path / "net/preprocessing.json"


def test_what_is_no_model_is_passed_over_and_a_model_without_versions_is_not(tmp_path):
    make(tmp_path, "README.md", ".git/config", "net/notes.txt", "other/1/model.onnx")
    net, other = find_models([tmp_path], [])
    assert (net.name, net.version, net.model, net.default) == ("net", "", None, True)
    assert other.version == "1"


def test_single_files_are_version_1(tmp_path):
    (found,) = find_models([], [NamedModel("net", tmp_path / "a.onnx")])
    assert (found.name, found.version, found.default) == ("net", "1", True)
    assert found.model == tmp_path / "a.onnx"


def test_two_models_of_one_name_are_refused(tmp_path):
    make(tmp_path, "a/net/1/model.onnx", "b/net/1/model.onnx")
    with pytest.raises(RepositoryError, match="two models are named 'net'"):
        find_models([tmp_path / "a", tmp_path / "b"], [])
    with pytest.raises(RepositoryError, match="two models are named 'net'"):
        find_models([tmp_path / "a"], [NamedModel("net", tmp_path / "x.onnx")])


def test_a_repository_that_cannot_be_read_is_named(tmp_path):
    make(tmp_path, "file", "models/my net/1/model.onnx")
    with pytest.raises(RepositoryError, match="none: No such file"):
        find_models([tmp_path / "none"], [])
    with pytest.raises(RepositoryError, match="file: Not a directory"):
        find_models([tmp_path / "file"], [])
    with pytest.raises(RepositoryError, match="my net cannot be a model's name"):
        find_models([tmp_path / "models"], [])
