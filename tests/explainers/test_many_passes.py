"""Methods of many passes: golden values, and properties that the papers prove."""

import numpy as np
import onnxruntime as ort
import pytest
from onnxplain.explainers import Control, load
from onnxplain.explainers.baselines import baseline
from onnxplain.explainers.graph_run import GraphRun
from onnxplain.explainers.inputs import prepare
from onnxplain.explainers.methods.integrated_gradients import integrate, nodes_and_weights
from onnxplain.explainers.targets import Targets, WeighedClasses
from onnxplain.graph_rewrites import Cancelled, FailedPrecondition, rewrite

from tests.double import evaluate, relative_error
from tests.goldens import GOLDEN, INDEX
from tests.models import PREPROCESSING, tiny_cnn, tiny_mlp

NETWORKS = [
    pytest.param(name, network["models"][0], id=name) for name, network in INDEX["networks"].items()
]
TENSOR = np.random.default_rng(1).normal(size=(3, 32, 32)).astype(np.float32)

ARRAYS = {
    "integrated_gradients__gausslegendre": ("integrated_gradients", {}, "attribution"),
    "eigencam": ("eigen_cam", {"relu": False}, "native_heatmap"),
    "scorecam": ("score_cam", {"relu": False}, "native_heatmap"),
}


def run_of(model, x, targets=(0,), batch_size=None):
    (prepared,) = prepare(None, x, model.preprocessing, model._classifier)
    asked = Targets(tuple(WeighedClasses({one: 1.0}) for one in targets), model.n_classes)
    return GraphRun(prepared, model._classifier, model._graphs, asked, batch_size, Control())


@pytest.mark.parametrize(("name", "file"), NETWORKS)
@pytest.mark.parametrize("key", ARRAYS)
def test_golden(name, file, key):
    method, options, array = ARRAYS[key]
    network = INDEX["networks"][name]
    data = np.load(GOLDEN / network["data"])
    model = load(GOLDEN / file["file"])
    found = [
        getattr(model.explain(tensor=x, method=method, target=int(target), **options), array)
        for x, target in zip(data["x"], data["target"], strict=True)
    ]
    expected = data[key]
    if key == "eigencam":  # its sign is arbitrary there
        signs = np.sign(np.sum(expected * np.array(found), axis=(1, 2)))
        expected = expected * signs[:, None, None]
    assert relative_error(np.array(found), expected) < network["arrays"][key]["tolerance"]


class DoubleRun:
    """What `integrate` needs of a run, in double: float32 flips a kink on one network's path."""

    def __init__(self, file, x):
        self.x, self.targets, self.batch_size, self.control = x[None], (0,), 25, Control()
        self._rewritten, self._input = rewrite(GOLDEN / file["file"], "gradient"), file["input"]

    def gradients(self, inputs, target, score):
        feeds = {self._input: inputs, "target": np.full(len(inputs), target)}
        return evaluate(self._rewritten, feeds)["attribution"]


@pytest.mark.parametrize(("name", "file"), NETWORKS)
def test_golden_of_integrated_gradients_from_another_baseline_in_double(name, file):
    data = np.load(GOLDEN / INDEX["networks"][name]["data"])
    found = [
        integrate(
            DoubleRun(file, x.astype(np.float64)),
            data["baseline"],
            int(target),
            "logit",
            50,
            "gauss_legendre",
        )
        for x, target in zip(data["x"], data["target"], strict=True)
    ]
    expected = data["integrated_gradients__gausslegendre_baseline"]
    assert relative_error(np.array(found), expected) < 1e-6


def test_quadratures_are_exact_on_polynomials():
    for n_steps, quadrature, degree in ((5, "gauss_legendre", 9), (50, "trapezoid", 1)):
        positions, weights = nodes_and_weights(n_steps, quadrature)
        for power in range(degree + 1):
            assert weights @ positions**power == pytest.approx(1 / (power + 1), rel=1e-12)


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("start", ["zero", "black", "mean", "blur", "uniform"])
def test_integrated_gradients_sum_to_what_the_image_adds_to_the_score(start, score):
    model = load(tiny_cnn(), preprocessing=PREPROCESSING)
    options = {"n_steps": 300, "baseline": start, "score": score, "target": 2}
    found = model.explain(tensor=TENSOR, method="integrated_gradients", **options)
    run = run_of(model, TENSOR)
    random = np.random.default_rng(0)
    at = baseline(start, run.x, run.low, run.high, run.channel_axis, random)
    gain = np.diff(run.scores(np.concatenate([at, run.x]), score)[:, 2])[0]
    assert abs(found.attribution.sum() - gain) < 2e-3 * abs(gain)
    assert found.residual == pytest.approx(found.attribution.sum() - gain, abs=1e-5)


