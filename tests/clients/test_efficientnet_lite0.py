"""The demo's model gives the published network's answers, and its weights file runs no code."""

import json
import pickle

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnxplain.clients.demo import efficientnet_lite0
from onnxplain.clients.demo.torch_pickle import read_state_dict
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

LABELS = json.loads(efficientnet_lite0.preprocessing_json())["labels"]

KNOWN = {
    "chelsea": [("tiger cat", 0.386), ("Egyptian cat", 0.356), ("tabby", 0.169)],
    "coffee": [("espresso", 0.951)],
    "camera": [("tripod", 0.937)],
    "flower": [("daisy", 0.364)],
}


@pytest.fixture(scope="module")
def model():
    return efficientnet_lite0.build()


@pytest.fixture(scope="module")
def session(model):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def photo(name):
    pixels = load_sample_image("flower.jpg") if name == "flower" else getattr(data, name)()
    return Image.fromarray(pixels).convert("RGB")


def preprocessed(name):
    image = photo(name)
    ratio = 256 / min(image.size)
    image = image.resize([round(side * ratio) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return ((pixels - 127) / 128).transpose(2, 0, 1)


@pytest.mark.parametrize("name", KNOWN)
def test_a_photo_gets_its_known_classes(session, name):
    (logits,) = session.run(None, {"image": preprocessed(name)[None]})
    logits = logits[0].astype(np.float64)
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities)[: len(KNOWN[name])]
    assert [LABELS[i] for i in order] == [label for label, _ in KNOWN[name]]
    assert probabilities[order] == pytest.approx([p for _, p in KNOWN[name]], abs=1e-3)


def test_a_batch_gives_what_its_images_give_alone(session):
    x = np.stack([preprocessed(name) for name in KNOWN])
    (batch,) = session.run(None, {"image": x})
    alone = np.concatenate([session.run(None, {"image": image[None]})[0] for image in x])
    np.testing.assert_allclose(batch, alone, rtol=1e-4, atol=1e-4)


def test_the_model_says_how_it_wants_its_pictures(model):
    properties = {entry.key: entry.value for entry in model.metadata_props}
    said = json.loads(properties["onnxplain.preprocessing"])
    assert said["crop"] == 224
    assert len(said["labels"]) == 1000


def test_building_is_deterministic(model):
    assert efficientnet_lite0.build().SerializeToString() == model.SerializeToString()


def test_the_command_writes_the_model_and_its_preprocessing(tmp_path):
    assert efficientnet_lite0.main([str(tmp_path / "lite0.onnx")]) == 0
    onnx.checker.check_model(tmp_path / "lite0.onnx")
    assert json.loads((tmp_path / "lite0.json").read_text())["layout"] == "NCHW"


def checkpoint(path, state, *, storage=b"", magic=0x1950A86A20F9469CFC6C):
    """A file in the old format: a state dict given as pickled bytes, and its one storage."""
    head = b"".join(pickle.dumps(value, 2) for value in (magic, 1001, {"little_endian": True}))
    path.write_bytes(head + state + pickle.dumps(["key"] if storage else [], 2) + storage)
    return path


def one_tensor(*, shape, offset=0, n_elements=6):
    """The pickle of ``{"x": tensor}``, as opcodes since torch's names cannot be imported."""
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    storage = f"(Vstorage\nctorch\nFloatStorage\nVkey\nVcpu\nI{n_elements}\nNtQ"
    sizes, steps = ("".join(f"I{n}\n" for n in numbers) for numbers in (shape, strides))
    tensor = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n({sizes}t({steps}tI00\nNtR"
    return f"(Vx\n{tensor}d.".encode()


def storage(n_elements=6):
    return n_elements.to_bytes(8, "little") + np.arange(n_elements, dtype="<f4").tobytes()


def test_tensors_are_views_of_their_storage(tmp_path):
    state = one_tensor(shape=(2, 2), offset=1)
    x = read_state_dict(checkpoint(tmp_path / "x.pth", state, storage=storage()))["x"]
    np.testing.assert_array_equal(x, [[1, 2], [3, 4]])
    assert x.dtype == np.float32


@pytest.mark.parametrize("change", [{"shape": (2, 4)}, {"offset": 3}, {"offset": -1}])
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, change):
    state = one_tensor(**({"shape": (2, 2)} | change))
    with pytest.raises(pickle.UnpicklingError, match="beyond its storage"):
        read_state_dict(checkpoint(tmp_path / "x.pth", state, storage=storage()))


@pytest.mark.parametrize("cut", [storage()[:-1], storage(5), storage()[:4]])
def test_a_cut_file_is_refused(tmp_path, cut):
    with pytest.raises(pickle.UnpicklingError, match="cut short"):
        read_state_dict(checkpoint(tmp_path / "x.pth", one_tensor(shape=(2, 3)), storage=cut))


class Caller:
    """Pickles as a call of a function."""

    def __reduce__(self):
        return print, ("called",)


def test_a_checkpoint_that_calls_a_function_is_refused(tmp_path):
    path = checkpoint(tmp_path / "evil.pth", pickle.dumps({"x": Caller()}, 2))
    with pytest.raises(pickle.UnpicklingError, match="print"):
        read_state_dict(path)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(pickle.UnpicklingError, match="non-zip"):
        read_state_dict(checkpoint(tmp_path / "x.pth", b"", magic=7))
