import numpy as np
import pytest
from onnxplain.proto.codec import CodecError
from onnxplain.proto.methods_pb2 import MethodSpec, Reduction, SaliencyOptions
from onnxplain.proto.specs import options_from_spec, spec_from_options


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("saliency", {}),
        ("saliency", {"reduction": "l2", "score": "probability"}),
        ("grad_cam", {"relu": False, "layer": "features/conv5"}),
        ("grad_cam", {"layer": ["features/conv5", "a,b"]}),
        ("lime", {"n_samples": 20, "kernel_width": 0.5, "seed": 2**63 - 1, "segmenter": "grid"}),
        ("occlusion", {"baseline": "blur"}),
        ("deep_lift", {"baseline": ["zero", "uniform", "uniform"]}),
    ],
)
def test_options_survive_the_wire(method, options):
    spec = MethodSpec.FromString(spec_from_options(method, options).SerializeToString())
    assert options_from_spec(spec) == (method, options)


def test_numpy_scalars_and_whole_floats_are_numbers():
    options = {"n_samples": np.int64(5), "seed": 7.0, "kernel_width": np.float32(0.5)}
    assert options_from_spec(spec_from_options("lime", options))[1] == options


def test_none_leaves_an_option_unset():
    assert options_from_spec(spec_from_options("lime", {"batch_size": None})) == ("lime", {})


def test_an_unknown_method_is_refused_with_the_nearest_names():
    with pytest.raises(CodecError, match=r"no method 'gradcam'; did you mean grad_cam") as caught:
        spec_from_options("gradcam", {})
    assert caught.value.reason == "UNKNOWN_METHOD"


def test_all_wrong_options_are_named_at_once():
    with pytest.raises(CodecError) as caught:
        spec_from_options("lime", {"n_sample": 5, "segmenter": "circles", "n_segments": 2**31})
    error = caught.value
    assert error.reason == "UNKNOWN_OPTION"
    assert "did you mean n_samples" in str(error)
    assert "'circles' is not one of auto, quickshift" in str(error)
    assert [field for field, _ in error.violations] == [
        "method.lime",
        "method.lime.segmenter",
        "method.lime.n_segments",
    ]


@pytest.mark.parametrize("value", ["yes", 1, 0.0])
def test_only_booleans_are_booleans(value):
    with pytest.raises(CodecError, match="is not true or false"):
        spec_from_options("grad_cam", {"relu": value})


def test_a_baseline_without_a_kind_is_refused():
    spec = spec_from_options("deep_lift", {"baseline": ["black", np.ones((3, 1, 1))]})
    assert options_from_spec(spec)[1]["baseline"][1].tolist() == [[[1]]] * 3
    spec.deep_lift.baseline.add()
    with pytest.raises(CodecError, match="baseline: is empty; set name or values") as caught:
        options_from_spec(spec)
    assert [field for field, _ in caught.value.violations] == ["method.deep_lift.baseline"]


def test_no_method_is_refused_with_all_names():
    with pytest.raises(CodecError) as caught:
        options_from_spec(MethodSpec())
    known = ", ".join(sorted(MethodSpec.DESCRIPTOR.fields_by_name))
    assert str(caught.value).endswith(f"set one of {known}")


def test_an_unspecified_choice_is_the_default():
    spec = MethodSpec(saliency=SaliencyOptions(reduction=Reduction.REDUCTION_UNSPECIFIED))
    assert options_from_spec(spec) == ("saliency", {})


def test_a_choice_of_a_newer_protocol_is_refused():
    spec = MethodSpec.FromString(b"\xaa\x01\x02\x08\x63")  # saliency { reduction: 99 }
    assert spec.saliency.reduction == 99
    with pytest.raises(CodecError, match="99 is not a Reduction; known: sum, max_abs, l2"):
        options_from_spec(spec)