def test_smooth_grad_without_noise_is_the_gradient_and_its_variance_nothing():
    model = load(tiny_cnn())
    explain = {"tensor": TENSOR, "target": 1}
    gradient = model.explain(method="gradient", **explain).attribution
    for variant, expected in {
        "mean": gradient,
        "squared": gradient**2,
        "var": 0 * gradient,
    }.items():
        options = {"noise": 0, "n_samples": 5, "variant": variant}
        found = model.explain(method="smooth_grad", **explain, **options).attribution
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_smooth_grad_is_the_mean_of_the_gradients_at_its_noisy_copies():
    model = load(tiny_cnn())
    found = model.explain(tensor=TENSOR, method="smooth_grad", target=1, n_samples=6, seed=3)
    noise = 0.15 * (TENSOR.max() - TENSOR.min())
    copies = TENSOR + noise * np.random.default_rng(3).standard_normal((6, *TENSOR.shape))
    each = model.explain(tensor=copies, method="gradient", target=1)
    expected = np.mean([explanation.attribution for explanation in each], axis=0)
    np.testing.assert_allclose(found.attribution, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("integrated_gradients", {"n_steps": 7, "baseline": "uniform"}),
        ("smooth_grad", {"n_samples": 7}),
        ("score_cam", {}),
        ("ablation_cam", {}),
        ("recipro_cam", {}),
    ],
)
def test_answers_depend_on_the_seed_alone_not_on_the_batch_size(method, options):
    model = load(tiny_cnn(size=12))
    x = TENSOR[:, :12, :12]
    one, several = (
        model.explain(tensor=x, method=method, target=[3, 1], batch_size=size, **options)
        for size in (1, 5)
    )
    for a, b in zip(one, several, strict=True):
        assert relative_error(a.heatmap[None], b.heatmap[None]) < 1e-5
    alone = model.explain(tensor=x, method=method, target=1, **options)
    assert relative_error(one[1].heatmap[None], alone.heatmap[None]) < 1e-5


def features_and_scores(x):
    """Features and logits of `tiny_cnn`, by hand: the head is a mean and a linear layer."""
    onnx_model = tiny_cnn(size=12)
    tensors = {t.name: t for t in onnx_model.graph.initializer}
    from onnx.numpy_helper import to_array

    weight, bias = (to_array(tensors[f"logits.{part}"]) for part in ("weight", "bias"))
    onnx_model.graph.output.add(name="relu2").type.tensor_type.elem_type = 1
    session = ort.InferenceSession(onnx_model.SerializeToString())
    (features,) = session.run(["relu2"], {"image": x[None]})
    return features[0], lambda maps: maps.mean(axis=(-2, -1)) @ weight.T + bias


def test_ablation_cam_is_its_definition():
    x = TENSOR[:, :12, :12]
    features, head = features_and_scores(x)
    whole = head(features)[2]
    native = 0
    for k in range(len(features)):
        without = features.copy()
        without[k] = 0
        native = native + (whole - head(without)[2]) / whole * features[k]
    found = load(tiny_cnn(size=12)).explain(tensor=x, method="ablation_cam", target=2, relu=False)
    np.testing.assert_allclose(found.native_heatmap, native, rtol=1e-4, atol=1e-6)


def test_recipro_cam_is_its_definition():
    x = TENSOR[:, :12, :12]
    features, head = features_and_scores(x)
    native = np.empty((12, 12))
    for i in range(12):
        for j in range(12):
            window = np.zeros((12, 12))
            for di, dj in np.ndindex(3, 3):
                if 0 <= i + di - 1 < 12 and 0 <= j + dj - 1 < 12:
                    window[i + di - 1, j + dj - 1] = (2 - abs(di - 1)) * (2 - abs(dj - 1)) / 16
            native[i, j] = head(features * window)[2]
    found = load(tiny_cnn(size=12)).explain(tensor=x, method="recipro_cam", target=2, relu=False)
    np.testing.assert_allclose(found.native_heatmap, native, rtol=1e-4, atol=1e-6)


def test_upsampling_is_the_one_of_the_rewritten_graphs():
    model = load(GOLDEN / "models/resnet_like.onnx")
    x = np.load(GOLDEN / "resnet_like.npz")["x"][0]
    found = model.explain(tensor=x, method="grad_cam", target=0)
    run = run_of(model, x)
    np.testing.assert_allclose(run.upsampled(found.native_heatmap), found.heatmap, atol=1e-6)


def test_a_model_without_feature_maps_is_told_why():
    reasons = {entry.method: entry.reason for entry in load(tiny_mlp()).applicability()}
    for method in ("eigen_cam", "score_cam", "ablation_cam", "recipro_cam"):
        assert "feature map" in reasons[method]
    assert not reasons["integrated_gradients"]


def test_progress_is_told_and_cancelling_ends_it():
    done = []
    model = load(tiny_cnn())

    def on_progress(progress):
        if progress.total:
            done.append((progress.done, progress.total))
        if progress.done >= 20:
            control.cancel()

    control = Control(on_progress)
    with pytest.raises(Cancelled):
        model.explain(
            tensor=TENSOR, method="smooth_grad", n_samples=1000, batch_size=4, control=control
        )
    assert done == [(n, 1000) for n in range(0, 21, 4)]


def test_a_feature_map_that_the_score_goes_around_is_refused_with_the_node():
    model = load(GOLDEN / "models/resnet_like.onnx")
    x = np.load(GOLDEN / "resnet_like.npz")["x"][0]
    with pytest.raises(FailedPrecondition, match="goes around it") as refused:
        model.explain(tensor=x, method="recipro_cam", layer="relu_1")
    assert refused.value.reason == "METHOD_NOT_APPLICABLE"
