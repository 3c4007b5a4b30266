import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnxplain.proto.codec import DATATYPES, CodecError, array_from_tensor, tensor_from_array
from onnxplain.proto.types_pb2 import Tensor

ANY_ARRAY = arrays.arrays(
    dtype=st.sampled_from([dtype.newbyteorder("=") for dtype in DATATYPES.values()]),
    shape=arrays.array_shapes(min_dims=0, max_dims=4, max_side=4),
)


@given(ANY_ARRAY)
def test_an_array_survives_the_wire_bit_for_bit(array):
    wire = Tensor.FromString(tensor_from_array(array).SerializeToString())
    back = array_from_tensor(wire)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_are_little_endian_and_row_major(order):
    array = np.arange(6, dtype=f"{order}i2").reshape(2, 3).T
    tensor = tensor_from_array(array)
    assert tensor.datatype == "INT16"
    assert list(tensor.shape) == [3, 2]
    assert tensor.data == bytes([0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5, 0])


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([1j]), np.array([None])])
def test_what_has_no_datatype_is_refused(array):
    with pytest.raises(CodecError, match="cannot be sent; use BOOL"):
        tensor_from_array(array)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "says"),
    [
        ("FP32", [2], b"1234567", r"FP32 \[2\] takes 8 bytes, not 7"),
        ("FP32", [2], b"", "takes 8 bytes, not 0"),
        ("UINT8", [], b"", "takes 1 bytes, not 0"),
        ("UINT8", [-1], b"", "axis shorter than 1"),
        ("UINT8", [-1, -4], b"1234", "axis shorter than 1"),
        ("UINT8", [0, 2**62], b"", "axis shorter than 1"),
        ("FP32", [2**62, 4], b"", "takes 73786976294838206464 bytes, not 0"),  # 0 in 64 bits
        ("UINT8", [2**32, 2**32], b"", "takes 18446744073709551616 bytes, not 0"),
        ("UINT8", [1] * 17, b"1", "17 axes, more than 16"),
        ("BF16", [1], b"12", "'BF16' is not one of BOOL"),
        ("", [1], b"1", "'' is not one of BOOL"),
        ("BYTES", [1], b"1", "'BYTES' is not one of BOOL"),
    ],
)
def test_a_tensor_that_is_not_what_it_claims_is_refused(datatype, shape, data, says):
    with pytest.raises(CodecError, match=says) as caught:
        array_from_tensor(Tensor(datatype=datatype, shape=shape, data=data))
    assert caught.value.reason == "TENSOR_INVALID"
    assert [field for field, _ in caught.value.violations] in (["datatype"], ["shape"], ["data"])


@given(
    st.sampled_from([*DATATYPES, "BF16", ""]),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
    st.binary(max_size=64),
)
def test_no_tensor_does_worse_than_a_codec_error(datatype, shape, data):
    try:
        array = array_from_tensor(Tensor(datatype=datatype, shape=shape, data=data))
    except CodecError:
        return
    assert array.nbytes == len(data) == math.prod(shape) * array.itemsize
